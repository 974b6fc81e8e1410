// SPDX-License-Identifier: MIT OR Apache-2.0
//! `connect(2)` of an IPv6 socket, to an IPv6 or an IPv4-mapped address.

use aya_ebpf::programs::SockAddrContext;
use firewall_common::{Destination, Hook};

use super::destination::{Remember, judge};
use crate::{context, maps, report::Denied};

#[inline(always)]
pub(crate) fn run(ctx: &SockAddrContext) -> Result<(), Denied> {
    let listeners = maps::listeners();
    let asked = context::read_v6(ctx);
    if let Some(rewrite) = judge(ctx, &listeners, asked, 10, Hook::Connect6, Remember::Always)? {
        // The proxy's IPv4 address, mapped: a packet to it has no room for a routing header. Not for
        // sockets that cannot speak IPv4.
        let bound = context::bound_v6(context::sk(ctx));
        let v6_only = rewrite.record.v6only != 0
            || !(bound.is_v4() || bound.is(firewall_common::Address::UNSPECIFIED));
        let address = if v6_only { listeners.v6 } else { listeners.v4 };
        let port = listeners.port(rewrite.door);
        context::write_v6(ctx, Destination::new(address, port));
    }
    Ok(())
}
