// SPDX-License-Identifier: GPL-3.0-or-later
//! System calls that no hook of the network layer sees.
//!
//! The cgroup hooks judge IPv4 and IPv6 sockets. Sockets of other families reach hardware, hypervisors or the kernel
//! itself, so only the families that ordinary programs use may be made. Everything is refused with an error that
//! programs know how to take; none is killed for asking.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as ArgLen, SeccompCmpOp as Op,
    SeccompCondition as Condition, SeccompFilter, SeccompRule, TargetArch,
};

/// Families a workload may use. Netlink tells programs their own addresses and routes; in a network namespace of
/// its own there is nothing else to learn or, without capabilities, to change.
const FAMILIES: &[i32] = &[
    libc::AF_UNIX,
    libc::AF_INET,
    libc::AF_INET6,
    libc::AF_NETLINK,
];

/// Calls that are refused whole, each with its reason.
const REFUSED: &[(i64, &str)] = &[
    (
        libc::SYS_add_key,
        "keyrings are shared with the host's processes of the same user",
    ),
    (libc::SYS_bpf, "the firewall itself is made with it"),
    (
        libc::SYS_io_uring_enter,
        "does what other calls do, out of this filter's sight",
    ),
    (
        libc::SYS_io_uring_register,
        "does what other calls do, out of this filter's sight",
    ),
    (
        libc::SYS_io_uring_setup,
        "does what other calls do, out of this filter's sight",
    ),
    (libc::SYS_kexec_file_load, "starts another kernel"),
    (libc::SYS_kexec_load, "starts another kernel"),
    (
        libc::SYS_keyctl,
        "keyrings are shared with the host's processes of the same user",
    ),
    (libc::SYS_perf_event_open, "reads what other processes do"),
    (
        libc::SYS_request_key,
        "makes the kernel ask a helper outside, which may resolve names",
    ),
    (libc::SYS_userfaultfd, "widens races in the kernel"),
];

/// Requests to a terminal that put bytes into its input, as if the user had typed them: outside the sandbox.
const REFUSED_IOCTLS: &[u64] = &[libc::TIOCSTI, libc::TIOCLINUX];

/// The filter, compiled. Made before the privileges are dropped, so that a failure stops the run early.
pub fn compile() -> Result<BpfProgram> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for (call, _reason) in REFUSED {
        rules.insert(*call, Vec::new());
    }
    let families = FAMILIES
        .iter()
        .map(|family| Condition::new(0, ArgLen::Dword, Op::Ne, u64::from(family.unsigned_abs())))
        .collect::<Result<Vec<_>, _>>()?;
    // All conditions of a rule must hold: refused if it is none of the families.
    rules.insert(libc::SYS_socket, vec![SeccompRule::new(families.clone())?]);
    rules.insert(libc::SYS_socketpair, vec![SeccompRule::new(families)?]);
    let ioctls = REFUSED_IOCTLS
        .iter()
        .map(|request| SeccompRule::new(vec![Condition::new(1, ArgLen::Dword, Op::Eq, *request)?]))
        .collect::<Result<Vec<_>, _>>()?;
    rules.insert(libc::SYS_ioctl, ioctls);

    let architecture =
        TargetArch::try_from(std::env::consts::ARCH).context("unknown architecture")?;
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture)?;
    BpfProgram::try_from(filter).context("cannot compile the seccomp filter")
}

/// Puts the filter in force for this process and all that come of it. `no_new_privs` must be set.
pub fn apply(filter: &BpfProgram) -> Result<()> {
    seccompiler::apply_filter(filter).context("cannot install the seccomp filter")?;
    match rustix::thread::secure_computing_mode() {
        // Reading the mode is itself a call that the filter sees; it says "filter" when one is in force.
        Ok(rustix::thread::SecureComputingMode::Filter) => Ok(()),
        other => bail!("the seccomp filter is not in force: {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use nix::errno::Errno;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

    use super::*;

    /// The filter cannot be taken off again, so it goes on a thread that ends with the test.
    #[test]
    fn other_families_are_refused_and_ordinary_ones_are_not() {
        let make = |family| socket(family, SockType::Datagram, SockFlag::empty(), None);
        let alg = || {
            socket(
                AddressFamily::Alg,
                SockType::SeqPacket,
                SockFlag::empty(),
                None,
            )
        };
        // Whatever the kernel says of these families without the filter, it is not EPERM.
        assert_ne!(alg().err(), Some(Errno::EPERM));
        thread::spawn(move || {
            rustix::thread::set_no_new_privs(true).unwrap();
            apply(&compile().unwrap()).unwrap();
            assert_eq!(alg().err(), Some(Errno::EPERM));
            for family in [
                AddressFamily::Unix,
                AddressFamily::Inet,
                AddressFamily::Inet6,
            ] {
                assert!(make(family).is_ok(), "{family:?}");
            }
        })
        .join()
        .unwrap();
    }
}
