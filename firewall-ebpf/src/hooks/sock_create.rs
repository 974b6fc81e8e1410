// SPDX-License-Identifier: MIT OR Apache-2.0
//! `socket(2)` of an IP socket: TCP and UDP only, and a note of who made it.
//!
//! Accepted sockets do not pass here, nor do those of other families.

use aya_ebpf::programs::SockContext;
use firewall_common::{Destination, Hook, Reason, decide_socket};

use crate::{
    context::read,
    report::{Denial, Denied, deny},
    socket,
};

#[inline(always)]
pub(crate) fn run(ctx: &SockContext) -> Result<(), Denied> {
    let family = read!(ctx.sock, family);
    let kind = read!(ctx.sock, type_);
    let protocol = read!(ctx.sock, protocol);
    let refuse = |reason| {
        deny(&Denial {
            hook: Hook::SockCreate,
            reason,
            owner: None,
            destination: Destination::NONE,
            family: u8::try_from(family).unwrap_or(u8::MAX),
            protocol: u16::try_from(protocol).unwrap_or(u16::MAX),
            detail: kind,
        })
    };
    if let Err(reason) = decide_socket(family, kind, protocol) {
        return Err(refuse(reason));
    }
    // Packets may leave in a softirq, where the current process is anybody: the packet hooks take the
    // owner from here.
    // SAFETY: the context of a sock program.
    match unsafe { socket::record(ctx.sock) } {
        Some(record) => {
            // SAFETY: a field of a map's value.
            unsafe { socket::write_current(&raw mut record.info.owner) };
            Ok(())
        }
        None => Err(refuse(Reason::InternalError)),
    }
}
