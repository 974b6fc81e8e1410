// SPDX-License-Identifier: GPL-3.0-or-later
//! Descriptors that the caller left open.

use std::io;

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
