// SPDX-License-Identifier: MIT OR Apache-2.0
//! TCP, just before the SYN: the source address and port are known now, and the proxy will see them
//! when it accepts.
//!
//! This hook cannot refuse. If there is no room in FLOWS, the proxy finds no entry and refuses.

use aya_ebpf::{bindings::BPF_SOCK_OPS_TCP_CONNECT_CB, programs::SockOpsContext};
use firewall_common::{Address, Destination, FlowKey, Transport};

use crate::{
    context::{read, v6},
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
    // The kernel keeps the IPv4 source of a socket that connects to an IPv4-mapped address in both
    // fields; `local_ip6` is mapped then.
    let address = if read!(ctx.ops, family) == INET {
        Address::from_v4(read!(ctx.ops, local_ip4).to_ne_bytes())
    } else {
        v6([
            read!(ctx.ops, local_ip6[0]),
            read!(ctx.ops, local_ip6[1]),
            read!(ctx.ops, local_ip6[2]),
            read!(ctx.ops, local_ip6[3]),
        ])
    };
    // In host order, unlike every other port of the kernel's contexts.
    let port = u16::try_from(read!(ctx.ops, local_port)).ok()?;
    let key = FlowKey::new(Transport::Tcp, Destination { address, port });
    FLOWS.insert(key, record.info, 0).ok()
}
