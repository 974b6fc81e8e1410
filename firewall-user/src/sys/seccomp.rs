// SPDX-License-Identifier: GPL-3.0-or-later
//! seccomp user notification (Linux 5.0): a call that a filter names waits until a supervisor has answered it.
//!
//! See seccomp_unotify(2). The answers given here are refusals only: the kernel can also be told to let a call go on
//! (`SECCOMP_USER_NOTIF_FLAG_CONTINUE`), which must never decide about anybody's rights and is not offered.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use libc::sock_filter;

/// A call that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// The kernel's name for the wait. Never used twice.
    pub id: u64,
    /// The thread that called, as the receiver's pid namespace numbers it; 0 if it is not in there.
    pub thread: u32,
    /// What it called with. They are the registers' values, so nobody can change them any more.
    pub arguments: [u64; 6],
}

/// Installs a filter for the calling thread and all that come of it, and returns where its calls are waited for and
/// answered. The descriptor is close-on-exec. `no_new_privs` must be set.
///
/// Once the caller was told of a call, only a deadly signal interrupts that call (`WAIT_KILLABLE_RECV`, Linux 5.19):
/// it is asked about once. When the descriptor is closed everywhere, waiting and later calls fail with `ENOSYS`.
///
/// # Errors
///
/// `EBUSY` if a filter with a listener is in force already: the kernel allows one in a tree of filters.
pub fn install_with_listener(program: &[sock_filter]) -> io::Result<OwnedFd> {
    require_known_sizes()?;
    let flags =
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let descriptor = set_filter(program, flags)?;
    // SAFETY: with NEW_LISTENER the kernel returned a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Installs a filter that asks nobody for the calling thread and all that come of it. `no_new_privs` must be set.
pub fn install(program: &[sock_filter]) -> io::Result<()> {
    set_filter(program, 0).map(drop)
}

fn set_filter(program: &[sock_filter], flags: libc::c_ulong) -> io::Result<libc::c_int> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the program is valid for its length, and the kernel copies it without writing to it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    match i32::try_from(result) {
        Ok(result) if result >= 0 => Ok(result),
        Ok(_) | Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Takes the next call that waits. Blocks if there is none, so poll for `POLLIN` before every single one.
///
/// # Errors
///
/// `ENOENT` if the caller was killed meanwhile.
pub fn receive(listener: BorrowedFd<'_>) -> io::Result<Call> {
    // The kernel insists on zeros.
    let mut call = libc::seccomp_notif {
        id: 0,
        pid: 0,
        flags: 0,
        data: libc::seccomp_data {
            nr: 0,
            arch: 0,
            instruction_pointer: 0,
            args: [0; 6],
        },
    };
    // SAFETY: the request and its argument belong together; the kernel writes no more than the argument's size, which
    // the request's number carries.
    let result = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_RECV,
            &raw mut call,
        )
    };
    check(result)?;
    Ok(Call {
        id: call.id,
        thread: call.pid,
        arguments: call.data.args,
    })
}

/// Fails with `ENOENT` if the call does not wait any more: its thread has ended, and its number may be another's.
pub fn ensure_waiting(listener: BorrowedFd<'_>, call: Call) -> io::Result<()> {
    // SAFETY: the request reads one u64, which outlives the call.
    let result = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_ID_VALID,
            &raw const call.id,
        )
    };
    check(result)
}

/// Makes the call fail with `errno`.
///
/// # Errors
///
/// `ENOENT` if it does not wait any more.
pub fn refuse(listener: BorrowedFd<'_>, call: Call, errno: libc::c_int) -> io::Result<()> {
    let mut answer = libc::seccomp_notif_resp {
        id: call.id,
        val: 0,
        error: -errno,
        flags: 0,
    };
    // SAFETY: the request and its argument belong together, and the argument outlives the call.
    let result = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_SEND,
            &raw mut answer,
        )
    };
    check(result)
}

/// seccomp_unotify(2) wants the sizes compared with the kernel's, which may come to be larger than those that this
/// was built with.
fn require_known_sizes() -> io::Result<()> {
    let mut sizes = libc::seccomp_notif_sizes {
        seccomp_notif: 0,
        seccomp_notif_resp: 0,
        seccomp_data: 0,
    };
    // SAFETY: the kernel writes one `seccomp_notif_sizes`.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_NOTIF_SIZES,
            0,
            &raw mut sizes,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let fits = |kernel: u16, ours: usize| usize::from(kernel) <= ours;
    if fits(sizes.seccomp_notif, size_of::<libc::seccomp_notif>())
        && fits(
            sizes.seccomp_notif_resp,
            size_of::<libc::seccomp_notif_resp>(),
        )
    {
        Ok(())
    } else {
        Err(io::Error::other(
            "the kernel's seccomp notifications are larger than this build of keyward knows them",
        ))
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
