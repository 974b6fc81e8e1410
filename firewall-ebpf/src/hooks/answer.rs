// SPDX-License-Identifier: MIT OR Apache-2.0
//! What recvmsg and getpeername share: the workload sees the address that it asked for.

use aya_ebpf::programs::SockAddrContext;
use firewall_common::{Destination, Transport};

use crate::{context, maps, maps::REDIRECTED, socket};

/// What to show instead of `peer`, if this socket was redirected to it.
#[inline(always)]
pub(super) fn original(ctx: &SockAddrContext, peer: Destination) -> Option<Destination> {
    let transport = Transport::from_protocol(context::protocol(ctx))?;
    if !maps::listeners().is_listener(transport, peer) {
        return None;
    }
    // SAFETY: the socket of this context.
    let record = unsafe { socket::existing_record(context::sk(ctx)) }?;
    (record.route == REDIRECTED).then_some(record.info.original)
}
