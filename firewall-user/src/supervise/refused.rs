// SPDX-License-Identifier: GPL-3.0-or-later
//! Sockets that seccomp refuses: their callers wait until they are written down here, and are told `EPERM`.
//!
//! Nothing is decided here. The filter has decided already, see [`crate::sandbox::seccomp`]; if this were gone, the
//! kernel would refuse with `ENOSYS`. While keyward is stopped, they wait until it goes on.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context as _, Result};
use firewall_common::{COMM_LEN, Owner};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::audit::{Audit, RefusedSocket};
use crate::sys::seccomp::{Call, ensure_waiting, receive, refuse};

/// Most calls that are answered before the loop looks at anything else. A workload may ask in as many threads as it
/// likes; one answer takes some 50 µs.
const BATCH: u32 = 64;

/// The listener's reader.
#[derive(Debug)]
pub(super) struct RefusedSockets {
    listener: OwnedFd,
    cgroup: u64,
}

/// Whether it is worth asking again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A process is left that may make sockets.
    MaybeAgain,
    /// None is.
    NeverAgain,
}

impl RefusedSockets {
    pub(super) fn new(listener: OwnedFd, cgroup: u64) -> Self {
        Self { listener, cgroup }
    }

    /// Answers what waits, up to [`BATCH`] calls. Never waits itself.
    pub(super) fn answer(&self, audit: &mut Audit) -> Result<Asked> {
        for _ in 0..BATCH {
            // Before each: taking a call that is not there would block.
            let mut polled = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
            poll(&mut polled, PollTimeout::ZERO).context("cannot poll the seccomp listener")?;
            let found = polled[0].revents().unwrap_or(PollFlags::POLLHUP);
            if !found.contains(PollFlags::POLLIN) {
                return Ok(if found.is_empty() {
                    Asked::MaybeAgain
                } else {
                    Asked::NeverAgain
                });
            }
            unless_gone(self.answer_one(audit)).context("cannot answer a refused system call")?;
        }
        Ok(Asked::MaybeAgain)
    }

    fn answer_one(&self, audit: &mut Audit) -> io::Result<()> {
        let call = receive(self.as_fd())?;
        let owner = self.owner(call);
        // Only now is it sure that what was read of the thread was not read of another with its number.
        ensure_waiting(self.as_fd(), call)?;
        // Before the answer, so that whoever sees a call fail can already find it in the log.
        audit.record_socket(&RefusedSocket::new(owner, call.arguments));
        refuse(self.as_fd(), call, libc::EPERM)
    }

    /// Who called, as an eBPF program would have told it.
    fn owner(&self, call: Call) -> Owner {
        let mut owner = Owner {
            cgroup: self.cgroup,
            pid: call.thread,
            ..Owner::UNKNOWN
        };
        let read = |file| fs::read(format!("/proc/{}/{file}", call.thread)).unwrap_or_default();
        let comm = read("comm");
        let comm = comm.strip_suffix(b"\n").unwrap_or(&comm);
        let length = comm.len().min(COMM_LEN - 1);
        owner.comm[..length].copy_from_slice(&comm[..length]);
        let status = read("status");
        let status = String::from_utf8_lossy(&status);
        // The first of `Uid:` is the real one.
        let field = |name| {
            let mut lines = status.lines();
            lines.find_map(|line| {
                line.strip_prefix(name)?
                    .split_whitespace()
                    .next()?
                    .parse()
                    .ok()
            })
        };
        owner.tgid = field("Tgid:").unwrap_or(0);
        owner.uid = field("Uid:").unwrap_or(u32::MAX);
        owner
    }
}

impl AsFd for RefusedSockets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// A caller that was killed meanwhile is told nothing, and that is as well.
fn unless_gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result,
    }
}
