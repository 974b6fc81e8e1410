// SPDX-License-Identifier: GPL-3.0-or-later
//! What `data/seccomp.toml` says, as build.rs has written it down in Rust.

/// One call that is refused, always or on a condition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// Number of the call.
    pub(super) call: i64,
    /// What the caller gets.
    pub(super) answer: Answer,
    /// When.
    pub(super) condition: Condition,
    /// Whether it is in force with `--no-userns` alone.
    pub(super) without_user_namespaces: bool,
}

/// What the caller of a refused call gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// This error.
    Error(u16),
    /// What the supervisor says: `EPERM`, once it has written the call down.
    Ask,
}

/// Lists of tests: a list holds if all of its tests do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Condition {
    /// The call is refused whatever its arguments.
    Always,
    /// Refused if one of the lists holds.
    When(&'static [&'static [Test]]),
    /// Refused if none of the lists holds.
    Unless(&'static [&'static [Test]]),
}

/// Whether an argument is one of some values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Test {
    /// Which argument, from 0.
    pub(super) argument: u8,
    /// The bits of it that count.
    pub(super) mask: u32,
    /// Any of these.
    pub(super) values: &'static [u32],
}

/// In the order of the file.
pub(super) const RULES: &[Rule] = include!(concat!(env!("OUT_DIR"), "/seccomp.rs"));

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use toml::{Table, Value};

    const FILE: &str = include_str!("../../../data/seccomp.toml");
    const PAGE: &str = include_str!("../../../../docs/sandbox.md");

    /// The file as the page has it: a row for each rule.
    fn table() -> String {
        let file: Table = FILE.parse().unwrap();
        let mut text =
            "| call | refused | answer | what it would be good for |\n|---|---|---|---|\n"
                .to_owned();
        for rule in file["rule"].as_array().unwrap() {
            let calls: Vec<_> = rule["calls"]
                .as_array()
                .unwrap()
                .iter()
                .map(|call| call.as_str().or_else(|| call["name"].as_str()).unwrap())
                .map(|name| format!("`{name}`"))
                .collect();
            let only = match rule.get("only").and_then(Value::as_str) {
                Some("no-userns") => "with `--no-userns`",
                Some(_) | None => "always",
            };
            let refused = match (rule.get("when"), rule.get("unless")) {
                (Some(lists), _) => format!("{only}, with {}", words(lists)),
                (_, Some(lists)) => format!("{only}, but for {}", words(lists)),
                (None, None) => only.to_owned(),
            };
            let answer = match rule.get("answer").and_then(Value::as_str) {
                Some("ask") => "EPERM, written down",
                answer => answer.unwrap_or("EPERM"),
            };
            let why = rule["why"].as_str().unwrap();
            writeln!(
                text,
                "| {} | {refused} | {answer} | {why} |",
                calls.join(" ")
            )
            .unwrap();
        }
        text
    }

    fn words(lists: &Value) -> String {
        let list = |tests: &Value| {
            let names = tests.as_array().unwrap().iter().map(|test| {
                let names: Vec<_> = test["is"].as_table().unwrap().keys().cloned().collect();
                names.join(" or ")
            });
            names.collect::<Vec<_>>().join(", ")
        };
        let lists = lists.as_array().unwrap().iter().map(list);
        lists.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn the_page_shows_the_file() {
        let table = table();
        assert!(
            PAGE.contains(&table),
            "docs/sandbox.md is to have this table:\n\n{table}"
        );
    }
}
