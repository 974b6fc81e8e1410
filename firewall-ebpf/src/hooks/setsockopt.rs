// SPDX-License-Identifier: MIT OR Apache-2.0
//! `setsockopt(2)`: refuses what could bend a packet's way, and notes `IPV6_V6ONLY`.

use aya_ebpf::programs::SockoptContext;
use firewall_common::{Destination, Hook, Reason, decide_sockopt, is_v6only};

use crate::{
    context::{read, write},
    report::{Denial, Denied, Who, deny},
    socket,
};

#[inline(always)]
pub(crate) fn run(ctx: &SockoptContext) -> Result<(), Denied> {
    let level = read!(ctx.sockopt, level);
    let name = read!(ctx.sockopt, optname);
    decide_sockopt(level, name)
        .and_then(|()| {
            if is_v6only(level, name) {
                note_v6only(ctx)
            } else {
                keep_value(ctx);
                Ok(())
            }
        })
        .map_err(|reason| {
            deny(&Denial {
                hook: Hook::Setsockopt,
                reason,
                who: Who::Current,
                destination: Destination::NONE,
                family: 0,
                protocol: u16::try_from(level).unwrap_or(u16::MAX),
                detail: name.cast_unsigned(),
            })
        })
}

/// Lets the kernel take the value from the workload's own buffer.
///
/// It has copied at most a page of it for us, and would use that copy, cut off; with a length of 0 it
/// does not. The decision was on level and name, which are not in that buffer.
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/cgroup.c#L1893-L1914>
#[inline(always)]
fn keep_value(ctx: &SockoptContext) {
    write!(0, ctx.sockopt, optlen);
}

/// Notes what the option will be, for the connect hook. The value is the kernel's copy, which is what
/// the kernel will use: the workload cannot change it after this look.
#[inline(always)]
fn note_v6only(ctx: &SockoptContext) -> Result<(), Reason> {
    let start = read!(ctx.sockopt, __bindgen_anon_2.optval).cast::<u32>();
    let end = read!(ctx.sockopt, __bindgen_anon_3.optval_end).cast::<u32>();
    let next = start.wrapping_add(1);
    if next > end {
        // Shorter than an int: the kernel itself refuses with EINVAL.
        return Ok(());
    }
    // SAFETY: the comparison above is the bounds check that the verifier asks for.
    let value = unsafe { core::ptr::read_volatile(start) };
    let sk = read!(ctx.sockopt, __bindgen_anon_1.sk);
    // SAFETY: the socket of this context.
    let record = unsafe { socket::record(sk) };
    record.ok_or(Reason::InternalError)?.v6only = value;
    // These four bytes and no more, however long the workload says that they are.
    write!(4, ctx.sockopt, optlen);
    Ok(())
}
