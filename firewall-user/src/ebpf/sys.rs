// SPDX-License-Identifier: GPL-3.0-or-later
//! The three calls of `bpf(2)` that aya does not offer: a link for any program of a cgroup, a pin for
//! any link, and the list of what is attached to a cgroup.
//!
//! The only unsafe code of the eBPF layer. Each call has a struct of its own, laid out as the member
//! of `union bpf_attr` that the kernel reads for it; the kernel takes a shorter union than its own
//! and reads the rest as zero.
//! <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/bpf.h#L1459>

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

/// `BPF_OBJ_PIN`.
const OBJ_PIN: libc::c_int = 6;
/// `BPF_PROG_QUERY`.
const PROG_QUERY: libc::c_int = 16;
/// `BPF_LINK_CREATE`, since Linux 5.7.
const LINK_CREATE: libc::c_int = 28;

/// More programs than anyone attaches to one hook of one cgroup: the kernel's own limit
/// (`BPF_CGROUP_MAX_PROGS`).
const MAX_PROGRAMS: usize = 64;

/// Attaches a program to a cgroup, by a link that detaches it when the last descriptor and the last
/// pin are gone.
pub(super) fn link_create(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    attach_type: u32,
) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        prog_fd: i32,
        target_fd: i32,
        attach_type: u32,
        // The kernel refuses every flag for a cgroup: a link is always one of several
        // (BPF_F_ALLOW_MULTI), which no program in a cgroup below can replace.
        // https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/cgroup.c#L1474
        flags: u32,
    }
    let attr = Attr {
        prog_fd: program.as_raw_fd(),
        target_fd: cgroup.as_raw_fd(),
        attach_type,
        flags: 0,
    };
    let fd = bpf(LINK_CREATE, attr)?.0;
    // SAFETY: the kernel has just made this descriptor and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Gives a link a name in a BPF file system.
pub(super) fn pin(link: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        pathname: u64,
        bpf_fd: u32,
        file_flags: u32,
    }
    let attr = Attr {
        pathname: address(path.as_ptr()),
        bpf_fd: u32::try_from(link.as_raw_fd()).map_err(io::Error::other)?,
        file_flags: 0,
    };
    bpf(OBJ_PIN, attr).map(|_| ())
}

/// The ids of the programs attached to this very cgroup (not to one above it) at this hook.
pub(super) fn attached(cgroup: BorrowedFd<'_>, attach_type: u32) -> io::Result<Vec<u32>> {
    #[repr(C)]
    struct Attr {
        target_fd: u32,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        prog_ids: u64,
        count: u32,
        reserved: u32,
    }
    let mut ids = [0_u32; MAX_PROGRAMS];
    let attr = Attr {
        target_fd: u32::try_from(cgroup.as_raw_fd()).map_err(io::Error::other)?,
        attach_type,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: address(ids.as_mut_ptr()),
        count: 64,
        reserved: 0,
    };
    let (_, attr) = bpf(PROG_QUERY, attr)?;
    let count = usize::try_from(attr.count).map_err(io::Error::other)?;
    Ok(ids.into_iter().take(count).collect())
}

/// A pointer as the kernel's ABI has it.
fn address<T>(pointer: *const T) -> u64 {
    // Widening on every architecture that Linux runs on.
    pointer.addr() as u64
}

/// `bpf(2)`. Gives back what it returned, and the attributes as the kernel left them.
fn bpf<Attr>(command: libc::c_int, mut attr: Attr) -> io::Result<(i32, Attr)> {
    // SAFETY: `attr` is a `repr(C)` struct without padding of the size given, and lives through the
    // call. The callers put only pointers in it that do, too, and that have room for what they ask.
    let code = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut attr, size_of::<Attr>()) };
    match i32::try_from(code) {
        Ok(code) if code >= 0 => Ok((code, attr)),
        Ok(_) | Err(_) => Err(io::Error::last_os_error()),
    }
}
