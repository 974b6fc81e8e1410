// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sendto(2)`, `sendmsg(2)` and `sendmmsg(2)` with an address, on an IPv4 UDP socket or to an
//! IPv4-mapped address.

use aya_ebpf::programs::SockAddrContext;
use firewall_common::{Destination, Hook};

use super::destination::{Remember, judge};
use crate::{context, maps, report::Denied};

#[inline(always)]
pub(crate) fn run(ctx: &SockAddrContext) -> Result<(), Denied> {
    let listeners = maps::listeners();
    let asked = context::read_v4(ctx);
    if let Some(rewrite) = judge(ctx, &listeners, asked, 2, Hook::Sendmsg4, Remember::Proxy)? {
        let port = listeners.port(rewrite.door);
        context::write_v4(ctx, Destination::new(listeners.v4, port));
    }
    Ok(())
}
