// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sendto(2)`, `sendmsg(2)` and `sendmmsg(2)` with an address, on an IPv6 UDP socket.

use aya_ebpf::programs::SockAddrContext;
use firewall_common::{Destination, Hook};

use super::destination::{Remember, judge};
use crate::{context, maps, report::Denied};

#[inline(always)]
pub(crate) fn run(ctx: &SockAddrContext) -> Result<(), Denied> {
    let listeners = maps::listeners();
    let asked = context::read_v6(ctx);
    if let Some(rewrite) = judge(ctx, &listeners, asked, 10, Hook::Sendmsg6, Remember::Proxy)? {
        // Here the kernel takes no IPv4-mapped address from a program (ENOTSUPP), and an IPv4-mapped
        // one from the workload goes through sendmsg4:
        // https://github.com/torvalds/linux/blob/v6.12/net/ipv6/udp.c#L1506-L1516
        let port = listeners.port(rewrite.door);
        context::write_v6(ctx, Destination::new(listeners.v6, port));
    }
    Ok(())
}
