// SPDX-License-Identifier: GPL-3.0-or-later
//! `keyward selftest`.

use std::path::PathBuf;

use clap::Args;

// `keyward selftest`.
#[derive(Args, Clone, Debug, Default)]
pub struct SelftestArgs {
    /// Only attempts of this group
    #[arg(long, value_name = "GROUP")]
    pub group: Vec<String>,
    /// Only this attempt
    #[arg(long, value_name = "ID")]
    pub id: Vec<String>,
    /// Only this way: user, root, closed, ebpf, nftables, namespace, pids, ipc, capabilities, control
    #[arg(long, value_name = "WAY")]
    pub mode: Vec<String>,
    /// Attempts of a directory instead of those that come with keyward
    #[arg(long, value_name = "DIRECTORY")]
    pub attempts: Option<PathBuf>,
    /// Say what each attempt printed
    #[arg(long)]
    pub verbose: bool,
    /// Write the table of all attempts to this file, as Markdown
    #[arg(long, value_name = "FILE")]
    pub table: Option<PathBuf>,
}
