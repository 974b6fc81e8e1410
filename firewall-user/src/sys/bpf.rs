// SPDX-License-Identifier: GPL-3.0-or-later
//! The calls of `bpf(2)`.
//!
//! aya parses and relocates the object and reads the maps; the calls are made here, because aya 0.14
//! reads all of the kernel's BTF and probes eighteen features before it loads anything (25 ms, more
//! than the rest of a run), pins no setsockopt link, and cannot ask what is attached to a cgroup.
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

use aya_obj::generated::{bpf_attach_type, bpf_cmd, bpf_cmd::*, bpf_insn, bpf_prog_type};

/// More programs than anyone attaches to one hook of one cgroup (`BPF_CGROUP_MAX_PROGS`).
const MAX_PROGRAMS: u32 = 64;

/// A name that the kernel shows: 15 bytes and a NUL (`BPF_OBJ_NAME_LEN`).
type Name = [u8; 16];

/// What a new map is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MapSpec<'a> {
    pub(crate) kind: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) flags: u32,
    /// The types of key and value, for the kinds of map that must have them.
    pub(crate) types: Option<Types<'a>>,
}

/// Ids in loaded type information.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Types<'a> {
    pub(crate) btf: BorrowedFd<'a>,
    pub(crate) key: u32,
    pub(crate) value: u32,
}

/// Makes a map.
pub(crate) fn map_create(name: &str, spec: &MapSpec<'_>) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        map_type: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        map_flags: u32,
        inner_map_fd: u32,
        numa_node: u32,
        map_name: Name,
        map_ifindex: u32,
        btf_fd: u32,
        btf_key_type_id: u32,
        btf_value_type_id: u32,
    }
    let attr = Attr {
        map_type: spec.kind,
        key_size: spec.key_size,
        value_size: spec.value_size,
        max_entries: spec.max_entries,
        map_flags: spec.flags,
        inner_map_fd: 0,
        numa_node: 0,
        map_name: shown(name),
        map_ifindex: 0,
        btf_fd: spec.types.map_or(Ok(0), |types| number(types.btf))?,
        btf_key_type_id: spec.types.map_or(0, |types| types.key),
        btf_value_type_id: spec.types.map_or(0, |types| types.value),
    };
    descriptor(BPF_MAP_CREATE, attr)
}

/// Writes the one value of an array map.
pub(crate) fn map_write_first(map: BorrowedFd<'_>, value: &[u8]) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        map_fd: u32,
        padding: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let key = 0_u32;
    let attr = Attr {
        map_fd: number(map)?,
        padding: 0,
        key: address(&raw const key),
        value: address(value.as_ptr()),
        flags: 0,
    };
    bpf(BPF_MAP_UPDATE_ELEM, attr).map(|_| ())
}

/// Takes away everybody's right to write to a map by system calls, for good.
pub(crate) fn map_freeze(map: BorrowedFd<'_>) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        map_fd: u32,
    }
    bpf(
        BPF_MAP_FREEZE,
        Attr {
            map_fd: number(map)?,
        },
    )
    .map(|_| ())
}

/// Loads type information.
pub(crate) fn btf_load(btf: &[u8], log: &mut [u8]) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        btf: u64,
        btf_log_buf: u64,
        btf_size: u32,
        btf_log_size: u32,
        btf_log_level: u32,
        btf_log_true_size: u32,
    }
    let attr = Attr {
        btf: address(btf.as_ptr()),
        btf_log_buf: if log.is_empty() {
            0
        } else {
            address(log.as_mut_ptr())
        },
        btf_size: length(btf)?,
        btf_log_size: length(log)?,
        btf_log_level: u32::from(!log.is_empty()),
        btf_log_true_size: 0,
    };
    descriptor(BPF_BTF_LOAD, attr)
}

/// A program to load.
#[derive(Clone, Copy)]
pub(crate) struct ProgramSpec<'a> {
    pub(crate) name: &'static str,
    pub(crate) kind: bpf_prog_type,
    pub(crate) hook: bpf_attach_type,
    pub(crate) instructions: &'a [bpf_insn],
    pub(crate) license: &'a CStr,
}

/// Has the verifier read a program. What it thinks of it goes to `log`, unless that is empty.
pub(crate) fn program_load(spec: &ProgramSpec<'_>, log: &mut [u8]) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
        prog_name: Name,
        prog_ifindex: u32,
        expected_attach_type: u32,
    }
    let attr = Attr {
        prog_type: spec.kind as u32,
        insn_cnt: length(spec.instructions)?,
        insns: address(spec.instructions.as_ptr()),
        license: address(spec.license.as_ptr()),
        log_level: u32::from(!log.is_empty()),
        log_size: length(log)?,
        log_buf: if log.is_empty() {
            0
        } else {
            address(log.as_mut_ptr())
        },
        kern_version: 0,
        prog_flags: 0,
        prog_name: shown(spec.name),
        prog_ifindex: 0,
        expected_attach_type: spec.hook as u32,
    };
    descriptor(BPF_PROG_LOAD, attr)
}

