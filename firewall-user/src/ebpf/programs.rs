// SPDX-License-Identifier: GPL-3.0-or-later
//! The programs of the object: one list, which loading, attaching and reading back all go through, so
//! that none can be loaded and then forgotten.

use aya::programs::{Program, ProgramError};

/// One program: its name in the object, which is also its pin's, and where it is attached.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) name: &'static str,
    /// `enum bpf_attach_type`.
    /// <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/bpf.h#L1056>
    pub(super) attach_type: u32,
}

/// Every program. The packet hooks come first: while the others are being attached nothing can leave
/// already.
pub(super) const PROGRAMS: &[Spec] = &[
    Spec { name: "egress", attach_type: 1 },
    Spec { name: "ingress", attach_type: 0 },
    Spec { name: "sock_create", attach_type: 2 },
    Spec { name: "setsockopt", attach_type: 22 },
    Spec { name: "connect4", attach_type: 10 },
    Spec { name: "connect6", attach_type: 11 },
    Spec { name: "sendmsg4", attach_type: 14 },
    Spec { name: "sendmsg6", attach_type: 15 },
    Spec { name: "recvmsg4", attach_type: 19 },
    Spec { name: "recvmsg6", attach_type: 20 },
    Spec { name: "getpeername4", attach_type: 29 },
    Spec { name: "getpeername6", attach_type: 30 },
    Spec { name: "sock_ops", attach_type: 3 },
];

/// Loads one program into the kernel: here the verifier reads it.
pub(super) fn load(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::CgroupSkb(program) => program.load(),
        Program::CgroupSock(program) => program.load(),
        Program::CgroupSockAddr(program) => program.load(),
        Program::CgroupSockopt(program) => program.load(),
        Program::SockOps(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}
