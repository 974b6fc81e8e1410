// SPDX-License-Identifier: GPL-3.0-or-later
//! What can be asked about policies with no run going on.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{EgressArgs, SuggestArgs};

// `keyward policy`.
#[derive(Args, Debug)]
pub struct PolicyArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: PolicyCommand,
}

// What can be done with policies.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Say whether a policy file holds, and what it comes to
    Check(CheckArgs),
    /// List the groups that rules can name, and what each stands for on this host now
    Groups(GroupsArgs),
    /// Print the smallest policy that would have let a run through, for review
    Suggest(SuggestArgs),
}

// `keyward policy check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Policy file: TOML, YAML or JSON; - is standard input
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// What `keyward run` would be given besides.
    #[command(flatten)]
    pub egress: EgressArgs,
}

// `keyward policy groups`.
#[derive(Args, Debug)]
pub struct GroupsArgs {
    /// Only this one: group:github, registry:npm
    #[arg(value_name = "GROUP")]
    pub group: Option<String>,
    /// What `keyward run` would be given: a policy file may have groups of its own.
    #[command(flatten)]
    pub egress: EgressArgs,
}

// `keyward explain`.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// Host, with or without a port: github.com, db.lan:5432; an IPv6 address stands in brackets
    #[arg(value_name = "HOST[:PORT]", required_unless_present = "reasons")]
    pub host: Option<String>,
    /// Print every reason for which anything is ever denied: its number, its name, what it means
    #[arg(long, conflicts_with = "host")]
    pub reasons: bool,
    /// What `keyward run` would be given.
    #[command(flatten)]
    pub egress: EgressArgs,
}
