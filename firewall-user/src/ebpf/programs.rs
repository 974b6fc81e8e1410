// SPDX-License-Identifier: GPL-3.0-or-later
//! The programs of the object: one list, which loading, attaching and reading back all go through, so
//! that none can be loaded and then forgotten.

use aya_obj::generated::{bpf_attach_type, bpf_attach_type::*, bpf_prog_type, bpf_prog_type::*};

/// One program.
#[derive(Debug)]
pub(super) struct Spec {
    /// Its name in the object, which is also that of its link's pin.
    pub(super) name: &'static str,
    /// What kind of program the verifier takes it for.
    pub(super) kind: bpf_prog_type,
    /// Where it is attached.
    pub(super) hook: bpf_attach_type,
}

const fn spec(name: &'static str, kind: bpf_prog_type, hook: bpf_attach_type) -> Spec {
    Spec { name, kind, hook }
}

/// Every program. The packet hooks come first: while the others are being attached nothing can leave
/// already.
pub(super) const PROGRAMS: &[Spec] = &[
    spec("egress", BPF_PROG_TYPE_CGROUP_SKB, BPF_CGROUP_INET_EGRESS),
    spec("ingress", BPF_PROG_TYPE_CGROUP_SKB, BPF_CGROUP_INET_INGRESS),
    spec(
        "sock_create",
        BPF_PROG_TYPE_CGROUP_SOCK,
        BPF_CGROUP_INET_SOCK_CREATE,
    ),
    spec(
        "setsockopt",
        BPF_PROG_TYPE_CGROUP_SOCKOPT,
        BPF_CGROUP_SETSOCKOPT,
    ),
    spec(
        "connect4",
        BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
        BPF_CGROUP_INET4_CONNECT,
    ),
    spec(
        "connect6",
        BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
        BPF_CGROUP_INET6_CONNECT,
    ),
    spec(
        "sendmsg4",
        BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
        BPF_CGROUP_UDP4_SENDMSG,
    ),
    spec(
        "sendmsg6",
        BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
        BPF_CGROUP_UDP6_SENDMSG,
    ),
    spec(
        "recvmsg4",
        BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
        BPF_CGROUP_UDP4_RECVMSG,
    ),
    spec(
        "recvmsg6",
        BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
        BPF_CGROUP_UDP6_RECVMSG,
    ),
    spec(
        "getpeername4",
        BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
        BPF_CGROUP_INET4_GETPEERNAME,
    ),
    spec(
        "getpeername6",
        BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
        BPF_CGROUP_INET6_GETPEERNAME,
    ),
    spec("sock_ops", BPF_PROG_TYPE_SOCK_OPS, BPF_CGROUP_SOCK_OPS),
];
