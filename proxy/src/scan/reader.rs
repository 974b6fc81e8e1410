// SPDX-License-Identifier: MIT OR Apache-2.0
//! A connection of which everything that is read is looked at.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Filter, Finding, Scanner, filter::Stop, frames::Frames};

/// Read at a time.
const BUFFER: usize = 8 * 1024;

/// How what is read is to be understood.
enum Reading {
    Bytes(Box<Filter>),
    Frames(Box<Frames>),
}

/// Is told the first finding.
type Report = Box<dyn FnOnce(&Finding) + Send>;

/// Looks at everything that is read; what is to be stopped is an error of the reader.
pub(crate) struct Scanned<T> {
    io: T,
    reading: Option<Reading>,
    ready: Bytes,
    ended: bool,
    report: Option<Report>,
}

impl<T> Scanned<T> {
    /// Plain bytes. `report` is told the first finding.
    pub(crate) fn bytes(
        io: T,
        scanner: Option<&Scanner>,
        report: impl FnOnce(&Finding) + Send + 'static,
    ) -> Self {
        let reading = scanner.map(|it| Reading::Bytes(Box::new(it.filter())));
        Self::new(io, reading, Box::new(report))
    }

    /// The frames of a WebSocket's client.
    pub(crate) fn frames(
        io: T,
        scanner: Option<&Scanner>,
        report: impl FnOnce(&Finding) + Send + 'static,
    ) -> Self {
        let reading = scanner.map(|it| Reading::Frames(Box::new(Frames::new(it))));
        Self::new(io, reading, Box::new(report))
    }

    fn new(io: T, reading: Option<Reading>, report: Report) -> Self {
        Self {
            io,
            reading,
            ready: Bytes::new(),
            ended: false,
            report: Some(report),
        }
    }

    /// What it reads from.
    pub(crate) fn get_ref(&self) -> &T {
        &self.io
    }

    /// Takes what was read of it already: it is what is read first.
    ///
    /// # Errors
    ///
    /// When it is to be stopped.
    pub(crate) fn unread(&mut self, first: Vec<u8>) -> io::Result<()> {
        self.ready = self.look(Some(Bytes::from(first)))?;
        Ok(())
    }

    /// `None`: there is nothing more.
    fn look(&mut self, piece: Option<Bytes>) -> io::Result<Bytes> {
        let (passed, found) = match (&mut self.reading, piece) {
            (None, piece) => return Ok(piece.unwrap_or_default()),
            (Some(Reading::Bytes(it)), Some(piece)) => (it.pass(piece), it.found()),
            (Some(Reading::Bytes(it)), None) => (it.finish(), it.found()),
            (Some(Reading::Frames(it)), Some(piece)) => (it.pass(piece), it.found()),
            (Some(Reading::Frames(it)), None) => (it.finish(), it.found()),
        };
        if let Some(found) = found
            && let Some(report) = self.report.take()
        {
            report(found);
        }
        passed.map_err(|Stop| io::ErrorKind::PermissionDenied.into())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Scanned<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.ready.is_empty() && !this.ended {
            if this.reading.is_none() {
                return Pin::new(&mut this.io).poll_read(cx, buffer);
            }
            let mut memory = [MaybeUninit::uninit(); BUFFER];
            let mut read = ReadBuf::uninit(&mut memory);
            ready!(Pin::new(&mut this.io).poll_read(cx, &mut read))?;
            let piece = Bytes::copy_from_slice(read.filled());
            this.ended = piece.is_empty();
            this.ready = this.look(Some(piece).filter(|it| !it.is_empty()))?;
        }
        let count = this.ready.len().min(buffer.remaining());
        buffer.put_slice(this.ready.get(..count).unwrap_or_default());
        this.ready.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Scanned<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
