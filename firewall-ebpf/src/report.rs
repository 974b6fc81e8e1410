// SPDX-License-Identifier: MIT OR Apache-2.0
//! Denials: counted, sent to the supervisor, and then returned as a value that only this file makes,
//! so that no hook can deny in silence.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use firewall_common::{Destination, Event, Hook, LOST_EVENTS, Owner, Reason};

use crate::{
    maps::{COUNTERS, EVENTS},
    socket::{self, low},
};

/// The proof that a denial was reported.
pub(crate) struct Denied {
    _private: (),
}

/// What a hook knows of the thing that it denies.
pub(crate) struct Denial<'a> {
    pub(crate) hook: Hook,
    pub(crate) reason: Reason,
    pub(crate) who: Who<'a>,
    pub(crate) destination: Destination,
    pub(crate) family: u8,
    pub(crate) protocol: u16,
    pub(crate) detail: u32,
}

/// Whom a denial concerns.
pub(crate) enum Who<'a> {
    /// The process that makes the call.
    Current,
    /// Who made the socket, if that is known: the current process is anybody.
    Socket(Option<&'a Owner>),
}

/// Counts the denial and tells the supervisor.
#[inline(always)]
pub(crate) fn deny(denial: &Denial<'_>) -> Denied {
    // SAFETY: takes nothing and cannot fail.
    let time = unsafe { bpf_ktime_get_ns() };
    // The top bit of the clock is 0 for the next three centuries, but the verifier does not know: to
    // it the counter is any number, and it reads what follows once, not once for every reason.
    if let Some(counter) = denial.reason.counter() {
        count(counter.wrapping_add(low(time >> 63)));
    }
    match EVENTS.reserve(0) {
        Some(mut entry) => {
            write(entry.as_mut_ptr(), time, denial);
            entry.submit(0);
        }
        None => count(LOST_EVENTS),
    }
    Denied { _private: () }
}

/// Writes the event where it goes. Field by field: as a value it would fill a sixth of the stack that
/// a program has. All 80 bytes are written, so that none of the kernel's leak.
#[inline(always)]
fn write(event: *mut Event, time: u64, denial: &Denial<'_>) {
    /// Writes one field.
    macro_rules! set {
        ($field:ident, $value:expr) => {
            let value = $value;
            // SAFETY: the reserved entry is an `Event` that nobody else knows of yet.
            unsafe { (&raw mut (*event).$field).write(value) }
        };
    }
    set!(time, time);
    // SAFETY: the reserved entry, as above.
    let owner = unsafe { &raw mut (*event).owner };
    match denial.who {
        // SAFETY: the reserved entry, as above.
        Who::Current => unsafe { socket::write_current(owner) },
        // SAFETY: the reserved entry, as above.
        Who::Socket(from) => unsafe { socket::write_copy(owner, from) },
    }
    // SAFETY: the reserved entry, as above.
    let destination = unsafe { &raw mut (*event).destination };
    // SAFETY: as above.
    unsafe { socket::write_destination(destination, denial.destination) };
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
