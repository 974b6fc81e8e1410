// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask demo`: builds everything, then shows it.

use anyhow::Result;

use crate::build;
use crate::command::Cmd;
use crate::packages::{self, DEMO};
use crate::workspace::Workspace;

/// Run a small agent under keyward and show what it saw, what its provider received, and what was blocked
///
/// Builds first. The demonstration runs as root, through sudo where needed.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Arguments for the demonstration
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

pub(crate) fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    packages::ensure_tools(DEMO, workspace)?;
    build::ebpf(workspace)?;
    build::binaries(&["e2e"], workspace)?;
    Cmd::new(workspace.release_binary("keyward-demo"))
        .args(&args.args)
        .with_root()
        .run(workspace)
}
