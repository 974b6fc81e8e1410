// SPDX-License-Identifier: MIT OR Apache-2.0
//! `recvfrom(2)` and its kin on an IPv4 UDP socket: a DNS answer comes from the server that was asked.

use aya_ebpf::programs::SockAddrContext;

use super::answer::original;
use crate::context;

#[inline(always)]
pub(crate) fn run(ctx: &SockAddrContext) {
    if let Some(original) = original(ctx, context::read_v4(ctx)) {
        context::write_v4(ctx, original);
    }
}
