// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask escape`: builds everything, then tries every known way out of it.

use anyhow::Result;

use crate::build;
use crate::command::Cmd;
use crate::packages::{self, ESCAPE};
use crate::workspace::Workspace;

/// Try every known way out of keyward, behind it, behind each of its layers alone, and without it
///
/// Builds first, then runs `keyward selftest`, as root, through sudo where needed.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only attempts of this group
    #[arg(long, value_name = "GROUP")]
    group: Vec<String>,

    /// Only this attempt
    #[arg(long, value_name = "ID")]
    id: Vec<String>,

    /// Only this way: user, root, closed, ebpf, nftables, namespace, pids, ipc, capabilities, control
    #[arg(long, value_name = "WAY")]
    mode: Vec<String>,

    /// Say what each attempt printed
    #[arg(long)]
    verbose: bool,

    /// Write docs/escapes.md from this run
    #[arg(long, conflicts_with_all = ["group", "id", "mode"])]
    write_docs: bool,
}

pub(crate) fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    packages::ensure_tools(ESCAPE, workspace)?;
    build::ebpf(workspace)?;
    build::binaries(&[], workspace)?;
    let page = workspace.root().join("docs/escapes.md");
    // As the user, so that it stays the user's: root will write into it.
    if args.write_docs && !page.exists() {
        workspace.write(&page, "")?;
    }
    let mut selftest = Cmd::new(workspace.release_binary("keyward"))
        .arg("selftest")
        // Attempts are data: what is there is made, not what was there when it was built.
        .arg("--attempts")
        .arg(workspace.root().join("escape/attempts"));
    for (flag, values) in [
        ("--group", &args.group),
        ("--id", &args.id),
        ("--mode", &args.mode),
    ] {
        for value in values {
            selftest = selftest.arg(flag).arg(value);
        }
    }
    if args.verbose {
        selftest = selftest.arg("--verbose");
    }
    if args.write_docs {
        selftest = selftest.arg("--table").arg(page);
    }
    selftest.with_root().run(workspace)
}
