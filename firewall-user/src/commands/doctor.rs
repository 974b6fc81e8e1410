// SPDX-License-Identifier: GPL-3.0-or-later
//! `keyward doctor`: does this host have what keyward needs, and if not, what is to be done?

use std::fmt::Write as _;
use std::io::{self, Write as _};

use anyhow::Result;

use crate::cli::DoctorArgs;
use crate::{cgroup, ebpf, runs};

mod checks;

pub use checks::{Check, Finding};

/// Prints a line for each thing, and returns whether all of them are in order.
pub fn run(args: &DoctorArgs) -> Result<bool> {
    if args.fix {
        fix()?;
    }
    let checks = checks::all();
    let mut text = String::new();
    for check in &checks {
        match &check.finding {
            Finding::Present(detail) => writeln!(text, "ok       {:<14} {detail}", check.name)?,
            Finding::Missing { found, remedy } => {
                problem(&mut text, "missing", check.name, found, remedy)?;
            }
            Finding::Untidy { found, remedy } => {
                problem(&mut text, "untidy", check.name, found, remedy)?;
            }
            Finding::Lacking { feature, found } => {
                writeln!(text, "lacking  {:<14} {found}", check.name)?;
                writeln!(
                    text,
                    "         {:<14} it is in {}\n         {:<14} without it {}",
                    "",
                    feature.since(),
                    "",
                    feature.loss()
                )?;
            }
        }
    }
    let healthy = checks.iter().all(|check| match &check.finding {
        Finding::Present(_) => true,
        Finding::Missing { .. } | Finding::Untidy { .. } => false,
        Finding::Lacking { feature, .. } => args.allow_degraded.contains(feature),
    });
    let is_missing = |check: &Check| matches!(check.finding, Finding::Missing { .. });
    let lacking: Vec<_> = checks
        .iter()
        .filter_map(|check| match check.finding {
            Finding::Lacking { feature, .. } => Some(feature.name()),
            Finding::Present(_) | Finding::Missing { .. } | Finding::Untidy { .. } => None,
        })
        .collect();
    if checks.iter().any(is_missing) {
        text.push_str("keyward cannot run here yet.\n");
    } else if lacking.is_empty() {
        text.push_str("keyward can run here.\n");
    } else {
        writeln!(
            text,
            "keyward can run here with less: --allow-degraded {}",
            lacking.join(",")
        )?;
    }
    io::stdout().write_all(text.as_bytes())?;
    Ok(healthy)
}

fn problem(text: &mut String, kind: &str, name: &str, found: &str, remedy: &str) -> Result<()> {
    writeln!(text, "{kind:<8} {name:<14} {found}")?;
    writeln!(text, "{:<8} {:<14} hint: {remedy}", "", "")?;
    Ok(())
}

fn fix() -> Result<()> {
    let mut talk = io::stderr();
    runs::ensure_bpffs()?;
    let sweep = runs::sweep(&cgroup::Hierarchies::find()?);
    for id in &sweep.swept {
        writeln!(talk, "keyward: cleared away what run {id} left")?;
    }
    for failure in &sweep.failures {
        writeln!(talk, "keyward: could not clear away: {failure}")?;
    }
    ebpf::spare::clear()
}
