// SPDX-License-Identifier: GPL-3.0-or-later
//! How much of the machine a run may take, and what its sandbox is to be like.

use clap::Args;

use crate::cgroup::{parse_cpu, parse_memory, parse_pids};
use crate::features::Feature;

// What the command's processes may do and take.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Sandbox")]
pub struct ConfineArgs {
    /// Memory of all processes together, without swap: 512M, 2G
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    pub memory: Option<u64>,
    /// Processes and threads at the same time [default: 15 % of what this host can have]
    #[arg(long, value_name = "N", value_parser = parse_pids)]
    pub pids: Option<u64>,
    /// Processors: 2, 0.5
    #[arg(long, value_name = "N", value_parser = parse_cpu)]
    pub cpu: Option<u64>,
    /// Refuse user namespaces: nothing can mount, and browsers and other sandboxes inside lose their own
    #[arg(long)]
    pub no_userns: bool,
    /// Run although this host lacks a feature; keyward status and the log say so
    #[arg(
        long,
        value_name = "FEATURE,...",
        env = "KEYWARD_ALLOW_DEGRADED",
        value_delimiter = ','
    )]
    pub allow_degraded: Vec<Feature>,
}
