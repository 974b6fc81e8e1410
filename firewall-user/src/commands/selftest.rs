// SPDX-License-Identifier: GPL-3.0-or-later
//! `keyward selftest`: does this keyward, on this host and kernel, stop what it claims to stop?
//!
//! It makes every attempt of the catalogue in a lab of its own (namespaces that nothing leads out of), behind this very
//! binary and, as a control, without it.

use std::fs;
use std::io::{self, Write as _};

use anyhow::{Context as _, Result, bail, ensure};
use keyward_escape::suite::{Results, Selection};
use keyward_escape::{catalogue, report, suite};
use nix::sys::utsname::uname;
use nix::unistd::geteuid;

use crate::cli::SelftestArgs;

mod layers;

use layers::Parts;

/// Prints a line a group, and returns whether everything is as it should be.
pub fn run(args: &SelftestArgs) -> Result<bool> {
    if !geteuid().is_root() {
        bail!("namespaces and eBPF programs take root\n  hint: sudo keyward selftest");
    }
    let groups = match &args.attempts {
        Some(directory) => catalogue::from_directory(directory)?,
        None => catalogue::built_in()?,
    };
    let selection = Selection {
        groups: args.group.clone(),
        ids: args.id.clone(),
        ways: args.mode.clone(),
    };
    let keyward = std::env::current_exe().context("cannot find this binary")?;
    let mut talk = io::stderr();
    let results = suite::run(&keyward, &Parts, &groups, &selection, |step| {
        // Nobody is left to tell if standard error is closed.
        writeln!(talk, "keyward: {step}").ok();
    })?;
    ensure!(
        !results.rows.is_empty(),
        "there is no such attempt or group\n  hint: the groups are {}",
        groups
            .iter()
            .map(|it| &*it.name)
            .collect::<Vec<_>>()
            .join(", ")
    );
    let mut text = report::text(&results);
    if args.verbose {
        text.insert_str(0, &what_was_said(&results));
    }
    if let Some(path) = &args.table {
        let kernel = uname()
            .context("uname")?
            .release()
            .to_string_lossy()
            .into_owned();
        fs::write(path, report::markdown(&results, &kernel))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let is_well = report::wrong(&results).is_empty();
    text.push_str(if is_well {
        "keyward: no attempt got out.\n"
    } else {
        "keyward: not everything is as it should be.\n"
    });
    io::stdout().write_all(text.as_bytes())?;
    Ok(is_well)
}

fn what_was_said(results: &Results) -> String {
    let mut text = String::new();
    for row in &results.rows {
        let control = row.control.iter().map(|it| ("control", it));
        let ways = row.ways.iter().map(|(way, it)| (way.name(), it));
        for (way, outcome) in control.chain(ways) {
            let how = outcome.success.as_deref().unwrap_or("stopped");
            text += &format!("{} {way}: {how}\n", row.attempt.id);
            for reason in &outcome.log.perhaps {
                let whose = match outcome.log.surely.contains(reason) {
                    true => "the log",
                    false => "the log, of somebody",
                };
                text += &format!("  {whose}: {reason}\n");
            }
            for line in outcome.said.lines() {
                text += &format!("    {line}\n");
            }
        }
    }
    text
}