/// Attaches a program to a cgroup, by a link that detaches it when the last descriptor and the last
/// pin are gone.
pub(crate) fn link_create(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    hook: bpf_attach_type,
) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        prog_fd: u32,
        target_fd: u32,
        attach_type: u32,
        // The kernel refuses every flag for a cgroup: a link is always one of several
        // (BPF_F_ALLOW_MULTI), which no program in a cgroup below can replace.
        // https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/cgroup.c#L1474
        flags: u32,
    }
    let attr = Attr {
        prog_fd: number(program)?,
        target_fd: number(cgroup)?,
        attach_type: hook as u32,
        flags: 0,
    };
    descriptor(BPF_LINK_CREATE, attr)
}

/// A name in a BPF file system, and what has it or is to have it.
#[repr(C)]
struct Named {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// Gives a link, program or map a name in a BPF file system.
pub(crate) fn pin(object: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
    let attr = Named {
        pathname: address(path.as_ptr()),
        bpf_fd: number(object)?,
        file_flags: 0,
    };
    bpf(BPF_OBJ_PIN, attr).map(|_| ())
}

/// Opens what has a name in a BPF file system.
pub(crate) fn get(path: &CStr) -> io::Result<OwnedFd> {
    let attr = Named {
        pathname: address(path.as_ptr()),
        bpf_fd: 0,
        file_flags: 0,
    };
    descriptor(BPF_OBJ_GET, attr)
}

/// The ids of the programs attached to this very cgroup (not to one above it) at this hook.
pub(crate) fn attached(cgroup: BorrowedFd<'_>, hook: bpf_attach_type) -> io::Result<Vec<u32>> {
    #[repr(C)]
    struct Attr {
        target_fd: u32,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        prog_ids: u64,
        count: u32,
        padding: u32,
    }
    let mut ids = [0_u32; MAX_PROGRAMS as usize];
    let attr = Attr {
        target_fd: number(cgroup)?,
        attach_type: hook as u32,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: address(ids.as_mut_ptr()),
        count: MAX_PROGRAMS,
        padding: 0,
    };
    let (_, attr) = bpf(BPF_PROG_QUERY, attr)?;
    let count = usize::try_from(attr.count).map_err(io::Error::other)?;
    Ok(ids.into_iter().take(count).collect())
}

/// A name as the kernel shows it, cut to what fits.
fn shown(name: &str) -> Name {
    let mut shown = [0; 16];
    // Of a section's name (`.rodata`) the kernel takes every byte, of others letters, digits, `_`, `.`.
    for (to, from) in shown[..15].iter_mut().zip(name.bytes()) {
        *to = from;
    }
    shown
}

/// A descriptor as the kernel's ABI has it.
fn number(fd: BorrowedFd<'_>) -> io::Result<u32> {
    u32::try_from(fd.as_raw_fd()).map_err(io::Error::other)
}

/// A length as the kernel's ABI has it.
fn length<T>(slice: &[T]) -> io::Result<u32> {
    u32::try_from(slice.len()).map_err(io::Error::other)
}

/// A pointer as the kernel's ABI has it. Widening on every architecture that Linux runs on.
fn address<T>(pointer: *const T) -> u64 {
    pointer.addr() as u64
}

/// A call that makes a descriptor.
fn descriptor<Attr>(command: bpf_cmd, attr: Attr) -> io::Result<OwnedFd> {
    let (fd, _) = bpf(command, attr)?;
    // SAFETY: the kernel has just made this descriptor and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `bpf(2)`. Gives back what it returned, and the attributes as the kernel left them.
fn bpf<Attr>(command: bpf_cmd, mut attr: Attr) -> io::Result<(i32, Attr)> {
    // SAFETY: `attr` is a `repr(C)` struct without padding of the size given, and lives through the
    // call. The callers put only pointers in it that do, too, and that have room for what they ask.
    let code = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as u32,
            &raw mut attr,
            size_of::<Attr>(),
        )
    };
    match i32::try_from(code) {
        Ok(code) if code >= 0 => Ok((code, attr)),
        Ok(_) | Err(_) => Err(io::Error::last_os_error()),
    }
}
