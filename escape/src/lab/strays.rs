// SPDX-License-Identifier: GPL-3.0-or-later
//! Processes that attempts leave behind.
//!
//! This process adopts whoever loses its parent below it. A process may leave its group, its session, its cgroup and
//! its namespaces, but not its ancestors: what is a child of ours and no helper of the lab's is what an attempt left.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid};

/// How long what is ending may take to end, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Adopts orphans from now on.
pub(super) fn adopt() -> Result<()> {
    prctl::set_child_subreaper(true).context("cannot adopt orphans")
}

/// Waits until nobody is left but `helpers`. Says who does not go by itself.
pub(super) fn wait(helpers: &[Pid]) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let left = left(helpers);
        if left.is_empty() || begun.elapsed() > PATIENCE {
            return left.into_iter().map(describe).collect();
        }
        sleep(Duration::from_millis(5));
    }
}

/// Ends whoever is left but `helpers`. A process that ends leaves its own children to us: it takes several rounds.
pub(super) fn end(helpers: &[Pid]) -> Result<()> {
    let begun = Instant::now();
    loop {
        let left = left(helpers);
        if left.is_empty() {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < PATIENCE,
            "processes of an attempt do not end: {}",
            left.into_iter()
                .map(describe)
                .collect::<Vec<_>>()
                .join(", ")
        );
        for pid in left {
            // It may have ended by itself.
            kill(pid, Signal::SIGKILL).ok();
        }
        sleep(Duration::from_millis(1));
    }
}

/// The children that live. Those that have ended are forgotten.
fn left(helpers: &[Pid]) -> Vec<Pid> {
    let mut children = children();
    children.retain(|pid| !helpers.contains(pid));
    children.retain(|pid| {
        let state = waitpid(*pid, Some(WaitPidFlag::WNOHANG));
        matches!(state, Ok(WaitStatus::StillAlive))
    });
    children
}

fn children() -> Vec<Pid> {
    let own = getpid().to_string();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_child = |pid: &Pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // A process may call itself anything, brackets and spaces included.
        let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        fields.split(' ').nth(1) == Some(&*own)
    };
    processes
        .filter_map(|it| it.file_name().to_str()?.parse().ok().map(Pid::from_raw))
        .filter(is_child)
        .collect()
}

fn describe(pid: Pid) -> String {
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = String::from_utf8_lossy(&arguments).replace('\0', " ");
    format!("{pid} ({})", words.trim())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::{adopt, children, end, wait};

    /// One test, since the process is one.
    #[test]
    fn whoever_is_left_is_found_and_ended() {
        adopt().unwrap();
        assert!(wait(&[]).is_empty());
        // In a session of its own, below a process that is gone.
        let script = "setsid sh -c 'sleep 1000 & sleep 1000' & exit";
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).stdin(Stdio::null());
        assert!(shell.status().unwrap().success());
        let left = children();
        assert_eq!(left.len(), 1, "{left:?}");
        assert!(wait(&left).is_empty());
        end(&[]).unwrap();
        assert!(children().is_empty());
    }
}
