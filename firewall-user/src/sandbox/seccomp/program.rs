// SPDX-License-Identifier: GPL-3.0-or-later
//! What seccompiler has no words for, done to the programs that it compiles.
//!
//! A program is a list of instructions that only jump forwards, by a number of instructions. So replacing one by one
//! of its kind is safe anywhere, and inserting is safe in front of the first jump.

use anyhow::{Result, ensure};
use seccompiler::sock_filter;

/// `BPF_LD | BPF_W | BPF_ABS`, `BPF_JMP | BPF_JGE | BPF_K` and `BPF_RET | BPF_K`: include/uapi/linux/bpf_common.h.
const LOAD_WORD: u16 = 0x20;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Offset of `nr` in `struct seccomp_data`.
const CALL_NUMBER: u32 = 0;

/// `__X32_SYSCALL_BIT`: arch/x86/include/uapi/asm/unistd.h.
const X32: u32 = 0x4000_0000;

/// Makes every `SECCOMP_RET_TRACE` with `data` a `SECCOMP_RET_USER_NOTIF`, for which seccompiler has no action.
pub(super) fn ask_instead_of_trace(program: &mut [sock_filter], data: u32) -> Result<()> {
    let mut replaced = 0;
    for instruction in program {
        if instruction.code == RETURN && instruction.k == libc::SECCOMP_RET_TRACE | data {
            instruction.k = libc::SECCOMP_RET_USER_NOTIF;
            replaced += 1;
        }
    }
    ensure!(
        replaced > 0,
        "internal error: the seccomp filter asks about nothing"
    );
    Ok(())
}

/// Refuses the calls of the x32 ABI, which on x86-64 have the same architecture and numbers of their own: without
/// this they would pass by every rule. Few kernels still have them (`CONFIG_X86_X32_ABI`).
pub(super) fn refuse_x32(program: &mut Vec<sock_filter>, refuse: u32) -> Result<()> {
    if !cfg!(target_arch = "x86_64") {
        return Ok(());
    }
    // The architecture is checked by the three instructions before it, which jump no farther than here.
    let numbered = program
        .iter()
        .position(|instruction| instruction.code == LOAD_WORD && instruction.k == CALL_NUMBER);
    ensure!(
        numbered == Some(3),
        "internal error: the seccomp filter is not laid out as expected"
    );
    let check = [
        sock_filter {
            code: JUMP_IF_AT_LEAST,
            jt: 0,
            jf: 1,
            k: X32,
        },
        sock_filter {
            code: RETURN,
            jt: 0,
            jf: 0,
            k: refuse,
        },
    ];
    program.splice(4..4, check);
    Ok(())
}
