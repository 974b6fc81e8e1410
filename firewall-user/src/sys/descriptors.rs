// SPDX-License-Identifier: GPL-3.0-or-later
//! Descriptors that must not be passed on.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Marks every descriptor above standard error close-on-exec.
///
/// A socket that was open before keyward started belongs to no cgroup and no network namespace of ours: no hook sees
/// what goes through it. Nothing that keyward starts may inherit one. The descriptors stay open in keyward itself
/// only until its first exec, and it uses none of them.
///
/// `close_range(2)` with `CLOSE_RANGE_CLOEXEC`: Linux 5.11.
pub fn withhold_inherited() -> io::Result<()> {
    // SAFETY: close_range takes plain integers; marking descriptors close-on-exec invalidates none of them.
    let result = unsafe { libc::close_range(3, u32::MAX, flags()) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn flags() -> libc::c_int {
    libc::CLOSE_RANGE_CLOEXEC.cast_signed()
}

/// Closes every descriptor above standard error but those in `keep`.
///
/// For a process that was just cloned and goes on without an exec: it has a copy of all that its parent had open, and
/// what it does not close stays open for as long as it lives. The parent's owners of the other descriptors are dead
/// memory in it and must not be used or dropped, so it has to end by `exit`, not by returning.
pub fn close_all_but(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut kept: Vec<u32> = keep
        .iter()
        .map(|it| it.as_raw_fd().cast_unsigned())
        .collect();
    kept.sort_unstable();
    let mut first = 3;
    for descriptor in kept {
        if descriptor > first {
            close(first, descriptor - 1)?;
        }
        first = first.max(descriptor + 1);
    }
    close(first, u32::MAX)
}

fn close(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: the descriptors belong to the parent's values, which this process does not use again; see above.
    let result = unsafe { libc::close_range(first, last, 0) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
