// SPDX-License-Identifier: MIT OR Apache-2.0
//! A packet is about to reach a socket of the workload: nothing from outside the host does.

use aya_ebpf::programs::SkBuffContext;
use firewall_common::{Hook, decide_ingress};

use super::egress::{headers, refuse};
use crate::{maps, report::Denied};

#[inline(always)]
pub(crate) fn run(ctx: &SkBuffContext) -> Result<(), Denied> {
    let headers = headers(ctx);
    decide_ingress(&maps::endpoints(), headers.source.address)
        .map_err(|reason| refuse(ctx, &headers, Hook::Ingress, reason))
}
