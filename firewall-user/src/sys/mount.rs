// SPDX-License-Identifier: GPL-3.0-or-later
//! Attributes of whole mount trees.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use rustix::fs::CWD;

/// An attribute of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// Nothing on it can be written to.
    ReadOnly,
    /// Set-user-id bits and file capabilities on it mean nothing.
    NoSetuid,
}

/// Gives an attribute to a mount and to everything below it.
///
/// `mount_setattr(2)` with `AT_RECURSIVE`: Linux 5.12. One call: no submount can be missed.
pub fn set_attribute(path: &CStr, attribute: Attribute) -> io::Result<()> {
    set(CWD, path, libc::AT_RECURSIVE, attribute)
}

/// The same for a tree that is mounted nowhere yet, by its descriptor.
pub fn set_attribute_of(tree: BorrowedFd<'_>, attribute: Attribute) -> io::Result<()> {
    set(
        tree,
        c"",
        libc::AT_RECURSIVE | libc::AT_EMPTY_PATH,
        attribute,
    )
}

fn set(
    directory: BorrowedFd<'_>,
    path: &CStr,
    flags: libc::c_int,
    attribute: Attribute,
) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: match attribute {
            Attribute::ReadOnly => libc::MOUNT_ATTR_RDONLY,
            Attribute::NoSetuid => libc::MOUNT_ATTR_NOSUID,
        },
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: path and attributes are valid for the length of the call, and the size is that of the structure.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            directory.as_raw_fd(),
            path.as_ptr(),
            flags,
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
