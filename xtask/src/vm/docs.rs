// SPDX-License-Identifier: MIT OR Apache-2.0
//! The part of docs/kernels.md that guests write.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};

use super::results::Results;
use super::suite::left_out;
use crate::workspace::Workspace;

const BEGIN: &str = "<!-- written by cargo xtask vm --write-docs -->\n";
const END: &str = "<!-- end -->";

/// Replaces what stands between the marks.
pub(super) fn write(results: &Results, workspace: &Workspace) -> Result<()> {
    let path = workspace.root().join("docs/kernels.md");
    let old = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let new = replace(&old, &generated(results)?)
        .with_context(|| format!("{} has lost its marks", path.display()))?;
    workspace.write(&path, new)
}

fn replace(text: &str, generated: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{generated}{END}{after}"))
}

fn generated(results: &Results) -> Result<String> {
    let mut text = String::from("\n## The suites\n\n");
    text.push_str(&results.table());
    text.push_str("\n## What `keyward doctor` finds there\n\n");
    text.push_str(&doctor(results)?);
    text.push_str("\n## What guests do not run\n\n| tests | why |\n|---|---|\n");
    for (name, reason) in left_out() {
        writeln!(text, "| `{name}` | {reason} |")?;
    }
    text.push('\n');
    Ok(text)
}

/// Finding by kernel.
fn doctor(results: &Results) -> Result<String> {
    let kernels = results.kernels();
    let found = |outcomes: &[super::results::Outcome], name: &str| {
        outcomes
            .iter()
            .find_map(|it| it.doctor.get(name).cloned())
            .unwrap_or_else(|| "—".to_owned())
    };
    let names: BTreeSet<&String> = kernels
        .iter()
        .flat_map(|(_, outcomes)| outcomes.iter().flat_map(|it| it.doctor.keys()))
        .collect();
    let mut text = String::from("| |");
    for (release, _) in &kernels {
        write!(text, " {release} |")?;
    }
    write!(text, "\n|---|{}", "---|".repeat(kernels.len()))?;
    for name in names {
        write!(text, "\n| {name} |")?;
        for (_, outcomes) in &kernels {
            write!(text, " {} |", found(outcomes, name))?;
        }
    }
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let text = format!("before\n{BEGIN}old\n{END}\nafter\n");
        let new = replace(&text, "new\n").unwrap();
        assert_eq!(new, format!("before\n{BEGIN}new\n{END}\nafter\n"));
        assert!(replace("no marks", "new").is_none());
    }
}
