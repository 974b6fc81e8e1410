// SPDX-License-Identifier: MIT OR Apache-2.0
//! `getpeername(2)` of an IPv4 socket: the peer is the original destination.

use aya_ebpf::programs::SockAddrContext;

use super::answer::original;
use crate::context;

#[inline(always)]
pub(crate) fn run(ctx: &SockAddrContext) {
    if let Some(original) = original(ctx, context::read_v4(ctx)) {
        context::write_v4(ctx, original);
    }
}
