// SPDX-License-Identifier: MIT OR Apache-2.0
//! One connection: plain or TLS, blocking or not.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::response::Response;
use super::{Answer, Request, Target};

/// A blocking read that takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// One read takes at most so much.
const BUFFER: usize = 256 << 10;

/// A connection and the response that it is reading.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    response: Response,
    /// Made when it is needed: who holds many connections brings one for all of them.
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// What a response told about time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// From the request's first byte to the body's first.
    pub(crate) first_byte: Duration,
    /// From the request's first byte to the response's last.
    pub(crate) total: Duration,
}

impl Connection {
    /// Connects, TLS handshake included. The connection blocks.
    pub(crate) fn open(target: &Target) -> Result<Self> {
        let mut socket = TcpStream::connect(target.address).context("connecting")?;
        socket.set_nodelay(true).context("TCP_NODELAY")?;
        socket
            .set_read_timeout(Some(PATIENCE))
            .context("SO_RCVTIMEO")?;
        let stream = match &target.tls {
            None => Stream::Plain(socket),
            Some(config) => {
                let name = ServerName::try_from("api.openai.com").context("server name")?;
                let mut tls =
                    ClientConnection::new(Arc::clone(config), name).context("TLS client")?;
                while tls.is_handshaking() {
                    tls.complete_io(&mut socket).context("TLS handshake")?;
                }
                Stream::Tls(Box::new(StreamOwned::new(tls, socket)))
            }
        };
        Ok(Self {
            stream,
            response: Response::default(),
            buffer: Vec::new(),
        })
    }

    pub(crate) fn set_nonblocking(&self) -> Result<()> {
        self.socket().set_nonblocking(true).context("O_NONBLOCK")
    }

    pub(super) fn socket(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(socket) => socket,
            Stream::Tls(tls) => tls.get_ref(),
        }
    }

    /// Writes a whole request. On a connection that does not block, it must fit into the socket's
    /// buffer.
    pub(crate) fn send(&mut self, request: &Request) -> Result<()> {
        self.response = match request.answer {
            Answer::Http => Response::default(),
            Answer::Sized(bytes) => Response::sized(bytes),
        };
        self.write(&request.bytes)
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.stream {
            Stream::Plain(socket) => socket.write_all(bytes),
            Stream::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
        }
        .context("sending")
    }

    /// Reads once, whatever it is; `None` if there is nothing to read.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<usize>> {
        let read = match &mut self.stream {
            Stream::Plain(socket) => socket.read(buffer),
            Stream::Tls(tls) => tls.read(buffer),
        };
        match read {
            Ok(0) => bail!("the connection was closed within a response"),
            Ok(length) => Ok(Some(length)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error).context("receiving"),
        }
    }

    /// Reads once by way of `buffer`, and shows what is body. Says whether the response is complete; `None` if there
    /// is nothing to read.
    pub(super) fn read_by(
        &mut self,
        buffer: &mut [u8],
        body: impl FnMut(&[u8]),
    ) -> Result<Option<bool>> {
        let Some(length) = self.receive(buffer)? else {
            return Ok(None);
        };
        self.response.push_to(&buffer[..length], body).map(Some)
    }

    fn read(&mut self) -> Result<Option<bool>> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(BUFFER, 0);
        let read = self.read_by(&mut buffer, |_body| {});
        self.buffer = buffer;
        read
    }

    /// Reads what there is, without waiting. Says whether the response is complete.
    pub(crate) fn poll(&mut self) -> Result<bool> {
        loop {
            match self.read()? {
                Some(false) => {}
                Some(true) => return Ok(true),
                None => return Ok(false),
            }
        }
    }

    /// Sends a request and waits for the whole response.
    pub(crate) fn exchange(&mut self, request: &Request) -> Result<Timing> {
        let begin = Instant::now();
        self.send(request)?;
        let mut first_byte = None;
        loop {
            let complete = self.read()?.context("no answer in time")?;
            if self.response.body() > 0 && first_byte.is_none() {
                first_byte = Some(begin.elapsed());
            }
            if complete {
                let total = begin.elapsed();
                return Ok(Timing {
                    first_byte: first_byte.unwrap_or(total),
                    total,
                });
            }
        }
    }

    /// Bytes of body of the last response.
    pub(crate) fn body(&self) -> u64 {
        self.response.body()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}
