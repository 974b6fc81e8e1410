// SPDX-License-Identifier: MIT OR Apache-2.0
//! keyward's eBPF programs.
//!
//! This file names the hooks and nothing else: what a hook does is in `hooks/`, what it decides in
//! `firewall-common`, what it remembers in `maps.rs`. The order is the path of a connection: a socket
//! is made, its options are set, it connects or sends, packets leave and arrive, and the workload
//! asks who it is talking to.
#![no_std]
#![no_main]
#![deny(unsafe_op_in_unsafe_fn)]

mod context;
mod hooks;
mod maps;
mod report;
mod socket;
mod verdict;

use aya_ebpf::{
    macros::{cgroup_skb, cgroup_sock, cgroup_sock_addr, cgroup_sockopt, sock_ops},
    programs::{SkBuffContext, SockAddrContext, SockContext, SockOpsContext, SockoptContext},
};

use crate::verdict::{PROCEED, to_kernel};

#[cgroup_sock(sock_create)]
fn sock_create(ctx: SockContext) -> i32 {
    to_kernel(hooks::sock_create::run(&ctx))
}

#[cgroup_sockopt(setsockopt)]
fn setsockopt(ctx: SockoptContext) -> i32 {
    to_kernel(hooks::setsockopt::run(&ctx))
}

#[cgroup_sock_addr(connect4)]
fn connect4(ctx: SockAddrContext) -> i32 {
    to_kernel(hooks::connect4::run(&ctx))
}

#[cgroup_sock_addr(connect6)]
fn connect6(ctx: SockAddrContext) -> i32 {
    to_kernel(hooks::connect6::run(&ctx))
}

#[cgroup_sock_addr(sendmsg4)]
fn sendmsg4(ctx: SockAddrContext) -> i32 {
    to_kernel(hooks::sendmsg4::run(&ctx))
}

#[cgroup_sock_addr(sendmsg6)]
fn sendmsg6(ctx: SockAddrContext) -> i32 {
    to_kernel(hooks::sendmsg6::run(&ctx))
}

#[cgroup_skb(egress)]
fn egress(ctx: SkBuffContext) -> i32 {
    to_kernel(hooks::egress::run(&ctx))
}

#[cgroup_skb(ingress)]
fn ingress(ctx: SkBuffContext) -> i32 {
    to_kernel(hooks::ingress::run(&ctx))
}

// The rest only tells: the kernel takes no refusal from them.

#[sock_ops]
fn sock_ops(ctx: SockOpsContext) -> u32 {
    hooks::sock_ops::run(&ctx);
    PROCEED.cast_unsigned()
}

#[cgroup_sock_addr(recvmsg4)]
fn recvmsg4(ctx: SockAddrContext) -> i32 {
    hooks::recvmsg4::run(&ctx);
    PROCEED
}

#[cgroup_sock_addr(recvmsg6)]
fn recvmsg6(ctx: SockAddrContext) -> i32 {
    hooks::recvmsg6::run(&ctx);
    PROCEED
}

#[cgroup_sock_addr(getpeername4)]
fn getpeername4(ctx: SockAddrContext) -> i32 {
    hooks::getpeername4::run(&ctx);
    PROCEED
}

#[cgroup_sock_addr(getpeername6)]
fn getpeername6(ctx: SockAddrContext) -> i32 {
    hooks::getpeername6::run(&ctx);
    PROCEED
}

/// The kernel gives GPL-only helpers to programs whose licence says GPL.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// The verifier refuses a program that can get here: nothing may panic.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
