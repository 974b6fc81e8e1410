// SPDX-License-Identifier: GPL-3.0-or-later
//! Which Landlock the kernel has.

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
