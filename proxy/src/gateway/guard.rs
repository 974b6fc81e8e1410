// SPDX-License-Identifier: MIT OR Apache-2.0
//! The connection as hyper sees it: only bytes that were judged.
//!
//! `Guarded` sits between the socket and hyper. It follows the framing of each request by itself and
//! hands on nothing of a head before the whole head was found good, so that what hyper reads can be
//! read in one way only. It also keeps the times: for a head, for a pause in a body, for an idle
//! connection.
//!
//! A refusal must be answered in its turn, behind the answers to earlier requests on the connection,
//! and hyper knows the turns. So in place of the refused head hyper gets a harmless one of ours
//! (`STAND_IN`), and the service learns from `Verdicts` that request number *n* is refused: by its
//! number, never by what it contains, as a workload could send the stand-in itself.

pub mod authority;
pub mod chunks;
pub mod head;
pub mod transcript;
mod verdicts;

#[cfg(test)]
mod agreement;

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

pub(crate) use self::verdicts::Verdicts;
use self::{
    chunks::Chunks,
    head::{Accepts, Framing, Head, Scanner},
};
use crate::{refusal::Refusal, settings::Limits, timer::Timer};

/// What hyper reads in place of a refused head.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// How much is read at once: holds the largest head, and a 64 KiB chunk of a body takes few calls.
const READ_SIZE: usize = 16 * 1024;

/// How long a connection that we close lingers to take in what the workload still sends. Closing with
/// unread input makes the kernel send a reset, which can overtake the answer that says why.
const LINGER: Duration = Duration::from_millis(500);

/// How much a lingering connection takes in at most.
const LINGER_BYTES: usize = 16 * 1024 * 1024;

/// Where the guard is in the stream of requests.
#[derive(Debug)]
enum State {
    /// Before or inside a head.
    Head(Scanner),
    /// In a chunked body whose first size line is not complete; its head is held back until it is, so
    /// that a body that is bad from its first byte is never forwarded.
    FirstChunk {
        head: usize,
        chunks: Chunks,
        scanned: usize,
    },
    /// In a body of known length.
    Length(u64),
    /// In a chunked body.
    Chunked(Chunks),
    /// Behind a request to upgrade, until the service decides.
    Upgrade,
    /// Behind an upgrade: bytes as they come.
    Tunnel,
    /// In a body that turned out bad; what was released before that is still to be handed on.
    Broken(Refusal),
    /// Behind a refusal: nothing is read any more.
    Refused,
}

/// A connection of the workload whose reading side is guarded.
#[derive(Debug)]
pub(crate) struct Guarded<S> {
    io: S,
    accepts: Accepts,
    verdicts: std::sync::Arc<Verdicts>,
    limits: Limits,
    state: State,
    /// Read from the socket; the first `released` bytes are judged good.
    buffer: BytesMut,
    released: usize,
    /// Heads handed on so far, the stand-in included.
    heads: u64,
    timer: Timer,
    lingering: Option<Lingering>,
}

