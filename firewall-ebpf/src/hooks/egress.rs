// SPDX-License-Identifier: MIT OR Apache-2.0
//! A packet is about to leave a socket of the workload: the last word, whatever made the socket and
//! whatever the hooks before this one saw.

use aya_ebpf::{bindings::bpf_sock, helpers::generated::bpf_sk_fullsock, programs::SkBuffContext};
use firewall_common::{FlowInfo, FlowKey, Headers, Hook, Reason, Transport, decide_egress};

use crate::{
    context::read,
    maps::{self, FLOWS, Socket},
    report::{Denial, Denied, Who, deny},
    socket,
};

/// `ETH_P_IP` and `ETH_P_IPV6`, in network order as `skb->protocol` has them.
pub(super) const ETH_P_IP: u32 = 0x0800_u16.to_be() as u32;
pub(super) const ETH_P_IPV6: u32 = 0x86dd_u16.to_be() as u32;

#[inline(always)]
pub(crate) fn run(ctx: &SkBuffContext) -> Result<(), Denied> {
    // One arm for each family up to the end: where they met, the verifier would follow every path
    // through the rest once for each.
    match read!(ctx.skb.skb, protocol) {
        ETH_P_IP => judge(
            ctx,
            &match ctx.skb.load::<[u32; Headers::V4_WORDS]>(0) {
                Ok(words) => Headers::v4(&words),
                Err(_) => Headers::unreadable(2),
            },
        ),
        ETH_P_IPV6 => judge(
            ctx,
            &match ctx.skb.load::<[u32; Headers::V6_WORDS]>(0) {
                Ok(words) => Headers::v6(&words),
                Err(_) => Headers::unreadable(10),
            },
        ),
        _ => judge(ctx, &Headers::unreadable(0)),
    }
}

#[inline(always)]
fn judge(ctx: &SkBuffContext, headers: &Headers) -> Result<(), Denied> {
    let listeners = maps::listeners();
    decide_egress(&listeners, headers)
        .and_then(|transport| match transport {
            // TCP has sockops for this; UDP has no moment before its first packet but this one.
            Transport::Udp if listeners.is_proxy(headers.destination.address) => {
                remember(ctx, headers).ok_or(Reason::InternalError)
            }
            Transport::Tcp | Transport::Udp => Ok(()),
        })
        .map_err(|reason| refuse(ctx, headers, Hook::Egress, reason))
}

/// The record of the packet's socket.
#[inline(always)]
fn record(ctx: &SkBuffContext) -> Option<&Socket> {
    let sk: *mut bpf_sock = read!(ctx.skb.skb, __bindgen_anon_2.sk);
    if sk.is_null() {
        return None;
    }
    // SAFETY: the socket of this context, which is not null.
    let sk = unsafe { bpf_sk_fullsock(sk) };
    if sk.is_null() {
        return None;
    }
    // SAFETY: the full socket of this context, which is not null.
    unsafe { socket::existing_record(sk) }.map(|record| &*record)
}

/// Notes where a datagram to the DNS listener was going.
#[inline(always)]
fn remember(ctx: &SkBuffContext, headers: &Headers) -> Option<()> {
    let info: &FlowInfo = &record(ctx)?.info;
    FLOWS
        .insert(FlowKey::new(Transport::Udp, headers.source), info, 0)
        .ok()
}

/// Denies a packet, in the name of who made its socket.
#[inline(always)]
pub(super) fn refuse(ctx: &SkBuffContext, headers: &Headers, hook: Hook, reason: Reason) -> Denied {
    let destination = match hook {
        Hook::Ingress => headers.source,
        Hook::SockCreate
        | Hook::Connect4
        | Hook::Connect6
        | Hook::Sendmsg4
        | Hook::Sendmsg6
        | Hook::Setsockopt
        | Hook::Egress => headers.destination,
    };
    deny(&Denial {
        hook,
        reason,
        who: Who::Socket(record(ctx).map(|record| &record.info.owner)),
        destination,
        family: headers.family,
        protocol: headers.protocol.into(),
        detail: 0,
    })
}
