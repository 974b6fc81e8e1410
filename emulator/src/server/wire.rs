// SPDX-License-Identifier: MIT OR Apache-2.0
//! What becomes of an answer's bytes between HTTP and TLS: some at a time, cut off, or replaced by others.
//!
//! It knows nothing of HTTP, so it serves both versions. An [`Order`] holds from the moment that the request is answered
//! until the next request on the connection; requests that share a connection of HTTP/2 share the order, too.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;

use crate::malformed::Replacement;
use crate::{Behaviour, Cut};

/// The least pause between two writes that trickle: with none they would meet in one packet.
const PAUSE: Duration = Duration::from_millis(1);

/// What is to become of what is written.
#[derive(Debug, Default)]
pub(super) struct Order {
    replacement: Option<Replacement>,
    /// So many bytes at a time, with this pause.
    trickle: Option<(usize, Duration)>,
    /// So many more bytes, and then the end.
    left: Option<usize>,
    cut: Cut,
}

impl Order {
    /// `stream` is the request's own, in HTTP/2.
    pub(super) fn of(behaviour: &Behaviour, stream: u32) -> Self {
        Self {
            replacement: behaviour.malformed.and_then(|it| it.replacement(stream)),
            trickle: behaviour.trickle.map(|it| (it, behaviour.delay.max(PAUSE))),
            left: behaviour.cut_after,
            cut: behaviour.cut,
        }
    }
}

/// Where a connection's orders are left.
#[derive(Clone, Debug, Default)]
pub(super) struct Orders(Arc<Mutex<Order>>);

impl Orders {
    pub(super) fn give(&self, order: Order) {
        *self.lock() = order;
    }

    fn lock(&self) -> MutexGuard<'_, Order> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that follows orders.
pub(super) struct Wire {
    stream: TlsStream<TcpStream>,
    orders: Orders,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Wire {
    pub(super) fn new(stream: TlsStream<TcpStream>, orders: Orders) -> Self {
        Self {
            stream,
            orders,
            pause: None,
        }
    }

    /// Ends the connection: what asked to write gets the error, and drops it.
    fn end(&mut self, context: &mut Context<'_>, cut: Cut) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.stream);
        match cut {
            Cut::Fin => ready!(stream.poll_flush(context))?,
            Cut::Close => ready!(stream.poll_shutdown(context))?,
            Cut::Reset => {
                ready!(stream.poll_flush(context))?;
                self.stream.get_ref().0.set_zero_linger()?;
            }
        }
        Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
    }

    /// Writes the replacement, and takes `bytes` for written.
    fn replace(
        &mut self,
        context: &mut Context<'_>,
        it: &mut Replacement,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            while it.bytes.has_remaining() {
                let count = ready!(Pin::new(&mut self.stream).poll_write(context, &it.bytes))?;
                it.bytes.advance(count);
            }
            match (&it.forever, it.end) {
                (Some(again), _) => it.bytes = Bytes::clone(again),
                (None, Some(cut)) => return self.end(context, cut),
                (None, None) => return Poll::Ready(Ok(bytes.len())),
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(pause) = &mut this.pause {
            ready!(pause.as_mut().poll(context));
            this.pause = None;
        }
        let orders = this.orders.clone();
        let mut order = orders.lock();
        if let Some(replacement) = &mut order.replacement {
            return this.replace(context, replacement, bytes);
        }
        let mut most = bytes.len();
        if let Some(left) = order.left {
            most = most.min(left);
        }
        if let Some((step, _)) = order.trickle {
            most = most.min(step);
        }
        if most == 0 {
            return this.end(context, order.cut);
        }
        let count = ready!(Pin::new(&mut this.stream).poll_write(context, &bytes[..most]))?;
        if let Some(left) = &mut order.left {
            *left -= count;
        }
        this.pause = order
            .trickle
            .map(|(_, pause)| Box::pin(tokio::time::sleep(pause)));
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, into)
    }
}
