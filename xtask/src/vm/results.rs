// SPDX-License-Identifier: MIT OR Apache-2.0
//! What guests found, read from what they said, and kept until a later guest finds otherwise.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::archive::version;
use super::suite::Suite;
use crate::workspace::Workspace;

/// What became of a suite on a kernel.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Outcome {
    pub(super) suite: Suite,
    /// How many tests passed.
    pub(super) passed: u32,
    /// The tests that failed, and binaries that ended badly otherwise.
    pub(super) failed: Vec<String>,
    /// Whether the guest's processor was a program.
    pub(super) in_software: bool,
    /// What `keyward doctor` found on this kernel: name and detail.
    pub(super) doctor: BTreeMap<String, String>,
}

impl Outcome {
    /// Nothing failed, and something was tried.
    pub(super) fn passed(&self) -> bool {
        self.failed.is_empty() && self.passed > 0
    }
}

/// What is known of every kernel.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Results {
    kernels: BTreeMap<String, Vec<Outcome>>,
}

impl Results {
    /// What former guests found.
    pub(super) fn read(workspace: &Workspace) -> Result<Self> {
        let path = workspace.vm().join("results.json");
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .with_context(|| format!("{}: remove it", path.display())),
            Err(_) => Ok(Self::default()),
        }
    }

    pub(super) fn write(&self, workspace: &Workspace) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).context("results")?;
        workspace.write(&workspace.vm().join("results.json"), text)
    }

    /// Replaces what was known of a suite on a kernel.
    pub(super) fn put(&mut self, release: &str, outcome: Outcome) {
        let outcomes = self.kernels.entry(release.to_owned()).or_default();
        outcomes.retain(|it| it.suite != outcome.suite);
        outcomes.push(outcome);
        outcomes.sort_by_key(|it| it.suite);
    }

    /// Each kernel, oldest first, with what is known of it.
    pub(super) fn kernels(&self) -> Vec<(&str, &[Outcome])> {
        let mut kernels: Vec<_> = self
            .kernels
            .iter()
            .map(|(release, outcomes)| (release.as_str(), &outcomes[..]))
            .collect();
        kernels.sort_by_key(|(release, _)| version(release));
        kernels
    }

    /// Kernel by suite, as Markdown.
    pub(super) fn table(&self) -> String {
        let mut text = String::from("| kernel |");
        for suite in Suite::ALL {
            let _infallible = write!(text, " {suite} |");
        }
        text.push_str("\n|---|");
        text.push_str(&"---|".repeat(Suite::ALL.len()));
        for (release, outcomes) in self.kernels() {
            let _infallible = write!(text, "\n| {release} |");
            for suite in Suite::ALL {
                let cell = match outcomes.iter().find(|it| it.suite == *suite) {
                    None => "not run".to_owned(),
                    Some(it) if it.passed() && it.in_software => {
                        format!("{} passed, in software", it.passed)
                    }
                    Some(it) if it.passed() => format!("{} passed, under KVM", it.passed),
                    Some(it) => format!("{} passed; failed: {}", it.passed, it.failed.join(", ")),
                };
                let _infallible = write!(text, " {cell} |");
            }
        }
        text.push('\n');
        text
    }
}

/// The outcomes of these suites in what a guest said.
pub(super) fn of_suites(suites: &[Suite], said: &[String], in_software: bool) -> Vec<Outcome> {
    let doctor = doctor(said);
    suites
        .iter()
        .map(|suite| {
            let (passed, failed) = count(*suite, said);
            Outcome {
                suite: *suite,
                passed,
                failed,
                in_software,
                doctor: doctor.clone(),
            }
        })
        .collect()
}

/// How many tests of a suite passed, and which failed.
///
/// Of what the harness says, the list of failures and the summary are read: what a test's programs print may tear the
/// lines before them apart.
pub(super) fn count(suite: Suite, said: &[String]) -> (u32, Vec<String>) {
    let mut passed = 0;
    let mut failed = Vec::new();
    let mut binary = None;
    let mut failures: Vec<String> = Vec::new();
    for line in said {
        if let Some(name) = line.strip_prefix("== test ") {
            binary = Some(name).filter(|name| Suite::of(name) == suite);
            failures.clear();
            continue;
        }
        let Some(name) = binary else { continue };
        if line == "failures:" {
            // What failing tests printed stands under the same heading, before.
            failures.clear();
        } else if let Some(test) = line.strip_prefix("    ") {
            failures.push(format!("{name}::{test}"));
        } else if let Some(summary) = line.strip_prefix("test result: ") {
            passed += number_before(" passed", summary);
            if number_before(" failed", summary) == 0 {
                failures.clear();
            }
        } else if let (Suite::Escape, Some(row)) = (suite, line.strip_prefix("all ")) {
            // The selftest has a table, with the number of attempts in its last row; below it, what is wrong, by id.
            let attempts = row.split_whitespace().next();
            passed = attempts.and_then(|it| it.parse().ok()).unwrap_or(0);
        } else if let (Suite::Escape, Some(id)) = (suite, attempt(line)) {
            if !failures.iter().any(|it| it == id) {
                failures.push(id.to_owned());
                passed = passed.saturating_sub(1);
            }
        } else if let Some(status) = line.strip_prefix("== status ") {
            binary = None;
            match (status, failures.is_empty()) {
                ("0", _) => {}
                (_, true) => failed.push(format!("{name} (status {status})")),
                (_, false) => failed.append(&mut failures),
            }
        }
    }
    (passed, failed)
}

