// SPDX-License-Identifier: MIT OR Apache-2.0
//! `connect(2)` of an IPv4 socket.

use aya_ebpf::programs::SockAddrContext;
use firewall_common::{Destination, Hook};

use super::destination::{Remember, judge};
use crate::{context, maps, report::Denied};

#[inline(always)]
pub(crate) fn run(ctx: &SockAddrContext) -> Result<(), Denied> {
    let listeners = maps::listeners();
    let asked = context::read_v4(ctx);
    if let Some(rewrite) = judge(ctx, &listeners, asked, 2, Hook::Connect4, Remember::Always)? {
        let port = listeners.port(rewrite.door);
        context::write_v4(ctx, Destination::new(listeners.v4, port));
    }
    Ok(())
}
