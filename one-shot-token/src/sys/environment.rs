// SPDX-License-Identifier: MIT OR Apache-2.0
//! The C library's table of variables, `environ`: pointers to `NAME=value`, and a null pointer behind the last.

use std::ffi::CStr;

use libc::c_char;

use super::vault;
use crate::names::{is_one, value};

unsafe extern "C" {
    static mut environ: *mut *mut c_char;
}

/// The table as it is now. It may be null: `clearenv` leaves it so.
pub(super) fn table() -> *mut *mut c_char {
    // SAFETY: a pointer of the C library's, read as its own functions do; see the callers on threads.
    unsafe { environ }
}

/// The places of the table's entries, one after the other.
struct Entries(*mut *mut c_char);

impl Iterator for Entries {
    type Item = *mut *mut c_char;

    fn next(&mut self) -> Option<Self::Item> {
        let place = self.0;
        // SAFETY: unless it is null, it points into the table, at most at its end.
        if place.is_null() || unsafe { *place }.is_null() {
            return None;
        }
        // SAFETY: this was not the end, so the next one is in the table.
        self.0 = unsafe { place.add(1) };
        Some(place)
    }
}

/// The text of an entry.
fn text<'e>(place: *mut *mut c_char) -> &'e [u8] {
    // SAFETY: `Entries` gives places inside the table alone.
    let entry = unsafe { *place };
    // SAFETY: each entry is a string with its NUL. It lives as long as nobody changes it; this is used before `main` and
    // in a fork, where there is one thread, and with nothing kept.
    unsafe { CStr::from_ptr(entry) }.to_bytes()
}

/// The value of a variable.
pub(super) fn find(name: &[u8]) -> Option<&'static [u8]> {
    Entries(table()).find_map(|it| value(text(it), name))
}

/// Puts copies in the place of these variables, and overwrites what was there. `false`: there is none of them.
///
/// Where there is no memory for the copies, the variables are lost: the program goes without, and nobody sees them.
pub(super) fn take(names: &[Box<[u8]>]) -> bool {
    let all: Vec<_> = Entries(table())
        .filter(|it| is_one(text(*it), names))
        .collect();
    if all.is_empty() {
        return false;
    }
    let length = all.iter().map(|it| text(*it).len() + 1).sum();
    let mut room = vault::make(length);
    for place in all {
        let length = text(place).len();
        // SAFETY: as in `text`.
        let old: *mut c_char = unsafe { *place };
        if let Some(copy) = room {
            // SAFETY: the room is as long as all the entries with their NULs, and nothing of it overlaps them.
            unsafe { copy.copy_from_nonoverlapping(old.cast(), length + 1) };
            // SAFETY: the place is inside the table, which is writable.
            unsafe { *place = copy.cast() };
            // SAFETY: at most the end of the room.
            room = Some(unsafe { copy.add(length + 1) });
        }
        for offset in 0..length {
            // SAFETY: inside the string.
            let byte = unsafe { old.add(offset) };
            // SAFETY: strings of the initial environment are on the process's own stack, later ones on its heap.
            unsafe { byte.write_volatile(0) };
        }
    }
    true
}

/// Takes the entries out that point to copies. In a fork: there is one thread.
pub(super) fn forget() {
    let mut to = table();
    for from in Entries(to) {
        // SAFETY: as in `text`.
        let entry = unsafe { *from };
        if !vault::holds(entry) {
            // SAFETY: it is not behind `from`, so it is inside the table.
            unsafe { *to = entry };
            // SAFETY: as above.
            to = unsafe { to.add(1) };
        }
    }
    if !to.is_null() {
        // SAFETY: at most the place of the end.
        unsafe { *to = std::ptr::null_mut() };
    }
}

/// While it lives, the entries that point to copies point to something empty.
pub(super) struct Hidden(Vec<(*mut *mut c_char, *mut c_char)>);

impl Hidden {
    /// Other threads find none of the variables meanwhile.
    pub(super) fn new() -> Self {
        const EMPTY: &CStr = c"=";
        let mut hidden = Vec::new();
        for place in Entries(table()) {
            // SAFETY: as in `text`.
            let entry = unsafe { *place };
            if vault::holds(entry) {
                hidden.push((place, entry));
                // SAFETY: inside the table. Nobody writes to a variable without a name.
                unsafe { *place = EMPTY.as_ptr().cast_mut() };
            }
        }
        Self(hidden)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        for (place, entry) in &self.0 {
            // SAFETY: the table was not changed meanwhile, or by a thread that broke the rules for `setenv` already.
            unsafe { **place = *entry };
        }
    }
}
