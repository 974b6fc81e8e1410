// SPDX-License-Identifier: GPL-3.0-or-later
//! System calls that no hook of the network layer sees.
//!
//! The cgroup hooks judge IPv4 and IPv6 sockets. Sockets of other families reach hardware, hypervisors or the kernel
//! itself, so only the families that ordinary programs use may be made. Everything is refused with an error that
//! programs know how to take; none is killed for asking.
//!
//! There are two filters. One refuses by itself. The other hands refused `socket(2)` calls to the supervisor, which
//! writes them down and answers; see [`crate::supervise`]. Raw sockets are among them: the kernel's own check for
//! `CAP_NET_RAW` comes before the `cgroup/sock_create` hook, so that the hook would never hear of them.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result, ensure};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as ArgLen, SeccompCmpOp as Op,
    SeccompCondition as Condition, SeccompFilter, SeccompRule, TargetArch,
};

use crate::sys::seccomp::install_with_listener;

mod program;

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

/// The bits of `socket(2)`'s second argument that are the type; the others are flags (`SOCK_TYPE_MASK`:
/// include/linux/net.h).
const TYPE_MASK: u64 = 0xf;

/// `SOCK_PACKET`: over IPv4 an old name for a packet socket, which reaches the device. Not in the libc crate.
const SOCK_PACKET: i32 = 10;

/// Types that are refused over IPv4 and IPv6.
const REFUSED_TYPES: &[(i32, i32)] = &[
    (libc::AF_INET, libc::SOCK_RAW),
    (libc::AF_INET, SOCK_PACKET),
    (libc::AF_INET6, libc::SOCK_RAW),
];

/// Stands for "ask the supervisor" while a filter is compiled: any number that fits the data of a return value.
const ASK: u16 = 0x6b77;

/// Both filters, compiled.
#[derive(Clone, Debug)]
pub struct Filters {
    refusing: BpfProgram,
    asking: BpfProgram,
}

/// Compiles the filters: before the privileges are dropped, so that a failure stops the run early.
pub fn compile() -> Result<Filters> {
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let mut refusing = compile_one(refusing_rules()?, refuse.clone())?;
    program::refuse_x32(&mut refusing, refuse.into())?;
    let ask = SeccompAction::Trace(ASK.into());
    let mut asking = compile_one(asking_rules()?, ask)?;
    program::ask_instead_of_trace(&mut asking, ASK.into())?;
    Ok(Filters { refusing, asking })
}

/// Any of a call's rules matches; all conditions of a rule must hold for that. A call without rules always matches.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn refusing_rules() -> Result<Rules> {
    let mut rules = Rules::new();
    for (call, _reason) in REFUSED {
        rules.insert(*call, Vec::new());
    }
    rules.insert(libc::SYS_socketpair, vec![other_families()?]);
    let ioctls = REFUSED_IOCTLS
        .iter()
        .map(|request| SeccompRule::new(vec![Condition::new(1, ArgLen::Dword, Op::Eq, *request)?]))
        .collect::<Result<Vec<_>, _>>()?;
    rules.insert(libc::SYS_ioctl, ioctls);
    // Of two filters that ask, the newer one's answer counts, and it might be "go on". While ours has its listener
    // the kernel takes no second one; this keeps it so when the listener has gone with the supervisor.
    let listens = SeccompRule::new(vec![
        Condition::new(
            0,
            ArgLen::Dword,
            Op::Eq,
            libc::SECCOMP_SET_MODE_FILTER.into(),
        )?,
        Condition::new(
            1,
            ArgLen::Qword,
            Op::MaskedEq(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER),
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
        )?,
    ])?;
    rules.insert(libc::SYS_seccomp, vec![listens]);
    Ok(rules)
}

fn asking_rules() -> Result<Rules> {
    let mut refused = vec![other_families()?];
    for (family, kind) in REFUSED_TYPES {
        let (family, kind) = (
            u64::from(family.unsigned_abs()),
            u64::from(kind.unsigned_abs()),
        );
        refused.push(SeccompRule::new(vec![
            Condition::new(0, ArgLen::Dword, Op::Eq, family)?,
            Condition::new(1, ArgLen::Dword, Op::MaskedEq(TYPE_MASK), kind)?,
        ])?);
    }
    Ok(Rules::from([(libc::SYS_socket, refused)]))
}

fn other_families() -> Result<SeccompRule> {
    let families = FAMILIES
        .iter()
        .map(|family| Condition::new(0, ArgLen::Dword, Op::Ne, u64::from(family.unsigned_abs())))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(SeccompRule::new(families)?)
}

fn compile_one(rules: Rules, matched: SeccompAction) -> Result<BpfProgram> {
    let architecture =
        TargetArch::try_from(std::env::consts::ARCH).context("unknown architecture")?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, matched, architecture)?;
    BpfProgram::try_from(filter).context("cannot compile a seccomp filter")
}

