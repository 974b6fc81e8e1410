// SPDX-License-Identifier: MIT OR Apache-2.0
//! A network namespace of the benchmark's own: fixed ports are free there, nobody else can reach
//! what listens, and no packet leaves the machine whatever goes wrong.
//!
//! The namespace has no name and ends with the last process in it, so that nothing is left behind.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Set in the environment of the process that is inside already.
const INSIDE: &str = "KEYWARD_BENCH_INSIDE";

/// Returns inside a fresh network namespace with loopback up: by running this program again, with
/// the same arguments, under util-linux' `unshare`.
pub(crate) fn enter() -> Result<()> {
    if std::env::var_os(INSIDE).is_none() {
        let program = std::env::current_exe().context("finding this program")?;
        let mut command = Command::new("unshare");
        command
            .arg("--net")
            .arg("--")
            .arg(program)
            .args(std::env::args_os().skip(1));
        let error = command.env(INSIDE, "1").exec();
        return Err(error).context("running `unshare --net` (util-linux)");
    }
    let status = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status()
        .context("running `ip` (iproute2)")?;
    if !status.success() {
        bail!("`ip link set lo up` failed: {status}; this needs root");
    }
    Ok(())
}
