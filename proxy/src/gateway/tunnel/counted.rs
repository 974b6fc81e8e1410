// SPDX-License-Identifier: MIT OR Apache-2.0
//! One end of a tunnel: what is read from it is counted, freed of the credential, and looked at.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::watch::Watch;
use crate::gateway::mask::{Masked, Repeated};

/// Counts what is read, covers the credential in it, looks at it, and remembers whether its side has ended, by itself or by
/// an error.
pub(super) struct Counted {
    pub(super) io: TokioIo<Upgraded>,
    pub(super) read: Arc<AtomicU64>,
    pub(super) masked: Option<Masked>,
    /// What went through the mask and found no room.
    pub(super) ready: Bytes,
    pub(super) watch: Option<Watch>,
    pub(super) ended: Arc<AtomicBool>,
}

impl Counted {
    fn noting<T>(&self, done: io::Result<T>) -> io::Result<T> {
        done.inspect_err(|_| self.ended.store(true, Ordering::Relaxed))
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        while this.ready.is_empty() {
            let done = ready!(Pin::new(&mut this.io).poll_read(cx, buffer));
            this.noting(done)?;
            let read = buffer.filled().get(before..).unwrap_or_default();
            let count = u64::try_from(read.len()).unwrap_or(u64::MAX);
            this.read.fetch_add(count, Ordering::Relaxed);
            let is_last = read.is_empty();
            if is_last {
                this.ended.store(true, Ordering::Relaxed);
            }
            let passed = match &mut this.masked {
                Some(masked) if is_last => masked.finish(),
                Some(masked) if !masked.passes(read) => {
                    let passed = masked.pass(Bytes::copy_from_slice(read));
                    passed.map_err(|Repeated| io::ErrorKind::InvalidData)?
                }
                Some(_) | None => break,
            };
            if is_last && passed.is_empty() {
                break;
            }
            buffer.set_filled(before);
            this.ready = passed;
        }
        let fits = this.ready.len().min(buffer.remaining());
        buffer.put_slice(&this.ready.split_to(fits));
        if let Some(watch) = &mut this.watch {
            if this.masked.as_ref().is_some_and(Masked::has_covered) {
                watch.record.masked();
            }
            watch.push(buffer.filled().get(before..).unwrap_or_default());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let done = ready!(Pin::new(&mut this.io).poll_write(cx, bytes));
        Poll::Ready(this.noting(done))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let done = ready!(Pin::new(&mut this.io).poll_flush(cx));
        Poll::Ready(this.noting(done))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let done = ready!(Pin::new(&mut this.io).poll_shutdown(cx));
        Poll::Ready(this.noting(done))
    }
}
