// SPDX-License-Identifier: MIT OR Apache-2.0
//! Everything unsafe: the environment, the memory that the copies are in, and the functions of the C library that stand
//! between a process and its children.
//!
//! Nothing here uses `std::env`, whose lock other code of the process knows nothing of. What runs in a child of `vfork`
//! neither allocates nor takes a lock.

mod environment;
mod spawn;
mod vault;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::names;

/// The variables that this process was given; unset where there are none, and everything is as without the library.
static NAMES: OnceLock<Vec<Box<[u8]>>> = OnceLock::new();

/// The process that they belong to. A child of `vfork` shares this memory and is another.
static OWNER: AtomicI32 = AtomicI32::new(0);

fn names() -> Option<&'static [Box<[u8]>]> {
    NAMES.get().map(Vec::as_slice)
}

/// Whether this is the process that the variables belong to.
fn is_owner() -> bool {
    // SAFETY: it has no preconditions.
    let own = unsafe { libc::getpid() };
    OWNER.load(Ordering::Relaxed) == own
}

/// Runs before `main`. The dynamic loader calls what is in this section.
#[cfg(not(test))]
#[used]
#[unsafe(link_section = ".init_array")]
static BEGIN: extern "C" fn() = begin;

/// Runs at exit, behind the program's own handlers.
#[cfg(not(test))]
#[used]
#[unsafe(link_section = ".fini_array")]
static END: extern "C" fn() = end;

extern "C" fn begin() {
    let Some(list) = environment::find(names::VARIABLE) else {
        return;
    };
    let names = names::parse(list);
    if !environment::take(&names) {
        return;
    }
    spawn::resolve();
    // SAFETY: it has no preconditions.
    OWNER.store(unsafe { libc::getpid() }, Ordering::Relaxed);
    // It is set once: the loader calls this once.
    NAMES.set(names).ok();
    // SAFETY: the handler is a function of this library, which is never unloaded.
    unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
}

/// The first thing in a fork: what the kernel has not emptied, and the entries.
extern "C" fn in_child() {
    OWNER.store(0, Ordering::Relaxed);
    environment::forget();
    vault::wipe();
}

extern "C" fn end() {
    // A child of `vfork` that calls `exit` would wipe what is its parent's.
    if is_owner() {
        vault::wipe();
    }
}
