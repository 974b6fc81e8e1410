// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel is told. The only place that knows its two numbers.

use crate::report::Denied;

/// The call fails with EPERM; the packet is dropped.
/// <https://github.com/torvalds/linux/blob/v6.12/include/linux/bpf-cgroup.h#L163>
const REJECT: i32 = 0;

/// The call or the packet goes on.
pub(crate) const PROCEED: i32 = 1;

/// Any failure to decide is a rejection: the kernel never falls through to PROCEED.
#[inline(always)]
pub(crate) fn to_kernel(verdict: Result<(), Denied>) -> i32 {
    match verdict {
        Ok(()) => PROCEED,
        Err(Denied { .. }) => REJECT,
    }
}
