// SPDX-License-Identifier: GPL-3.0-or-later
//! Processes that are born inside their cgroup and namespaces.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::CloneFlags;
use nix::unistd::Pid;

/// Which side of the clone the caller is on.
#[derive(Debug)]
pub enum Clone {
    /// The supervisor: the child's pid in its own namespace, and a descriptor that stays the child's.
    Parent {
        /// The child's pid.
        pid: Pid,
        /// Readable when the child has ended.
        pidfd: OwnedFd,
    },
    /// The child.
    Child,
}

/// Clones the calling process into a cgroup, with the given `CLONE_NEW*` flags.
///
/// `CLONE_INTO_CGROUP` (Linux 5.7) leaves no moment at which the child is outside: a process that joins by writing to
/// `cgroup.procs` has already run.
///
/// Fails unless the process has exactly one thread. A forked child has only the thread that called, so a lock that
/// another one held (the allocator's, say) would stay locked for ever.
pub fn clone_into_cgroup(cgroup: BorrowedFd<'_>, flags: libc::c_int) -> io::Result<Clone> {
    require_one_thread()?;
    let mut pidfd: libc::c_int = -1;
    let mut arguments = libc::clone_args {
        flags: flag_bits(flags | libc::CLONE_PIDFD) | CLONE_INTO_CGROUP,
        pidfd: std::ptr::from_mut(&mut pidfd).addr() as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: flag_bits(libc::SIGCHLD),
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: flag_bits(cgroup.as_raw_fd()),
    };
    // SAFETY: the arguments are valid and outlive the call; without CLONE_VM and a stack of its own the child is a
    // plain copy, as after fork(2), and there is one thread.
    let result = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut arguments,
            size_of::<libc::clone_args>(),
        )
    };
    match i32::try_from(result) {
        Ok(0) => Ok(Clone::Child),
        Ok(pid) if pid > 0 => {
            // SAFETY: the kernel put a new descriptor there, which nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Clone::Parent {
                pid: Pid::from_raw(pid),
                pidfd,
            })
        }
        Ok(_) | Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Forks a process that has exactly one thread; see [`clone_into_cgroup`].
pub fn fork() -> io::Result<Option<Pid>> {
    require_one_thread()?;
    // SAFETY: there is one thread, so the child's copy is whole.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { child } => Ok(Some(child)),
        nix::unistd::ForkResult::Child => Ok(None),
    }
}

/// Room for what a child of [`vfork`] does. None of it is touched that is not needed.
const STACK: usize = 512 * 1024;

/// Starts a process that executes another program: until it does, or ends, it has this one's memory, and this one waits.
/// To copy the memory's tables, and then each page that one of the two writes to, takes longer than all that it does.
///
/// As vfork(2), but on a stack of its own, so that `child` may call what it likes. It returns the exit status for the
/// case that nothing could be executed. What it changes of this process's memory is changed, but descriptors, signals,
/// credentials and the working directory are its own.
///
/// Fails unless the process has exactly one thread; see [`clone_into_cgroup`].
pub fn vfork(child: impl FnOnce() -> i32) -> io::Result<Pid> {
    require_one_thread()?;
    let mut child = Some(child);
    let run = Box::new(move || {
        let status = child.take().map_or(libc::EXIT_FAILURE, |child| child());
        isize::try_from(status).unwrap_or(1)
    });
    let mut stack = vec![0; STACK];
    let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
    // SAFETY: with CLONE_VFORK nothing of this process runs as long as the child uses its memory, and there is no other
    // thread; the stack has far more room than the child takes.
    let pid = unsafe { nix::sched::clone(run, &mut stack, flags, Some(libc::SIGCHLD)) };
    Ok(pid?)
}

/// Not in the libc crate as a `u64`: include/uapi/linux/sched.h.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

fn flag_bits(value: libc::c_int) -> u64 {
    u64::from(value.cast_unsigned())
}

/// How long a thread that was joined may take to leave.
const LEAVING: Duration = Duration::from_secs(1);

/// A thread that was joined has run its last instruction, but stays in the list until the kernel has buried it, some
/// microseconds later: on a machine with one processor not before we give way.
///
/// The own entry of `/proc` is there in every pid namespace, whichever `/proc` is mounted.
fn require_one_thread() -> io::Result<()> {
    let deadline = Instant::now() + LEAVING;
    while fs::read_dir("/proc/self/task")?.count() > 1 {
        if Instant::now() > deadline {
            return Err(io::Error::other(
                "internal error: cloning while more than one thread runs",
            ));
        }
        thread::yield_now();
    }
    Ok(())
}