/// The attempt that a line of the selftest's is about.
fn attempt(line: &str) -> Option<&str> {
    let (id, _) = line.split_once(": ")?;
    let number = id.strip_prefix(|it: char| it.is_ascii_uppercase())?;
    (number.len() >= 2 && number.bytes().all(|it| it.is_ascii_digit())).then_some(id)
}

fn number_before(word: &str, summary: &str) -> u32 {
    let before = summary.split(word).next().unwrap_or_default();
    let number = before.rsplit(' ').next().unwrap_or_default();
    number.parse().unwrap_or(0)
}

/// `keyward doctor`'s lines: `ok` or `missing`, a name of at most 14 characters, and the detail.
pub(super) fn doctor(said: &[String]) -> BTreeMap<String, String> {
    let section = said
        .iter()
        .skip_while(|line| *line != "== doctor")
        .skip(1)
        .take_while(|line| !line.starts_with("== "));
    section
        .filter_map(|line| {
            let (verdict, rest) = line.split_once(' ')?;
            let (name, detail) = rest.trim_start().split_at_checked(15)?;
            let detail = match verdict {
                "ok" => detail.trim().to_owned(),
                "missing" | "lacking" => format!("**{verdict}**: {}", detail.trim()),
                _ => return None,
            };
            Some((name.trim().to_owned(), detail))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn tests_are_counted_by_suite_and_failures_named() {
        let said = lines(
            "== test nft\ntest a ... ok\ntest b ... said by its program\nFAILED\n\nfailures:\n\n\
             ---- b stdout ----\n    indented\n\nfailures:\n    b\n\n\
             test result: FAILED. 1 passed; 1 failed; 0 ignored; finished in 1s\n== status 101\n\
             == test run\ntest c ... ok\n    indented\n\
             test result: ok. 1 passed; 0 failed; 1 ignored; finished in 1s\n== status 0\n\
             == test sockets\n== status 139\n",
        );
        assert_eq!(count(Suite::Kernel, &said), (1, vec!["nft::b".to_owned()]));
        assert_eq!(
            count(Suite::E2e, &said),
            (1, vec!["sockets (status 139)".to_owned()])
        );
    }

    #[test]
    fn attempts_of_the_selftest_are_counted() {
        let said = |wrong: &str, status| {
            lines(&format!(
                "== test escape\ngroup attempts controls user\ndns 12 12/12 12/12\n\
                 all 212 200/200 212/212\n{wrong}== status {status}"
            ))
        };
        assert_eq!(count(Suite::Escape, &said("", 0)), (212, Vec::new()));
        let failed = vec!["escape (status 1)".to_owned()];
        assert_eq!(count(Suite::Escape, &said("", 1)), (212, failed));
        let wrong = "N54: Looking: user: GOT OUT: it knows\nN54: Looking: closed: no\nD01: Asking: root: no\n";
        let failed = vec!["N54".to_owned(), "D01".to_owned()];
        assert_eq!(count(Suite::Escape, &said(wrong, 1)), (210, failed));
    }

    #[test]
    fn a_suite_of_which_nothing_ran_has_not_passed() {
        let outcomes = of_suites(&[Suite::Escape], &lines("== doctor\n== end"), false);
        assert!(!outcomes[0].passed());
    }

    #[test]
    fn the_doctors_findings_are_read() {
        let said = lines(
            "noise\n== doctor\nok       Landlock       ABI 2\nmissing  overlayfs      not known\n         \
                          hint: modprobe overlay\nkeyward cannot run here yet.\n== test nft",
        );
        let found = doctor(&said);
        assert_eq!(found["Landlock"], "ABI 2");
        assert_eq!(found["overlayfs"], "**missing**: not known");
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn a_later_outcome_replaces_a_former_one() {
        let outcome = |passed| Outcome {
            suite: Suite::Kernel,
            passed,
            failed: Vec::new(),
            in_software: false,
            doctor: BTreeMap::new(),
        };
        let mut results = Results::default();
        results.put("6.1", outcome(1));
        results.put("6.1", outcome(2));
        assert!(
            results
                .table()
                .contains("| 6.1 | 2 passed, under KVM | not run |")
        );
    }
}
