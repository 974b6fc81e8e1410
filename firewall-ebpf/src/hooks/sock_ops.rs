// SPDX-License-Identifier: MIT OR Apache-2.0
//! TCP, just before the SYN: the source address and port are known now, and the proxy will see them
//! when it accepts.
//!
//! This hook cannot refuse. If there is no room in FLOWS, the proxy finds no entry and refuses.

use aya_ebpf::{bindings::BPF_SOCK_OPS_TCP_CONNECT_CB, programs::SockOpsContext};
use firewall_common::{Address, Destination, FlowInfo, FlowKey, Transport};

use crate::{
    context::read,
    maps::{FLOWS, NOT_PROXY},
    socket,
};

/// `AF_INET`.
const INET: u32 = 2;

#[inline(always)]
pub(crate) fn run(ctx: &SockOpsContext) {
    if read!(ctx.ops, op) == BPF_SOCK_OPS_TCP_CONNECT_CB {
        record(ctx);
    }
}

#[inline(always)]
fn record(ctx: &SockOpsContext) -> Option<()> {
    let sk = read!(ctx.ops, __bindgen_anon_2.sk);
    if sk.is_null() {
        return None;
    }
    // SAFETY: the socket of this context, which is not null.
    let record = unsafe { socket::existing_record(sk) }?;
    if record.route == NOT_PROXY {
        return None;
    }
    // All of them before the choice: the compiler would merge the two arms' reads into one at a
    // computed offset, which the verifier refuses.
    let v4 = Address::from_v4_word(read!(ctx.ops, local_ip4));
    let v6 = Address::from_words([
        read!(ctx.ops, local_ip6[0]),
        read!(ctx.ops, local_ip6[1]),
        read!(ctx.ops, local_ip6[2]),
        read!(ctx.ops, local_ip6[3]),
    ]);
    // For an IPv6 socket that connects to an IPv4-mapped address the source is IPv4-mapped, too.
    let address = if read!(ctx.ops, family) == INET {
        v4
    } else {
        v6
    };
    // In host order, unlike every other port of the kernel's contexts.
    let port = u16::try_from(read!(ctx.ops, local_port)).ok()?;
    let key = FlowKey::new(Transport::Tcp, Destination::new(address, port));
    let info: &FlowInfo = &record.info;
    FLOWS.insert(key, info, 0).ok()
}