#[derive(Debug)]
struct Lingering {
    timer: Pin<Box<Sleep>>,
    left: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Guarded<S> {
    /// Guards `io` from its first byte, as an API that takes paths.
    pub(crate) fn new(io: S, verdicts: std::sync::Arc<Verdicts>, limits: Limits) -> Self {
        Self::accepting(Accepts::Paths, io, BytesMut::new(), verdicts, limits)
    }

    /// Guards `io`, of which `read` was read already.
    pub(crate) fn accepting(
        accepts: Accepts,
        io: S,
        read: BytesMut,
        verdicts: std::sync::Arc<Verdicts>,
        limits: Limits,
    ) -> Self {
        Self {
            io,
            accepts,
            verdicts,
            limits,
            state: State::Head(Scanner::new(accepts)),
            buffer: read,
            released: 0,
            heads: 0,
            timer: Timer::default(),
            lingering: None,
        }
    }

    /// The connection, and what was read of it and not handed on.
    pub(crate) fn into_parts(self) -> (S, BytesMut) {
        (self.io, self.buffer)
    }

    /// Judges what was read and not yet judged.
    fn judge(&mut self) {
        loop {
            let fresh = self.buffer.get(self.released..).unwrap_or_default();
            if fresh.is_empty() {
                return;
            }
            match &mut self.state {
                State::Head(scanner) => match scanner.scan(fresh, self.limits.head) {
                    Ok(None) => return,
                    Ok(Some(head)) => self.head_ended(head),
                    Err(refusal) => {
                        self.refuse(refusal);
                        return;
                    }
                },
                State::FirstChunk {
                    head,
                    chunks,
                    scanned,
                } => {
                    let body = fresh.get(*head + *scanned..).unwrap_or_default();
                    match chunks.scan(body) {
                        Ok(taken) if chunks.has_begun() => {
                            self.released += *head + *scanned + taken;
                            self.heads += 1;
                            let chunks = std::mem::take(chunks);
                            self.chunks_followed(chunks);
                        }
                        Ok(taken) => {
                            *scanned += taken;
                            return;
                        }
                        Err(refusal) => {
                            self.refuse(refusal);
                            return;
                        }
                    }
                }
                State::Length(left) => {
                    let available = u64::try_from(fresh.len()).unwrap_or(u64::MAX);
                    let taken = available.min(*left);
                    *left -= taken;
                    self.released += usize::try_from(taken).unwrap_or(fresh.len());
                    if *left == 0 {
                        self.state = State::Head(Scanner::new(self.accepts));
                    }
                }
                State::Chunked(chunks) => match chunks.scan(fresh) {
                    Ok(taken) => {
                        self.released += taken;
                        let chunks = std::mem::take(chunks);
                        self.chunks_followed(chunks);
                    }
                    Err(refusal) => {
                        self.buffer.truncate(self.released);
                        self.state = State::Broken(refusal);
                        return;
                    }
                },
                State::Upgrade => {
                    if !self.verdicts.is_tunnel() {
                        return;
                    }
                    self.state = State::Tunnel;
                }
                State::Tunnel => {
                    self.released = self.buffer.len();
                }
                State::Broken(_) | State::Refused => return,
            }
        }
    }

    fn head_ended(&mut self, head: Head) {
        if head.framing == Framing::Chunked && !head.expects_continue {
            let (head, chunks) = (head.length, Chunks::default());
            self.state = State::FirstChunk {
                head,
                chunks,
                scanned: 0,
            };
            return;
        }
        self.released += head.length;
        self.heads += 1;
        self.state = match head.framing {
            Framing::Length(0) if head.upgrade => {
                self.verdicts.await_tunnel(self.heads - 1);
                State::Upgrade
            }
            Framing::Length(0) => State::Head(Scanner::new(self.accepts)),
            Framing::Length(left) => State::Length(left),
            Framing::Chunked => State::Chunked(Chunks::default()),
        };
    }

    fn chunks_followed(&mut self, chunks: Chunks) {
        self.state = match chunks.is_done() {
            true => State::Head(Scanner::new(self.accepts)),
            false => State::Chunked(chunks),
        };
    }

    /// Puts the stand-in in place of the request that is refused, behind what was released before it.
    fn refuse(&mut self, refusal: Refusal) {
        // The first refusal is the only one: nothing is read behind it.
        if self.verdicts.refuse(self.heads, refusal) {
            self.heads += 1;
            self.buffer.truncate(self.released);
            self.buffer.extend_from_slice(STAND_IN);
            self.released = self.buffer.len();
        }
        self.state = State::Refused;
    }

    /// Ends a body whose head was handed on already.
    fn break_body(&mut self, refusal: Refusal) -> io::Error {
        self.verdicts.break_body(refusal);
        self.buffer.clear();
        self.released = 0;
        self.state = State::Refused;
        io::Error::new(io::ErrorKind::InvalidData, refusal.name())
    }

    /// Hands on judged bytes.
    fn hand_on(&mut self, out: &mut ReadBuf<'_>) {
        let count = self.released.min(out.remaining());
        out.put_slice(self.buffer.get(..count).unwrap_or_default());
        self.buffer.advance(count);
        self.released -= count;
        if self.buffer.is_empty() {
            // An idle connection keeps no buffer.
            self.buffer = BytesMut::new();
        }
    }

    /// Whether the next `count` bytes need no judging, whatever they are.
    fn takes(&self, count: usize) -> bool {
        match &self.state {
            State::Length(left) => u64::try_from(count).is_ok_and(|it| it <= *left),
            State::Tunnel => true,
            State::Head(_)
            | State::FirstChunk { .. }
            | State::Chunked(_)
            | State::Upgrade
            | State::Broken(_)
            | State::Refused => false,
        }
    }

    /// So many of them came.
    fn took(&mut self, count: usize) {
        let State::Length(left) = &mut self.state else {
            return;
        };
        *left = left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
        if *left == 0 {
            self.state = State::Head(Scanner::new(self.accepts));
        }
    }

    /// The time limit for what is being waited for.
    fn patience(&self) -> Option<Duration> {
        match &self.state {
            State::Head(_) if self.buffer.is_empty() => Some(self.limits.keep_alive),
            // From the head's first byte, however slowly the others come.
            State::Head(_) | State::FirstChunk { .. } => Some(self.limits.head_time),
            State::Length(_) | State::Chunked(_) => Some(self.limits.body_idle),
            // The service has its own times for these.
            State::Upgrade | State::Tunnel | State::Broken(_) | State::Refused => None,
        }
    }

    /// What happens when the time is over. `Ready`: hyper sees the end of the connection.
    fn out_of_time(&mut self) -> Poll<io::Result<()>> {
        match &self.state {
            State::Head(_) if self.buffer.is_empty() => {
                if self.verdicts.is_busy() {
                    return Poll::Pending;
                }
                Poll::Ready(Ok(()))
            }
            State::Head(_) | State::FirstChunk { .. } => {
                self.refuse(Refusal::HeadTimedOut);
                Poll::Ready(Ok(()))
            }
            State::Length(_) | State::Chunked(_) => {
                Poll::Ready(Err(self.break_body(Refusal::BodyTimedOut)))
            }
            State::Upgrade | State::Tunnel | State::Broken(_) | State::Refused => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.released == 0 {
                this.judge();
            }
            if this.released > 0 {
                this.timer.stop();
                this.hand_on(out);
                return Poll::Ready(Ok(()));
            }
            match &this.state {
                State::Broken(refusal) => {
                    let refusal = *refusal;
                    return Poll::Ready(Err(this.break_body(refusal)));
                }
                // No more of this connection is read; the answer closes it.
                State::Refused => return Poll::Pending,
                // What comes before the decision waits in the socket once a buffer is full.
                State::Upgrade if this.buffer.len() >= READ_SIZE => return Poll::Pending,
                State::Head(_)
                | State::FirstChunk { .. }
                | State::Length(_)
                | State::Chunked(_)
                | State::Upgrade
                | State::Tunnel => {}
            }
            let through = this.buffer.is_empty() && this.takes(out.remaining());
            let read = match through {
                true => read_through(&mut this.io, cx, out),
                false => read_more(&mut this.io, cx, &mut this.buffer),
            };
            match read? {
                Poll::Ready(0) => return Poll::Ready(Ok(())),
                Poll::Ready(count) if through => {
                    this.timer.stop();
                    this.took(count);
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(_) => {}
                Poll::Pending => {
                    let Some(time) = this.patience() else {
                        this.timer.stop();
                        return Poll::Pending;
                    };
                    ready!(this.timer.poll(cx, time));
                    ready!(this.out_of_time())?;
                    if this.released == 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }
}

/// Reads once into hyper's own buffer, where there is nothing to judge; 0 is the end.
fn read_through<S: AsyncRead + Unpin>(
    io: &mut S,
    cx: &mut Context<'_>,
    out: &mut ReadBuf<'_>,
) -> io::Result<Poll<usize>> {
    let before = out.filled().len();
    match Pin::new(io).poll_read(cx, out) {
        Poll::Ready(Ok(())) => Ok(Poll::Ready(out.filled().len() - before)),
        Poll::Ready(Err(error)) => Err(error),
        Poll::Pending => Ok(Poll::Pending),
    }
}

/// Reads once and adds it to `buffer`; 0 is the end. By way of the stack: most reads find little or
/// nothing, and what waits for nothing keeps no buffer.
fn read_more<S: AsyncRead + Unpin>(
    io: &mut S,
    cx: &mut Context<'_>,
    buffer: &mut BytesMut,
) -> io::Result<Poll<usize>> {
    let mut scratch = [const { MaybeUninit::uninit() }; READ_SIZE];
    let mut read = ReadBuf::uninit(&mut scratch);
    match Pin::new(io).poll_read(cx, &mut read) {
        Poll::Ready(Ok(())) => {
            buffer.extend_from_slice(read.filled());
            Ok(Poll::Ready(read.filled().len()))
        }
        Poll::Ready(Err(error)) => Err(error),
        Poll::Pending => Ok(Poll::Pending),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingering.is_none() {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
            let finished = matches!(this.state, State::Head(_) | State::Tunnel);
            if finished && this.buffer.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let timer = Box::pin(tokio::time::sleep(LINGER));
            this.lingering = Some(Lingering {
                timer,
                left: LINGER_BYTES,
            });
        }
        let Some(lingering) = &mut this.lingering else {
            return Poll::Ready(Ok(()));
        };
        while lingering.left > 0 && lingering.timer.as_mut().poll(cx).is_pending() {
            this.buffer.clear();
            let poll = read_more(&mut this.io, cx, &mut this.buffer);
            let Ok(poll) = poll else { break };
            let count = ready!(poll);
            if count == 0 {
                break;
            }
            lingering.left = lingering.left.saturating_sub(count);
        }
        Poll::Ready(Ok(()))
    }
}
