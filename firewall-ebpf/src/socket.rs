// SPDX-License-Identifier: MIT OR Apache-2.0
//! The record of a socket, and who is asking.

use aya_ebpf::{
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    helpers::{
        bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
        generated::{bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_sk_storage_get},
    },
};
use firewall_common::{COMM_LEN, Destination, Owner};

use crate::{
    context::write,
    maps::{SOCKETS, Socket},
};

/// The record of a socket, made if there is none. `None` when the kernel has no memory for it, or the
/// socket's own allowance (`net.core.optmem_max`) is used up.
///
/// # Safety
///
/// `sk` is the context of a sock program, or the `sk` field of a context, as the kernel handed it out.
#[inline(always)]
pub(crate) unsafe fn record<'a>(sk: *mut bpf_sock) -> Option<&'a mut Socket> {
    // SAFETY: the caller's promise; the verifier checks the types of both pointers.
    unsafe { get(sk, BPF_SK_STORAGE_GET_F_CREATE.into()) }
}

/// The record of a socket, if it has one.
///
/// # Safety
///
/// As for [`record`].
#[inline(always)]
pub(crate) unsafe fn existing_record<'a>(sk: *mut bpf_sock) -> Option<&'a mut Socket> {
    // SAFETY: the caller's promise; the verifier checks the types of both pointers.
    unsafe { get(sk, 0) }
}

/// # Safety
///
/// As for [`record`].
#[inline(always)]
unsafe fn get<'a>(sk: *mut bpf_sock, flags: u64) -> Option<&'a mut Socket> {
    let map = (&raw const SOCKETS).cast_mut().cast();
    // SAFETY: the caller's promise; the verifier checks the types of both pointers.
    let record = unsafe { bpf_sk_storage_get(map, sk.cast(), core::ptr::null_mut(), flags) };
    // SAFETY: null, or a pointer to a `Socket` that lives until the program ends. Another CPU may
    // write to it meanwhile: the fields are plain numbers, and a workload that races its own sockets
    // gets its own mixed-up record.
    unsafe { record.cast::<Socket>().as_mut() }
}

/// Writes down the current process.
///
/// In place: an owner is 40 bytes, and a program has 512 of stack.
///
/// # Safety
///
/// `owner` points to memory of the kernel's that may be written: a map's value or a reserved event.
#[inline(always)]
pub(crate) unsafe fn write_current(owner: *mut Owner) {
    let ids = bpf_get_current_pid_tgid();
    let uid = low(bpf_get_current_uid_gid());
    // SAFETY: takes nothing and cannot fail.
    let cgroup = unsafe { bpf_get_current_cgroup_id() };
    write!(cgroup, owner, cgroup);
    write!(low(ids), owner, pid);
    write!(low(ids >> 32), owner, tgid);
    write!(uid, owner, uid);
    write!(0, owner, reserved);
    // SAFETY: the caller's promise.
    let comm = unsafe { &raw mut (*owner).comm };
    // SAFETY: as above. The helper fails for a buffer of no size only, and fills all of this one.
    let _always_zero = unsafe { bpf_get_current_comm(comm.cast(), COMM_LEN_U32) };
}

/// Writes down another owner; nobody, if there is none.
///
/// # Safety
///
/// As for [`write_current`].
#[inline(always)]
pub(crate) unsafe fn write_copy(owner: *mut Owner, from: Option<&Owner>) {
    let from = from
        .map_or(core::ptr::null(), core::ptr::from_ref)
        .cast::<u64>();
    let owner = owner.cast::<u64>();
    for word in 0..size_of::<Owner>() / 8 {
        let value = if from.is_null() {
            0
        } else {
            // SAFETY: an owner is five aligned words. Volatile, lest the compiler makes a call of
            // `memcpy` of it, which is a loop over bytes here.
            unsafe { from.wrapping_add(word).read_volatile() }
        };
        // SAFETY: as above.
        unsafe { owner.wrapping_add(word).write_volatile(value) };
    }
}

/// Writes down a destination, word by word for the same reason.
///
/// # Safety
///
/// As for [`write_current`].
#[inline(always)]
pub(crate) unsafe fn write_destination(to: *mut Destination, destination: Destination) {
    let [a, b, c, d] = destination.address.words();
    let words = to.cast::<u32>();
    // The port and two bytes of zero, in the order of memory.
    let [p, q] = destination.port.to_ne_bytes();
    let port = u32::from_ne_bytes([p, q, 0, 0]);
    for (at, word) in [a, b, c, d, port].into_iter().enumerate() {
        // SAFETY: a destination is five aligned words.
        unsafe { words.wrapping_add(at).write_volatile(word) };
    }
}

/// [`COMM_LEN`] as the helper wants it.
#[expect(clippy::cast_possible_truncation, reason = "16")]
const COMM_LEN_U32: u32 = COMM_LEN as u32;

/// The lower half.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the lower half is what is meant"
)]
pub(crate) fn low(word: u64) -> u32 {
    word as u32
}
