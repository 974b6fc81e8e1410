// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pipes for `splice(2)`: pages go from one socket to the other without passing through this program's memory.
//!
//! A pipe is held while bytes are in it and then given back. What a busy direction needs is a large one: at 64 KiB, a
//! pipe costs as much as copying does. The kernel counts a user's pipe pages and makes pipes small once there are too
//! many (`pipe-user-pages-soft`, 64 MiB), which is why there are only so many; who gets none copies.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::{io::Interest, net::TcpStream};

/// Size of a pipe: the most that one without privilege may have (`pipe-max-size`).
const SIZE: usize = 1024 * 1024;

/// Most pipes at a time: three quarters of the pages that a user may have.
const MOST: usize = 48;

static SPARE: Mutex<Vec<Pipe>> = Mutex::new(Vec::new());
static THERE_ARE: AtomicUsize = AtomicUsize::new(0);

/// An empty pipe, or one that is being filled and emptied.
#[derive(Debug)]
pub(super) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    /// A pipe, if there is one to be had.
    pub(super) fn take() -> Option<Self> {
        let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if spare.is_some() {
            return spare;
        }
        THERE_ARE
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < MOST).then_some(count + 1)
            })
            .ok()?;
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
            .inspect_err(|error| {
                THERE_ARE.fetch_sub(1, Ordering::Relaxed);
                tracing::debug!(%error, "no pipe");
            })
            .ok()?;
        let pipe = Self { read, write };
        // A small one is of no use.
        fcntl_setpipe_size(&pipe.write, SIZE).ok()?;
        Some(pipe)
    }

    /// Gives an empty pipe back.
    pub(super) fn give_back(self) {
        SPARE
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(self);
    }

    /// Takes what there is to read. The pipe has to be empty: a full one would look like an empty socket.
    pub(super) fn fill(&self, from: &TcpStream) -> io::Result<usize> {
        from.try_io(Interest::READABLE, || {
            let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
            Ok(splice(from, None, &self.write, None, SIZE, flags)?)
        })
    }

    /// Passes on what is in the pipe, of which there are `count` bytes.
    pub(super) fn empty(&self, to: &TcpStream, count: usize) -> io::Result<usize> {
        to.try_io(Interest::WRITABLE, || {
            let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
            Ok(splice(&self.read, None, to, None, count, flags)?)
        })
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        THERE_ARE.fetch_sub(1, Ordering::Relaxed);
    }
}
