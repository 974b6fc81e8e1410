// SPDX-License-Identifier: MIT OR Apache-2.0
//! A packet is about to reach a socket of the workload: nothing from outside the host does.

use aya_ebpf::programs::SkBuffContext;
use firewall_common::{Address, Destination, Headers, Hook, Reason, decide_ingress};

use super::egress::{ETH_P_IP, ETH_P_IPV6, refuse};
use crate::{context::read, maps, report::Denied};

/// Where the source address is (RFC 791, 3.1; RFC 8200, 3).
const V4_SOURCE: usize = 12;
const V6_SOURCE: usize = 8;

#[inline(always)]
pub(crate) fn run(ctx: &SkBuffContext) -> Result<(), Denied> {
    let source = source(ctx);
    source
        .ok_or(Reason::PacketMalformed)
        .and_then(|source| decide_ingress(&maps::listeners(), source))
        .map_err(|reason| {
            let mut headers = Headers::unreadable(0);
            headers.source = Destination::new(source.unwrap_or(Address::UNSPECIFIED), 0);
            refuse(ctx, &headers, Hook::Ingress, reason)
        })
}

/// The packet's source. Its ports are of no interest, and it may be a fragment's tail.
#[inline(always)]
fn source(ctx: &SkBuffContext) -> Option<Address> {
    match read!(ctx.skb.skb, protocol) {
        ETH_P_IP => ctx.skb.load(V4_SOURCE).ok().map(Address::from_v4_word),
        ETH_P_IPV6 => ctx.skb.load(V6_SOURCE).ok().map(Address::from_words),
        _ => None,
    }
}
