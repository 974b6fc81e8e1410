// SPDX-License-Identifier: GPL-3.0-or-later
//! The environment block that the kernel laid on the stack, which `/proc/<pid>/environ` shows.

use std::ffi::CStr;

/// Overwrites the values of the named variables in the process's own environment block with `*`.
///
/// Removing a variable from the C library's table leaves the bytes where they were, for anybody who may read
/// `/proc/<pid>/environ` or a core dump. The variables stay defined, so the C library's table stays sound.
///
/// Call it while the process has one thread: nothing else may be reading the environment.
pub fn scrub(names: &[&str]) {
    let mut entry = environment();
    loop {
        // SAFETY: `entry` points into the C library's table, which ends with a null pointer.
        let string = unsafe { *entry };
        if string.is_null() {
            return;
        }
        scrub_entry(string, names);
        // SAFETY: the entry just read was not the terminator, so the next one is inside the table.
        entry = unsafe { entry.add(1) };
    }
}

fn scrub_entry(string: *mut libc::c_char, names: &[&str]) {
    // SAFETY: every entry of the table is a NUL-terminated string.
    let bytes = unsafe { CStr::from_ptr(string) }.to_bytes();
    let Some(equals) = bytes.iter().position(|&byte| byte == b'=') else {
        return;
    };
    if !names.iter().any(|name| name.as_bytes() == &bytes[..equals]) {
        return;
    }
    let (start, length) = (equals + 1, bytes.len() - equals - 1);
    // SAFETY: `start` is at most the string's length, so this stays inside it.
    let value = unsafe { string.add(start) };
    // SAFETY: the `length` bytes from `value` are the value itself, in the process's own writable stack or heap.
    unsafe { std::ptr::write_bytes(value, b'*', length) };
}

fn environment() -> *mut *mut libc::c_char {
    unsafe extern "C" {
        static mut environ: *mut *mut libc::c_char;
    }
    // SAFETY: reads one pointer that the C library set before `main`; see `scrub` on threads.
    unsafe { environ }
}
