// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading and writing the kernel's `bpf_sock_addr`, the one struct that IPv4 and IPv6 differ in.
//!
//! The verifier wants every access at a fixed offset from the context and of the field's own width:
//! hence volatile, one field at a time.

use aya_ebpf::{bindings::bpf_sock, programs::SockAddrContext};
use firewall_common::{Address, Destination};

/// Reads one field of a context as it is declared.
macro_rules! read {
    ($pointer:expr, $($field:tt)+) => {
        // SAFETY: the kernel's context outlives the program; the verifier checks offset and width.
        unsafe { core::ptr::read_volatile(&raw const (*$pointer).$($field)+) }
    };
}

/// Writes one field of a context, or of another struct in the kernel's memory, as it is declared.
macro_rules! write {
    ($value:expr, $pointer:expr, $($field:tt)+) => {
        // SAFETY: as for `read!`, or memory that the kernel has handed out; the verifier checks that
        // the field may be written here.
        unsafe { core::ptr::write_volatile(&raw mut (*$pointer).$($field)+, $value) }
    };
}

pub(crate) use {read, write};

/// The socket.
#[inline(always)]
pub(crate) fn sk(ctx: &SockAddrContext) -> *mut bpf_sock {
    read!(ctx.sock_addr, __bindgen_anon_1.sk)
}

/// The IP protocol of the socket.
#[inline(always)]
pub(crate) fn protocol(ctx: &SockAddrContext) -> u32 {
    read!(ctx.sock_addr, protocol)
}

/// The address that an IPv4 call is about.
#[inline(always)]
pub(crate) fn read_v4(ctx: &SockAddrContext) -> Destination {
    Destination::new(
        Address::from_v4_word(read!(ctx.sock_addr, user_ip4)),
        port(ctx),
    )
}

/// The address that an IPv6 call is about, which may be IPv4-mapped.
#[inline(always)]
pub(crate) fn read_v6(ctx: &SockAddrContext) -> Destination {
    let address = Address::from_words([
        read!(ctx.sock_addr, user_ip6[0]),
        read!(ctx.sock_addr, user_ip6[1]),
        read!(ctx.sock_addr, user_ip6[2]),
        read!(ctx.sock_addr, user_ip6[3]),
    ]);
    Destination::new(address, port(ctx))
}

/// The address that a socket is bound to; `::` when it is not.
#[inline(always)]
pub(crate) fn bound_v6(sk: *mut bpf_sock) -> Address {
    Address::from_words([
        read!(sk, src_ip6[0]),
        read!(sk, src_ip6[1]),
        read!(sk, src_ip6[2]),
        read!(sk, src_ip6[3]),
    ])
}

/// Whether a UDP socket has a peer: it is in the state that TCP calls established.
#[inline(always)]
pub(crate) fn is_connected(sk: *mut bpf_sock) -> bool {
    /// `TCP_ESTABLISHED`.
    const ESTABLISHED: u32 = 1;
    read!(sk, state) == ESTABLISHED
}

/// Puts another IPv4 address in. An address that is not IPv4 changes nothing but the port, and the
/// packet hook drops what comes of it.
#[inline(always)]
pub(crate) fn write_v4(ctx: &SockAddrContext, to: Destination) {
    if let Some(word) = to.address.v4_word() {
        write!(word, ctx.sock_addr, user_ip4);
    }
    write!(u32::from(to.port.to_be()), ctx.sock_addr, user_port);
}

/// Puts another IPv6 address in, IPv4-mapped or not.
#[inline(always)]
pub(crate) fn write_v6(ctx: &SockAddrContext, to: Destination) {
    let [a, b, c, d] = to.address.words();
    write!(a, ctx.sock_addr, user_ip6[0]);
    write!(b, ctx.sock_addr, user_ip6[1]);
    write!(c, ctx.sock_addr, user_ip6[2]);
    write!(d, ctx.sock_addr, user_ip6[3]);
    write!(u32::from(to.port.to_be()), ctx.sock_addr, user_port);
}

/// The port: 16 bits in network order, in a field of 32.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the kernel puts 16 bits there"
)]
fn port(ctx: &SockAddrContext) -> u16 {
    u16::from_be(read!(ctx.sock_addr, user_port) as u16)
}
