// SPDX-License-Identifier: MIT OR Apache-2.0
//! The origin's side that speaks its own protocol: one thread, epoll, any number of connections.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

use anyhow::{Context, Result};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;

use super::{ACKNOWLEDGED, ECHO, SINK, SOURCE};

/// Bytes in a read or a write.
const PIECE: usize = 128 << 10;

/// Reads or writes after which others have a turn.
const TURN: usize = 8;

#[derive(Debug)]
struct Origin {
    epoll: OwnedFd,
    listener: TcpListener,
    connections: HashMap<RawFd, Connection>,
    buffer: Box<[u8]>,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    wish: Wish,
}

#[derive(Clone, Copy, Debug)]
enum Wish {
    Echo,
    Source,
    /// Bytes that were not yet acknowledged.
    Sink(usize),
}

/// What to do with a connection after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Keep,
    /// Keep it, and tell when it can be written to.
    Write,
    Close,
}

pub(super) fn start(listener: TcpListener) -> Result<()> {
    listener.set_nonblocking(true).context("O_NONBLOCK")?;
    let epoll = epoll::create(CreateFlags::CLOEXEC).context("epoll_create")?;
    epoll::add(&epoll, &listener, data(&listener), EventFlags::IN).context("epoll_ctl")?;
    let mut origin = Origin {
        epoll,
        listener,
        connections: HashMap::new(),
        buffer: vec![0; PIECE].into(),
    };
    // Should it end, clients are left without an answer, and the benchmark ends there.
    std::thread::Builder::new()
        .name("origin".to_owned())
        .spawn(move || origin.serve())
        .context("a thread")?;
    Ok(())
}

impl Origin {
    fn serve(&mut self) -> Result<()> {
        let mut events = Vec::with_capacity(256);
        loop {
            events.clear();
            epoll::wait(&self.epoll, spare_capacity(&mut events), None).context("epoll_wait")?;
            for event in &events {
                let descriptor = i32::try_from(event.data.u64()).context("epoll data")?;
                if descriptor == self.listener.as_raw_fd() {
                    self.accept()?;
                    continue;
                }
                let Some(connection) = self.connections.get_mut(&descriptor) else {
                    continue;
                };
                // Whatever breaks a connection, it is over.
                match connection.turn(&mut self.buffer).unwrap_or(Next::Close) {
                    Next::Keep => {}
                    Next::Write => {
                        let stream = &connection.stream;
                        epoll::modify(&self.epoll, stream, data(stream), EventFlags::OUT)
                            .context("epoll_ctl")?;
                    }
                    Next::Close => drop(self.connections.remove(&descriptor)),
                }
            }
        }
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // The peer was gone before it was accepted.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error).context("accepting"),
            };
            stream.set_nonblocking(true).context("O_NONBLOCK")?;
            stream.set_nodelay(true).context("TCP_NODELAY")?;
            epoll::add(&self.epoll, &stream, data(&stream), EventFlags::IN).context("epoll_ctl")?;
            let wish = Wish::Echo;
            self.connections
                .insert(stream.as_raw_fd(), Connection { stream, wish });
        }
    }
}

impl Connection {
    fn turn(&mut self, buffer: &mut [u8]) -> std::io::Result<Next> {
        for _ in 0..TURN {
            if let Wish::Source = self.wish {
                match self.stream.write(buffer) {
                    Ok(_) => continue,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            let count = match self.stream.read(buffer) {
                Ok(0) => return Ok(Next::Close),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            if let Some(next) = self.take(&buffer[..count])? {
                return Ok(next);
            }
        }
        Ok(Next::Keep)
    }

    fn take(&mut self, bytes: &[u8]) -> std::io::Result<Option<Next>> {
        match (self.wish, bytes) {
            (Wish::Sink(before), _) => {
                let sum = before + bytes.len();
                let signs = vec![0; sum / ACKNOWLEDGED];
                self.wish = Wish::Sink(sum % ACKNOWLEDGED);
                self.stream.write_all(&signs)?;
            }
            (_, [ECHO]) => self.stream.write_all(bytes)?,
            (_, [SOURCE]) => {
                self.wish = Wish::Source;
                return Ok(Some(Next::Write));
            }
            (_, [SINK, rest @ ..]) => {
                self.wish = Wish::Sink(0);
                return self.take(rest);
            }
            _ => return Ok(Some(Next::Close)),
        }
        // One byte is all that a client sends at a time; to look for more would be a call in vain.
        Ok(matches!(self.wish, Wish::Echo).then_some(Next::Keep))
    }
}

fn data(descriptor: &impl AsRawFd) -> EventData {
    EventData::new_u64(descriptor.as_raw_fd().unsigned_abs().into())
}
