// SPDX-License-Identifier: GPL-3.0-or-later
//! System calls that no hook of the network layer sees.
//!
//! The cgroup hooks judge IPv4 and IPv6 sockets. Sockets of other families reach hardware, hypervisors or the kernel
//! itself, so only those that ordinary programs use may be made; and calls that reach far into the kernel, or out of the
//! sandbox, are refused whole. The list is `data/seccomp.toml`, with a reason for each. Everything is refused with an
//! error that programs know how to take; none is killed for asking.
//!
//! Refused `socket(2)` calls are handed to the supervisor, which writes them down and answers; see
//! [`crate::supervise`]. Raw and ping sockets are among them: the kernel's own checks of privileges come before the
//! `cgroup/sock_create` hook, so that the hook would never hear of them.

use std::fs;
use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result, ensure};
use libc::sock_filter;

use crate::sys::seccomp::{install, install_with_listener};

mod compile;
mod rules;

/// Whether the workload may make user namespaces, as browsers and other sandboxes do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserNamespaces {
    /// In one of them, the kernel lets it mount and make network namespaces.
    Allowed,
    /// Nobody in the workload ever has a capability.
    Refused,
}

/// The compiled filter.
#[derive(Clone, Debug)]
pub struct Filter(Vec<sock_filter>);

impl Filter {
    /// Instructions that it has.
    pub fn length(&self) -> usize {
        self.0.len()
    }
}

/// Compiles the filter: before the privileges are dropped, so that a failure stops the run early.
pub fn compile(user_namespaces: UserNamespaces) -> Result<Filter> {
    let is_in_force = |rule: &rules::Rule| {
        !rule.without_user_namespaces || user_namespaces == UserNamespaces::Refused
    };
    let rules: Vec<_> = rules::RULES.iter().copied().filter(is_in_force).collect();
    compile::compile(&rules)
        .map(Filter)
        .context("cannot compile the seccomp filter")
}

/// Puts the filter in force for this process and all that come of it, and returns where refused sockets are heard
/// of. `no_new_privs` must be set.
///
/// Whoever makes such a socket waits until it is answered, so the listener has to be in the supervisor's hands before
/// anybody does, and nowhere else: while a copy is open that nobody reads, callers would wait for ever.
pub fn apply(filter: &Filter) -> Result<OwnedFd> {
    let before = in_force()?;
    let listener = install_with_listener(&filter.0).context(
        "cannot install the seccomp filter that asks the supervisor\n  hint: \"busy\" means that keyward itself was \
         started behind a filter that asks somebody; the kernel allows one",
    )?;
    ensure!(
        in_force()? == before + 1,
        "the seccomp filter is not in force"
    );
    Ok(listener)
}

/// As [`apply`], with a plain refusal where the supervisor would be asked: what is refused is the same, and nobody hears
/// of it.
pub fn apply_without_listener(filter: &Filter) -> Result<()> {
    let before = in_force()?;
    install(&compile::without_asking(&filter.0)).context("cannot install the seccomp filter")?;
    ensure!(
        in_force()? == before + 1,
        "the seccomp filter is not in force"
    );
    Ok(())
}

