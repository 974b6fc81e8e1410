// SPDX-License-Identifier: MIT OR Apache-2.0
//! The memory that the copies are in: locked, in no core dump, empty in a fork. There is one, made before `main`.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering, compiler_fence};

static START: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
static LENGTH: AtomicUsize = AtomicUsize::new(0);

/// Makes room for so many bytes. `None`: there is none.
pub(super) fn make(length: usize) -> Option<*mut u8> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let start = unsafe { libc::mmap(ptr::null_mut(), length, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return None;
    }
    // Each makes it better and none of them is needed: a limit or an old kernel does not keep the program from running.
    // SAFETY: the mapping is ours, and this long.
    unsafe { libc::mlock(start, length) };
    for advice in [libc::MADV_DONTDUMP, libc::MADV_WIPEONFORK] {
        // SAFETY: as above; neither changes what is there for this process.
        unsafe { libc::madvise(start, length, advice) };
    }
    let start = start.cast();
    LENGTH.store(length, Ordering::Relaxed);
    START.store(start, Ordering::Release);
    Some(start)
}

/// Whether this points into it.
pub(super) fn holds(pointer: *const libc::c_char) -> bool {
    let start = START.load(Ordering::Acquire);
    let offset = pointer.addr().wrapping_sub(start.addr());
    !start.is_null() && offset < LENGTH.load(Ordering::Relaxed)
}

/// Overwrites all of it.
pub(super) fn wipe() {
    let start = START.load(Ordering::Acquire);
    if start.is_null() {
        return;
    }
    for offset in 0..LENGTH.load(Ordering::Relaxed) {
        // SAFETY: `offset` is inside the mapping, which is never given back.
        let byte = unsafe { start.add(offset) };
        // Volatile: nobody reads it again, and it is written all the same.
        // SAFETY: as above; it may be written to.
        unsafe { byte.write_volatile(0) };
    }
    compiler_fence(Ordering::SeqCst);
}
