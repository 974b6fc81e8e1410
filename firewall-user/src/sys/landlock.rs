// SPDX-License-Identifier: GPL-3.0-or-later
//! Which Landlock the kernel has.

use std::os::fd::{FromRawFd as _, OwnedFd};

/// `LANDLOCK_CREATE_RULESET_VERSION`: include/uapi/linux/landlock.h.
const VERSION: u32 = 1;

/// The version of the kernel's Landlock interface; `None` if there is none or it is turned off.
pub fn abi() -> Option<i64> {
    // SAFETY: with the version flag the kernel takes a null attribute of size 0 and changes nothing.
    let abi = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0usize,
            VERSION,
        )
    };
    (abi > 0).then_some(abi)
}

/// `struct landlock_ruleset_attr` as far as ABI 6 has it.
#[repr(C)]
struct Attributes {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// Whether rule sets can be made that keep signals and abstract sockets inside (ABI 6).
pub fn has_scopes() -> bool {
    let attributes = Attributes {
        handled_access_fs: 0,
        handled_access_net: 0,
        scoped: 3,
    };
    // SAFETY: the kernel reads one `Attributes`, of the given size.
    let result = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const attributes,
            size_of::<Attributes>(),
            0,
        )
    };
    let Ok(descriptor @ 0..) = i32::try_from(result) else {
        return false;
    };
    // SAFETY: the kernel has just made this descriptor and nobody else knows of it.
    drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
    true
}
