// SPDX-License-Identifier: MIT OR Apache-2.0
//! Denials: counted, sent to the supervisor, and then returned as a value that only this file makes,
//! so that no hook can deny in silence.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use firewall_common::{Destination, Event, Hook, LOST_EVENTS, Owner, Reason};

use crate::{
    maps::{COUNTERS, EVENTS},
    socket,
};

/// The proof that a denial was reported.
pub(crate) struct Denied {
    _private: (),
}

/// What a hook knows of the thing that it denies.
pub(crate) struct Denial<'a> {
    pub(crate) hook: Hook,
    pub(crate) reason: Reason,
    /// The current process if `None`.
    pub(crate) owner: Option<&'a Owner>,
    pub(crate) destination: Destination,
    pub(crate) family: u8,
    pub(crate) protocol: u16,
    pub(crate) detail: u32,
}

/// Counts the denial and tells the supervisor.
#[inline(always)]
pub(crate) fn deny(denial: &Denial<'_>) -> Denied {
    if let Some(counter) = denial.reason.counter() {
        count(counter);
    }
    match EVENTS.reserve(0) {
        Some(mut entry) => {
            write(entry.as_mut_ptr(), denial);
            entry.submit(0);
        }
        None => count(LOST_EVENTS),
    }
    Denied { _private: () }
}

/// Writes the event where it goes. Field by field: as a value it would fill a sixth of the stack that
/// a program has. All 80 bytes are written, so that none of the kernel's leak.
#[inline(always)]
fn write(event: *mut Event, denial: &Denial<'_>) {
    /// Writes one field.
    macro_rules! set {
        ($field:ident, $value:expr) => {
            let value = $value;
            // SAFETY: the reserved entry is an `Event` that nobody else knows of yet.
            unsafe { (&raw mut (*event).$field).write(value) }
        };
    }
    // SAFETY: takes nothing and cannot fail.
    set!(time, unsafe { bpf_ktime_get_ns() });
    match denial.owner {
        Some(owner) => {
            set!(owner, *owner);
        }
        // SAFETY: the reserved entry, as above.
        None => unsafe { socket::write_current(&raw mut (*event).owner) },
    }
    set!(destination, denial.destination);
    set!(reason, denial.reason);
    set!(protocol, denial.protocol);
    set!(detail, denial.detail);
    set!(family, denial.family);
    set!(hook, denial.hook);
    set!(reserved, 0);
}

/// Adds one. Per CPU, and not atomic: a softirq that comes between may cost one count.
#[inline(always)]
fn count(counter: u32) {
    if let Some(slot) = COUNTERS.get_ptr_mut(counter) {
        // SAFETY: the kernel's pointer to this CPU's slot, valid until the program ends.
        unsafe { *slot += 1 };
    }
}
