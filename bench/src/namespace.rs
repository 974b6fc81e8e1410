// SPDX-License-Identifier: MIT OR Apache-2.0
//! A network namespace of the benchmark's own: fixed ports are free there, nobody else can reach
//! what listens, and no packet leaves the machine whatever goes wrong.
//!
//! The namespace has no name and ends with the last process in it, so that nothing is left behind.

use std::fs;
use std::net::Ipv4Addr;
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
    ip(&["link", "set", "lo", "up"])
}

/// Gives the namespace's loopback another address.
pub(crate) fn add_address(address: Ipv4Addr) -> Result<()> {
    ip(&["address", "add", &format!("{address}/32"), "dev", "lo"])
}

/// Leaves nearly all ports to those who connect: a proxy that is asked for ten thousand connections a second needs
/// one for each, for a while.
pub(crate) fn free_ports() -> Result<()> {
    fs::write("/proc/sys/net/ipv4/ip_local_port_range", "10240 65535")
        .context("ip_local_port_range")?;
    fs::write("/proc/sys/net/ipv4/tcp_tw_reuse", "1").context("tcp_tw_reuse")
}

fn ip(arguments: &[&str]) -> Result<()> {
    let status = Command::new("ip")
        .args(arguments)
        .status()
        .context("running `ip` (iproute2)")?;
    if !status.success() {
        bail!(
            "`ip {}` failed: {status}; this needs root",
            arguments.join(" ")
        );
    }
    Ok(())
}
