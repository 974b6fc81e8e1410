// SPDX-License-Identifier: MIT OR Apache-2.0
//! What connect and sendmsg share: judge where a socket is going, and remember it.

use aya_ebpf::programs::SockAddrContext;
use firewall_common::{
    Destination, Door, Endpoints, Flow, Hook, Reason, Transport, Verdict, decide,
};

use crate::{
    context,
    maps::{ASKED, NOT_PROXY, REDIRECTED, Socket},
    report::{Denial, Denied, deny},
    socket,
};

/// When the record of a socket is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Remember {
    /// Always: `connect(2)` settles where the socket goes.
    Always,
    /// For flows to the proxy only: the answer to an earlier datagram may still be on its way.
    Proxy,
}

/// A destination to put in instead.
pub(super) struct Rewrite<'a> {
    pub(super) door: Door,
    pub(super) record: &'a Socket,
}

/// Judges `asked`. `Some` is a rewrite that the caller has to make.
#[inline(always)]
pub(super) fn judge<'a>(
    ctx: &'a SockAddrContext,
    endpoints: &Endpoints,
    asked: Destination,
    family: u8,
    hook: Hook,
    remember: Remember,
) -> Result<Option<Rewrite<'a>>, Denied> {
    let protocol = context::protocol(ctx);
    let refuse = |reason| {
        deny(&Denial {
            hook,
            reason,
            owner: None,
            destination: asked,
            family,
            protocol: u16::try_from(protocol).unwrap_or(u16::MAX),
            detail: 0,
        })
    };
    let verdict = match Transport::from_protocol(protocol) {
        Some(transport) => decide(
            endpoints,
            &Flow {
                transport,
                destination: asked,
            },
        ),
        None => Verdict::Deny(Reason::ProtocolNotAllowed),
    };
    let (route, door) = match verdict {
        Verdict::Proceed if endpoints.is_proxy(asked.address) => (ASKED, None),
        Verdict::Proceed => (NOT_PROXY, None),
        Verdict::Redirect(door) => (REDIRECTED, Some(door)),
        Verdict::Deny(reason) => return Err(refuse(reason)),
    };
    if route == NOT_PROXY && remember == Remember::Proxy {
        return Ok(None);
    }
    // SAFETY: the socket of this context.
    let Some(record) = (unsafe { socket::record(context::sk(ctx)) }) else {
        return Err(refuse(Reason::InternalError));
    };
    // SAFETY: a field of a map's value.
    unsafe { socket::write_current(&raw mut record.info.owner) };
    record.info.original = asked;
    record.route = route;
    Ok(door.map(|door| Rewrite { door, record }))
}
