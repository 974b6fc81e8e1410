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
    // In the ring buffer itself: an event would fill a sixth of the stack that a program has.
    match EVENTS.reserve(0) {
        Some(mut entry) => {
            entry.write(Event {
                // SAFETY: takes nothing and cannot fail.
                time: unsafe { bpf_ktime_get_ns() },
                owner: match denial.owner {
                    Some(owner) => *owner,
                    None => socket::current(),
                },
                destination: denial.destination,
                reason: denial.reason,
                detail: denial.detail,
                protocol: denial.protocol,
                family: denial.family,
                hook: denial.hook,
                reserved: 0,
            });
            entry.submit(0);
        }
        None => count(LOST_EVENTS),
    }
    Denied { _private: () }
}

/// Adds one. Per CPU, and not atomic: a softirq that comes between may cost one count.
#[inline(always)]
fn count(counter: u32) {
    if let Some(slot) = COUNTERS.get_ptr_mut(counter) {
        // SAFETY: the kernel's pointer to this CPU's slot, valid until the program ends.
        unsafe { *slot += 1 };
    }
}
