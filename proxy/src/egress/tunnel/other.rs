// SPDX-License-Identifier: MIT OR Apache-2.0
//! Both directions between two sides that are not both plain sockets.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Clock;
use crate::egress::Connection;

/// Read at a time, onto the stack. What the receiver does not take at once is kept.
const BUFFER: usize = 16 * 1024;

/// Pieces after which others have a turn.
const TURN: usize = 64;

/// One direction.
struct Way {
    left: Vec<u8>,
    /// How much of it went.
    gone: usize,
    phase: Phase,
    /// Written and not yet flushed: TLS keeps what is written until it is told that this is all for now.
    unflushed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Carrying,
    Flushing,
    ShuttingDown,
    Done,
}

/// Carries until both directions are done or one broke.
pub(super) async fn both<C, U>(
    mut client: C,
    mut upstream: U,
    first: Vec<u8>,
    connection: &Connection,
    clock: &Clock,
) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let mut up = Way::new(first);
    let mut down = Way::new(Vec::new());
    poll_fn(|context| {
        let up = up.poll(context, &mut client, &mut upstream, |count| {
            connection.add_up(count);
            clock.touch();
        })?;
        let down = down.poll(context, &mut upstream, &mut client, |count| {
            connection.add_down(count);
            clock.touch();
        })?;
        if up.is_ready() && down.is_ready() {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    })
    .await
}

impl Way {
    fn new(first: Vec<u8>) -> Self {
        Self {
            left: first,
            gone: 0,
            phase: Phase::Carrying,
            unflushed: false,
        }
    }

    fn poll<F, T>(
        &mut self,
        context: &mut Context<'_>,
        from: &mut F,
        to: &mut T,
        passed: impl Fn(u64),
    ) -> Poll<io::Result<()>>
    where
        F: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        for _ in 0..TURN {
            match self.phase {
                Phase::Carrying => {
                    if let Poll::Ready(result) = self.poll_write(context, to, &passed) {
                        result?;
                    } else {
                        return Poll::Pending;
                    }
                    match self.poll_read(context, from, to, &passed) {
                        Poll::Ready(Ok(true)) => self.unflushed = true,
                        Poll::Ready(Ok(false)) => self.phase = Phase::Flushing,
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        Poll::Pending => {
                            if self.unflushed {
                                ready!(Pin::new(&mut *to).poll_flush(context))?;
                                self.unflushed = false;
                            }
                            return Poll::Pending;
                        }
                    }
                }
                Phase::Flushing => {
                    ready!(Pin::new(&mut *to).poll_flush(context))?;
                    self.phase = Phase::ShuttingDown;
                }
                Phase::ShuttingDown => {
                    ready!(Pin::new(&mut *to).poll_shutdown(context))?;
                    self.phase = Phase::Done;
                }
                Phase::Done => return Poll::Ready(Ok(())),
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what is left.
    fn poll_write<T: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        to: &mut T,
        passed: &impl Fn(u64),
    ) -> Poll<io::Result<()>> {
        self.unflushed |= self.gone < self.left.len();
        while self.gone < self.left.len() {
            let left = self.left.get(self.gone..).unwrap_or_default();
            let count = ready!(Pin::new(&mut *to).poll_write(context, left))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.gone += count;
            passed(u64::try_from(count).unwrap_or(u64::MAX));
        }
        self.left = Vec::new();
        self.gone = 0;
        Poll::Ready(Ok(()))
    }

    /// Reads once, and writes what is taken at once. `false`: the sender is done.
    fn poll_read<F, T>(
        &mut self,
        context: &mut Context<'_>,
        from: &mut F,
        to: &mut T,
        passed: &impl Fn(u64),
    ) -> Poll<io::Result<bool>>
    where
        F: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        let mut memory = [MaybeUninit::uninit(); BUFFER];
        let mut buffer = ReadBuf::uninit(&mut memory);
        ready!(Pin::new(from).poll_read(context, &mut buffer))?;
        let bytes = buffer.filled();
        if bytes.is_empty() {
            return Poll::Ready(Ok(false));
        }
        let count = match Pin::new(to).poll_write(context, bytes) {
            Poll::Ready(count) => count?,
            Poll::Pending => 0,
        };
        passed(u64::try_from(count).unwrap_or(u64::MAX));
        self.left = bytes.get(count..).unwrap_or_default().to_vec();
        Poll::Ready(Ok(true))
    }
}
