// SPDX-License-Identifier: MIT OR Apache-2.0
//! A seccomp filter over what a proxy has no use for and an intruder would.
//!
//! A list of refusals, not of permissions: the C library's resolver and the allocator are free to use
//! what they like, and a new version of either must not stop the proxy. What is refused is what would
//! start a program, look into another process, or reach the network in a way that this program does
//! not: each call says `EPERM`, as if the kernel did not have it.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// Calls that are refused whatever their arguments.
const REFUSED: [libc::c_long; 36] = [
    // Another program in this one's place.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes' memory and descriptors.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Another view of the machine.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_fsopen,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    // Another identity.
    libc::SYS_setuid,
    libc::SYS_setresuid,
    libc::SYS_setgid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    // Ways around this filter, and large parts of the kernel that nothing here needs.
    libc::SYS_io_uring_setup,
    libc::SYS_userfaultfd,
    libc::SYS_perf_event_open,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_personality,
];

/// `bpf(2)`, `BPF_MAP_LOOKUP_ELEM` and `BPF_OBJ_GET_INFO_BY_FD`
/// (<https://docs.kernel.org/userspace-api/ebpf/syscall.html>): what reading one map takes.
const BPF_READS: [u64; 2] = [1, 15];

/// Builds the filter.
pub(super) fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    // Sockets of other families than the internet's and the host's own: no packet, netlink, vsock.
    rules.insert(
        libc::SYS_socket,
        vec![all_but(
            0,
            [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6].map(family),
        )?],
    );
    rules.insert(libc::SYS_bpf, vec![all_but(0, BPF_READS)?]);
    // A process of its own. Threads are made with CLONE_THREAD.
    let thread = u64::try_from(libc::CLONE_THREAD).unwrap_or(u64::MAX);
    rules.insert(
        libc::SYS_clone,
        vec![SeccompRule::new(vec![SeccompCondition::new(
            0,
            SeccompCmpArgLen::Qword,
            SeccompCmpOp::MaskedEq(thread),
            0,
        )?])?],
    );
    #[cfg(target_arch = "x86_64")]
    for call in [libc::SYS_fork, libc::SYS_vfork] {
        rules.insert(call, Vec::new());
    }
    let refuse = SeccompAction::Errno(u32::try_from(libc::EPERM).unwrap_or(1));
    let architecture = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture)?.try_into()
}

/// `clone3` keeps its flags in memory, where no filter can look. `ENOSYS` makes the C library use
/// `clone`.
pub(super) fn clone3_filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let rules = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let refuse = SeccompAction::Errno(u32::try_from(libc::ENOSYS).unwrap_or(38));
    let architecture = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture)?.try_into()
}

/// Matches when argument `index` is none of `values`.
fn all_but<const N: usize>(
    index: u8,
    values: [u64; N],
) -> Result<SeccompRule, seccompiler::BackendError> {
    let conditions = values.map(|value| {
        SeccompCondition::new(index, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, value)
    });
    SeccompRule::new(conditions.into_iter().collect::<Result<_, _>>()?)
}

fn family(family: libc::c_int) -> u64 {
    u64::try_from(family).unwrap_or(u64::MAX)
}
