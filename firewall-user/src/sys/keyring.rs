// SPDX-License-Identifier: GPL-3.0-or-later
//! Kernel keyrings: keyrings(7).

use std::io;

/// Gives the calling process a new, empty session keyring in place of the one that it has from its parent.
///
/// False: the kernel has no keyrings (`CONFIG_KEYS`), so there is none to lose.
pub fn join_new_session() -> io::Result<bool> {
    // SAFETY: with a null name the kernel makes an anonymous keyring and reads nothing.
    let serial = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::KEYCTL_JOIN_SESSION_KEYRING,
            std::ptr::null::<libc::c_char>(),
        )
    };
    if serial > 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ENOSYS) => Ok(false),
        error => Err(error),
    }
}