/// Puts the filters in force for this process and all that come of it, and returns where refused sockets are heard
/// of. `no_new_privs` must be set.
///
/// Whoever makes such a socket waits until it is answered, so the listener has to be in the supervisor's hands before
/// anybody does, and nowhere else: while a copy is open that nobody reads, callers would wait for ever.
pub fn apply(filters: &Filters) -> Result<OwnedFd> {
    let before = in_force()?;
    // First, because the other one refuses to install a filter of this kind.
    let listener = install_with_listener(&filters.asking).context(
        "cannot install the seccomp filter that asks the supervisor\n  hint: \"busy\" means that keyward itself was \
         started behind a filter that asks somebody; the kernel allows one",
    )?;
    seccompiler::apply_filter(&filters.refusing).context("cannot install the seccomp filter")?;
    let after = in_force()?;
    ensure!(
        after == before + 2,
        "of two seccomp filters {} are in force",
        after.saturating_sub(before)
    );
    Ok(listener)
}

/// How many filters judge the calling thread, as the kernel counts them (Linux 5.10).
fn in_force() -> Result<u32> {
    let status = fs::read_to_string("/proc/thread-self/status")
        .context("cannot read back the seccomp filters")?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("Seccomp_filters:"))
        .and_then(|count| count.trim().parse().ok())
        .context("the kernel does not say which seccomp filters are in force")
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd as _, BorrowedFd};
    use std::sync::mpsc;
    use std::thread;

    use nix::errno::Errno;
    use rustix::net::{AddressFamily, Protocol, SocketType, socket};

    use super::*;
    use crate::sys::seccomp::{ensure_waiting, receive, refuse};

    /// `AF_VSOCK` and a raw type, which rustix takes by number.
    const VSOCK: AddressFamily = AddressFamily::from_raw(40);
    const RAW: SocketType = SocketType::RAW;

    fn make(family: AddressFamily, kind: SocketType) -> Result<(), rustix::io::Errno> {
        socket(family, kind, None::<Protocol>).map(drop)
    }

    /// Filters cannot be taken off again, so they go on a thread that ends with the test. Returns its result, while
    /// `supervise` gets the listener.
    fn behind_filters<T: Send>(
        workload: impl FnOnce() -> T + Send,
        supervise: impl FnOnce(OwnedFd),
    ) -> T {
        let (sender, receiver) = mpsc::channel();
        thread::scope(|scope| {
            let workload = scope.spawn(move || {
                rustix::thread::set_no_new_privs(true).unwrap();
                sender.send(apply(&compile().unwrap()).unwrap()).unwrap();
                workload()
            });
            supervise(receiver.recv().unwrap());
            workload.join().unwrap()
        })
    }

    fn answer_one(listener: BorrowedFd<'_>) -> [u64; 2] {
        let call = receive(listener).unwrap();
        ensure_waiting(listener, call).unwrap();
        refuse(listener, call, libc::EPERM).unwrap();
        [call.arguments[0], call.arguments[1] & TYPE_MASK]
    }

    #[test]
    fn refused_sockets_are_asked_about_and_ordinary_ones_are_not() {
        let refused = [
            (VSOCK, SocketType::STREAM),
            (AddressFamily::INET, RAW),
            (AddressFamily::INET6, RAW),
            (AddressFamily::INET, SocketType::from_raw(10)),
            (AddressFamily::PACKET, SocketType::DGRAM),
        ];
        let ordinary = [
            (AddressFamily::UNIX, SocketType::SEQPACKET),
            (AddressFamily::INET, SocketType::STREAM),
            (AddressFamily::INET6, SocketType::DGRAM),
            (AddressFamily::NETLINK, RAW),
        ];
        let workload = || {
            let try_all =
                |sockets: &[_]| sockets.iter().map(|&(f, t)| make(f, t)).collect::<Vec<_>>();
            (try_all(&ordinary), try_all(&refused))
        };
        let mut seen = Vec::new();
        let (ordinary, answered) = behind_filters(workload, |listener| {
            seen.extend(refused.iter().map(|_| answer_one(listener.as_fd())));
        });
        assert!(ordinary.iter().all(Result::is_ok), "{ordinary:?}");
        assert_eq!(answered, [Err(rustix::io::Errno::PERM); 5]);
        assert_eq!(seen, [[40, 1], [2, 3], [10, 3], [2, 10], [17, 2]]);
    }

    #[test]
    fn without_a_supervisor_nothing_is_allowed_and_nobody_else_can_answer() {
        let (gone, told) = mpsc::channel();
        let workload = move || {
            told.recv().unwrap();
            let again = install_with_listener(&compile().unwrap().asking);
            (make(VSOCK, SocketType::STREAM), again.map(drop))
        };
        let (refused, again) = behind_filters(workload, |listener| {
            drop(listener);
            gone.send(()).unwrap();
        });
        assert_eq!(refused, Err(rustix::io::Errno::NOSYS));
        assert_eq!(again.unwrap_err().raw_os_error(), Some(libc::EPERM));
    }

    #[test]
    fn what_the_other_filter_refuses_fails_by_itself() {
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
        let pair = || {
            socketpair(
                AddressFamily::Inet,
                SockType::Stream,
                None,
                SockFlag::empty(),
            )
        };
        let tipc = || {
            socketpair(
                AddressFamily::Tipc,
                SockType::Stream,
                None,
                SockFlag::empty(),
            )
        };
        // Whatever the kernel says of these without the filter, it is not EPERM.
        assert_ne!(tipc().err(), Some(Errno::EPERM));
        let (inet, tipc) = behind_filters(|| (pair().err(), tipc().err()), drop);
        assert_eq!((inet, tipc), (Some(Errno::EOPNOTSUPP), Some(Errno::EPERM)));
    }
}
