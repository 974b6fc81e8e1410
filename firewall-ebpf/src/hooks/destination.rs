// SPDX-License-Identifier: MIT OR Apache-2.0
//! What connect and sendmsg share: judge where a socket is going, and remember it.

use aya_ebpf::programs::SockAddrContext;
use aya_log_ebpf::debug;
use firewall_common::{
    Destination, Door, Flow, Hook, Listeners, Reason, Transport, Verdict, decide,
};

use crate::{
    context,
    maps::{ASKED, NOT_PROXY, REDIRECTED, Socket},
    report::{Denial, Denied, Who, deny},
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
    listeners: &Listeners,
    asked: Destination,
    family: u8,
    hook: Hook,
    remember: Remember,
) -> Result<Option<Rewrite<'a>>, Denied> {
    let protocol = context::protocol(ctx);
    settle(ctx, listeners, asked, protocol, hook, remember).map_err(|reason| {
        deny(&Denial {
            hook,
            reason,
            who: Who::Current,
            destination: asked,
            family,
            protocol: u16::try_from(protocol).unwrap_or(u16::MAX),
            detail: 0,
        })
    })
}

/// Inlined, as everything that returns an enum with values in it: the kernel refuses the types that LLVM describes these
/// with (a member of a union that does not begin where the union does), which are only there for functions of their own.
#[inline(always)]
fn settle<'a>(
    ctx: &'a SockAddrContext,
    listeners: &Listeners,
    asked: Destination,
    protocol: u32,
    hook: Hook,
    remember: Remember,
) -> Result<Option<Rewrite<'a>>, Reason> {
    let (route, door) = route(listeners, asked, protocol)?;
    say(ctx, hook, asked, door);
    if route == NOT_PROXY && remember == Remember::Proxy {
        return Ok(None);
    }
    let record = note(ctx, asked, route, remember).ok_or(Reason::InternalError)?;
    Ok(door.map(|door| Rewrite { door, record }))
}

/// A denial is an event; what goes on leaves no other trace. Silent unless somebody asks (`ebpf/log.rs` of the supervisor).
#[inline(always)]
fn say(ctx: &SockAddrContext, hook: Hook, asked: Destination, door: Option<Door>) {
    let (address, port) = (asked.address.to_bytes(), asked.port);
    let way = match door {
        None => "goes on",
        Some(Door::Transparent) => "goes to the transparent door",
        Some(Door::Dns) => "goes to the DNS door",
    };
    debug!(ctx, "{}: {:i} port {} {}", hook.name(), address, port, way);
}

/// The decision, as what is to be remembered and what is to be rewritten.
#[inline(always)]
fn route(
    listeners: &Listeners,
    asked: Destination,
    protocol: u32,
) -> Result<(u32, Option<Door>), Reason> {
    let transport = Transport::from_protocol(protocol).ok_or(Reason::ProtocolNotAllowed)?;
    match decide(
        listeners,
        &Flow {
            transport,
            destination: asked,
        },
    ) {
        // What proceeds is loopback or the proxy's.
        Verdict::Proceed if asked.address.is_loopback() => Ok((NOT_PROXY, None)),
        Verdict::Proceed => Ok((ASKED, None)),
        Verdict::Redirect(door) => Ok((REDIRECTED, Some(door))),
        Verdict::Deny(reason) => Err(reason),
    }
}

/// Writes down where the socket goes, and who sends it there.
#[inline(always)]
fn note(
    ctx: &SockAddrContext,
    asked: Destination,
    route: u32,
    remember: Remember,
) -> Option<&Socket> {
    let sk = context::sk(ctx);
    // SAFETY: the socket of this context.
    let record = unsafe { socket::record(sk) }?;
    // A connected IPv6 socket sends to an IPv4-mapped peer by way of sendmsg4, with the peer that
    // connect6 has put in: what connect6 wrote down still holds.
    // https://github.com/torvalds/linux/blob/v6.12/net/ipv6/udp.c#L1387-L1398
    let again = remember == Remember::Proxy
        && route == ASKED
        && record.route == REDIRECTED
        && context::is_connected(sk);
    if !again {
        // SAFETY: a field of a map's value.
        unsafe { socket::write_current(&raw mut record.info.owner) };
        // SAFETY: a field of a map's value.
        unsafe { socket::write_destination(&raw mut record.info.original, asked) };
        record.route = route;
    }
    Some(record)
}
