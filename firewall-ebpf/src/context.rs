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

/// Writes one field of a context as it is declared.
macro_rules! write {
    ($value:expr, $pointer:expr, $($field:tt)+) => {
        // SAFETY: as for `read!`; the verifier checks that the field may be written here.
        unsafe { core::ptr::write_volatile(&raw mut (*$pointer).$($field)+, $value) }
    };
}

pub(crate) use read;

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
    let address = read!(ctx.sock_addr, user_ip4);
    Destination {
        address: Address::from_v4(address.to_ne_bytes()),
        port: port(ctx),
    }
}

/// The address that an IPv6 call is about, which may be IPv4-mapped.
#[inline(always)]
pub(crate) fn read_v6(ctx: &SockAddrContext) -> Destination {
    let address = v6([
        read!(ctx.sock_addr, user_ip6[0]),
        read!(ctx.sock_addr, user_ip6[1]),
        read!(ctx.sock_addr, user_ip6[2]),
        read!(ctx.sock_addr, user_ip6[3]),
    ]);
    Destination {
        address,
        port: port(ctx),
    }
}

/// The address that a socket is bound to; `::` when it is not.
#[inline(always)]
pub(crate) fn bound_v6(sk: *mut bpf_sock) -> Address {
    v6([
        read!(sk, src_ip6[0]),
        read!(sk, src_ip6[1]),
        read!(sk, src_ip6[2]),
        read!(sk, src_ip6[3]),
    ])
}

/// Puts another IPv4 address in. An address that is not IPv4 changes nothing but the port, and the
/// packet hook drops what comes of it.
#[inline(always)]
pub(crate) fn write_v4(ctx: &SockAddrContext, to: Destination) {
    if let Some(address) = to.address.to_v4() {
        write!(u32::from_ne_bytes(address), ctx.sock_addr, user_ip4);
    }
    write_port(ctx, to.port);
}

/// Puts another IPv6 address in, IPv4-mapped or not.
#[inline(always)]
pub(crate) fn write_v6(ctx: &SockAddrContext, to: Destination) {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = to.address.to_bytes();
    write!(u32::from_ne_bytes([a, b, c, d]), ctx.sock_addr, user_ip6[0]);
    write!(u32::from_ne_bytes([e, f, g, h]), ctx.sock_addr, user_ip6[1]);
    write!(u32::from_ne_bytes([i, j, k, l]), ctx.sock_addr, user_ip6[2]);
    write!(u32::from_ne_bytes([m, n, o, p]), ctx.sock_addr, user_ip6[3]);
    write_port(ctx, to.port);
}

/// The port: 16 bits in network order, in a field of 32.
#[inline(always)]
fn port(ctx: &SockAddrContext) -> u16 {
    let [first, second, _, _] = read!(ctx.sock_addr, user_port).to_ne_bytes();
    u16::from_be_bytes([first, second])
}

#[inline(always)]
fn write_port(ctx: &SockAddrContext, port: u16) {
    let [first, second] = port.to_be_bytes();
    write!(
        u32::from_ne_bytes([first, second, 0, 0]),
        ctx.sock_addr,
        user_port
    );
}

/// Four words in network order.
#[inline(always)]
pub(crate) fn v6([w, x, y, z]: [u32; 4]) -> Address {
    let ([a, b, c, d], [e, f, g, h]) = (w.to_ne_bytes(), x.to_ne_bytes());
    let ([i, j, k, l], [m, n, o, p]) = (y.to_ne_bytes(), z.to_ne_bytes());
    Address::from_v6([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
}
