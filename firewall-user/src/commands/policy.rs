// SPDX-License-Identifier: GPL-3.0-or-later
//! `keyward policy check`, `keyward policy groups` and `keyward schema`.

use std::io::{self, Write as _};

use anyhow::{Result, bail};
use keyward_policy::{GroupList, list_groups};

use super::logs::read_no_further;
use crate::cli::{CheckArgs, GroupsArgs};
use crate::settings::{HostEnvironment, check_gateway};

/// Says whether a policy holds, and what it comes to.
pub fn check(args: &CheckArgs, host: &HostEnvironment) -> Result<()> {
    let mut flags = args.egress.clone();
    if args.file.is_some() {
        flags.config.clone_from(&args.file);
    }
    let loaded = host.policy_source(&flags)?.read()?;
    check_gateway(&loaded.gateway)?;
    let policy = &loaded.policy;
    let mut out = io::stdout().lock();
    let mut write = || {
        for note in &loaded.notes {
            writeln!(out, "note: {note}")?;
        }
        for (heading, entries) in [("allow", &policy.allow), ("block", &policy.block)] {
            for entry in entries {
                writeln!(out, "{heading}  {:<40}  {}", entry.rule, entry.origin)?;
            }
        }
        for (first, last) in &policy.host_ports {
            let range = if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            };
            writeln!(out, "allow  host.docker.internal:{range}")?;
        }
        let (allow, block) = (policy.allow.len(), policy.block.len());
        writeln!(out, "the policy holds: {allow} rules allow, {block} block")
    };
    read_no_further(write().map_err(Into::into))
}

/// Lists what groups stand for.
pub fn groups(args: &GroupsArgs, host: &HostEnvironment) -> Result<()> {
    let source = host.policy_source(&args.egress)?;
    let mut groups = source.with_builder(|builder| list_groups(&builder));
    if let Some(wanted) = &args.group {
        groups.retain(|it| it.name == *wanted);
        if groups.is_empty() {
            bail!("there is no group {wanted:?}\n  hint: keyward policy groups");
        }
    }
    let mut out = io::stdout().lock();
    let mut write = || {
        groups
            .iter()
            .try_for_each(|group| write_group(group, &mut out))
    };
    read_no_further(write().map_err(Into::into))
}

fn write_group(group: &GroupList, out: &mut impl io::Write) -> io::Result<()> {
    writeln!(out, "{}  {}", group.name, group.description)?;
    match &group.rules {
        Ok(entries) => entries
            .iter()
            .try_for_each(|entry| writeln!(out, "    {:<40}  {}", entry.rule, entry.origin.source)),
        Err(why) => why.lines().try_for_each(|line| writeln!(out, "    {line}")),
    }
}

/// Prints the schema of policy files.
pub fn schema() -> Result<()> {
    let text = serde_json::to_string_pretty(&keyward_policy::schema())?;
    read_no_further(writeln!(io::stdout(), "{text}").map_err(Into::into))
}