/// Whether [`apply`] failed for want of a listener: the kernel is too old for it, or has given the one that a tree of
/// filters may have to somebody else.
pub fn is_lacking(error: &anyhow::Error) -> bool {
    let code = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::raw_os_error);
    matches!(code, Some(libc::EBUSY | libc::EINVAL))
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

    /// The bits of `socket(2)`'s second argument that are the type (`SOCK_TYPE_MASK`: include/linux/net.h).
    const TYPE_MASK: u64 = 0xf;

    /// `AF_VSOCK` and a raw type, which rustix takes by number.
    const VSOCK: AddressFamily = AddressFamily::from_raw(40);
    const RAW: SocketType = SocketType::RAW;

    fn make(
        family: AddressFamily,
        kind: SocketType,
        protocol: u32,
    ) -> Result<(), rustix::io::Errno> {
        let protocol = std::num::NonZeroU32::new(protocol).map(Protocol::from_raw);
        socket(family, kind, protocol).map(drop)
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
                let filter = compile(UserNamespaces::Allowed).unwrap();
                sender.send(apply(&filter).unwrap()).unwrap();
                workload()
            });
            supervise(receiver.recv().unwrap());
            workload.join().unwrap()
        })
    }

    fn answer_one(listener: BorrowedFd<'_>) -> [u64; 3] {
        let call = receive(listener).unwrap();
        ensure_waiting(listener, call).unwrap();
        refuse(listener, call, libc::EPERM).unwrap();
        [
            call.arguments[0],
            call.arguments[1] & TYPE_MASK,
            call.arguments[2],
        ]
    }

    #[test]
    fn refused_sockets_are_asked_about_and_ordinary_ones_are_not() {
        let refused = [
            (VSOCK, SocketType::STREAM, 0),
            (AddressFamily::INET, RAW, 0),
            (AddressFamily::INET6, RAW, 0),
            (AddressFamily::INET, SocketType::from_raw(10), 0),
            (AddressFamily::PACKET, SocketType::DGRAM, 0),
            (AddressFamily::INET, SocketType::DGRAM, 1),
            (AddressFamily::INET6, SocketType::DGRAM, 136),
            (AddressFamily::INET, SocketType::STREAM, 262),
            (AddressFamily::NETLINK, RAW, 12),
        ];
        let ordinary = [
            (AddressFamily::UNIX, SocketType::SEQPACKET, 0),
            (AddressFamily::INET, SocketType::STREAM, 0),
            (AddressFamily::INET, SocketType::STREAM, 6),
            (AddressFamily::INET6, SocketType::DGRAM, 17),
            (AddressFamily::NETLINK, RAW, 0),
            (AddressFamily::NETLINK, SocketType::DGRAM, 4),
        ];
        let workload = || {
            let try_all = |sockets: &[_]| {
                let made = sockets.iter().map(|&(f, t, p)| make(f, t, p));
                made.collect::<Vec<_>>()
            };
            (try_all(&ordinary), try_all(&refused))
        };
        let mut seen = Vec::new();
        let (ordinary, answered) = behind_filters(workload, |listener| {
            seen.extend(refused.iter().map(|_| answer_one(listener.as_fd())));
        });
        assert!(ordinary.iter().all(Result::is_ok), "{ordinary:?}");
        assert_eq!(answered, [Err(rustix::io::Errno::PERM); 9]);
        let [first, raw, ..] = seen[..] else {
            unreachable!()
        };
        assert_eq!((first, raw), ([40, 1, 0], [2, 3, 0]));
        assert_eq!(
            seen[5..],
            [[2, 2, 1], [10, 2, 136], [2, 1, 262], [16, 3, 12]]
        );
    }

    #[test]
    fn without_a_supervisor_nothing_is_allowed_and_nobody_else_can_answer() {
        let (gone, told) = mpsc::channel();
        let workload = move || {
            told.recv().unwrap();
            let filter = compile(UserNamespaces::Allowed).unwrap();
            let again = install_with_listener(&filter.0);
            (make(VSOCK, SocketType::STREAM, 0), again.map(drop))
        };
        let (refused, again) = behind_filters(workload, |listener| {
            drop(listener);
            gone.send(()).unwrap();
        });
        assert_eq!(refused, Err(rustix::io::Errno::NOSYS));
        assert_eq!(again.unwrap_err().raw_os_error(), Some(libc::EPERM));
    }

    #[test]
    fn what_nobody_is_asked_about_fails_by_itself() {
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
        use rustix::mount::{FsOpenFlags, fsopen};
        let pair = |family| socketpair(family, SockType::Stream, None, SockFlag::empty()).err();
        let mount = || fsopen(c"no such thing", FsOpenFlags::empty()).err();
        // Whatever the kernel says of these without the filter, it is something else.
        assert_ne!(pair(AddressFamily::Tipc), Some(Errno::EPERM));
        assert_ne!(pair(AddressFamily::Inet), Some(Errno::EPERM));
        assert_ne!(mount(), Some(rustix::io::Errno::NOSYS));
        let attempts = || {
            (
                [AddressFamily::Tipc, AddressFamily::Inet].map(pair),
                mount(),
            )
        };
        let (pairs, mount) = behind_filters(attempts, drop);
        assert_eq!(pairs, [Some(Errno::EPERM); 2]);
        assert_eq!(mount, Some(rustix::io::Errno::NOSYS));
    }

    #[test]
    fn more_is_refused_without_user_namespaces() {
        let code = |filter: &Filter, number, first| {
            compile::tests::run(&filter.0, 0xc000_003e, number, [first, 0, 0, 0, 0, 0])
        };
        let [with, without] =
            [UserNamespaces::Allowed, UserNamespaces::Refused].map(|it| compile(it).unwrap());
        if cfg!(target_arch = "x86_64") {
            let (mount, clone3, unshare) = (165, 435, 272);
            for number in [mount, unshare] {
                assert_eq!(code(&with, number, 0x1000_0000), libc::SECCOMP_RET_ALLOW);
            }
            let error = |number: u32| libc::SECCOMP_RET_ERRNO | number;
            // Into which cgroup, no filter can see.
            assert_eq!(code(&with, clone3, 0), error(38));
            assert_eq!(code(&without, mount, 0), error(1));
            assert_eq!(code(&without, clone3, 0), error(38));
            assert_eq!(code(&without, unshare, 0x1000_0000), error(1));
            assert_eq!(
                code(&without, unshare, 0x4000_0000),
                libc::SECCOMP_RET_ALLOW
            );
        }
    }
}
