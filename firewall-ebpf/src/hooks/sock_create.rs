// SPDX-License-Identifier: MIT OR Apache-2.0
//! `socket(2)` of an IP socket: TCP and UDP only, and a note of who made it.
//!
//! Accepted sockets do not pass here, nor do those of other families.

use aya_ebpf::programs::SockContext;
use firewall_common::{Destination, Hook, Reason, decide_socket};

use crate::{
    context::read,
    report::{Denial, Denied, Who, deny},
    socket,
};

#[inline(always)]
pub(crate) fn run(ctx: &SockContext) -> Result<(), Denied> {
    let family = read!(ctx.sock, family);
    let kind = read!(ctx.sock, type_);
    let protocol = read!(ctx.sock, protocol);
    decide_socket(family, kind, protocol)
        .and_then(|_transport| remember(ctx).ok_or(Reason::InternalError))
        .map_err(|reason| {
            deny(&Denial {
                hook: Hook::SockCreate,
                reason,
                who: Who::Current,
                destination: Destination::NONE,
                family: u8::try_from(family).unwrap_or(u8::MAX),
                protocol: u16::try_from(protocol).unwrap_or(u16::MAX),
                detail: kind,
            })
        })
}

/// Notes who makes the socket: packets may leave it in a softirq, where the current process is anybody.
#[inline(always)]
fn remember(ctx: &SockContext) -> Option<()> {
    // SAFETY: the context of a sock program.
    let record = unsafe { socket::record(ctx.sock) }?;
    // SAFETY: a field of a map's value.
    unsafe { socket::write_current(&raw mut record.info.owner) };
    Some(())
}
