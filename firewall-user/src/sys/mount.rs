// SPDX-License-Identifier: GPL-3.0-or-later
//! Attributes of whole mount trees.

use std::ffi::CStr;
use std::io;

/// Makes a mount and everything below it read-only, without setuid programs and devices' meaning left as they are.
///
/// `mount_setattr(2)` with `AT_RECURSIVE`: Linux 5.12. One call: no submount can be missed.
pub fn make_read_only(path: &CStr) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: path and attributes are valid for the length of the call, and the size is that of the structure.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
