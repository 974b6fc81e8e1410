// SPDX-License-Identifier: MIT OR Apache-2.0
//! Many event streams at once, whose events say when they were made: how long each was under way, and that none is
//! missing.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;

use super::{Connection, Request, Target};
use crate::stats::nanoseconds;

/// One read takes at most so much.
const BUFFER: usize = 64 << 10;

/// How long a wait may last, so that the end is noticed.
const WAIT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 10_000_000,
};

/// Streams that are open.
#[derive(Debug)]
pub(crate) struct Streams {
    epoll: OwnedFd,
    open: Vec<Stream>,
    buffer: Box<[u8]>,
}

#[derive(Debug)]
struct Stream {
    connection: Connection,
    line: Vec<u8>,
    /// The number of the next event.
    next: u64,
}

/// Nanoseconds from the making of each event to its arrival.
pub(crate) type Arrivals = Vec<u32>;

impl Streams {
    /// Opens so many, one after the other, each until its first event has come.
    pub(crate) fn open(target: &Target, request: &Request, count: usize) -> Result<Self> {
        let mut streams = Self {
            epoll: epoll::create(CreateFlags::CLOEXEC).context("epoll_create")?,
            open: Vec::with_capacity(count),
            buffer: vec![0; BUFFER].into(),
        };
        for index in 0..count {
            let mut connection = Connection::open(target)?;
            connection.send(request)?;
            let mut stream = Stream {
                connection,
                line: Vec::new(),
                next: 0,
            };
            while stream.next == 0 {
                let some = stream.read(&mut streams.buffer, |_| {})?;
                if !some {
                    bail!("no first event in time on stream {index}");
                }
            }
            stream.connection.set_nonblocking()?;
            let data = EventData::new_u64(u64::try_from(index).context("too many streams")?);
            epoll::add(&streams.epoll, &stream.connection, data, EventFlags::IN)
                .context("epoll_ctl")?;
            streams.open.push(stream);
        }
        Ok(streams)
    }

    /// Reads what comes for so long.
    pub(crate) fn read(&mut self, duration: Duration) -> Result<Arrivals> {
        let end = Instant::now() + duration;
        let mut arrivals = Vec::with_capacity(1 << 20);
        let mut ready = Vec::with_capacity(256);
        while Instant::now() < end {
            ready.clear();
            epoll::wait(&self.epoll, spare_capacity(&mut ready), Some(&WAIT))
                .context("epoll_wait")?;
            for event in &ready {
                let index = usize::try_from(event.data.u64()).context("epoll data")?;
                let stream = &mut self.open[index];
                let mut arrived = |took| arrivals.push(nanoseconds(took));
                while stream.read(&mut self.buffer, &mut arrived)? {}
            }
        }
        Ok(arrivals)
    }
}

impl Stream {
    /// Reads once. Says whether there was something.
    fn read(&mut self, buffer: &mut [u8], mut arrived: impl FnMut(Duration)) -> Result<bool> {
        let line = &mut self.line;
        let read = self
            .connection
            .read_by(buffer, |body| line.extend_from_slice(body))?;
        if read == Some(true) {
            bail!("a stream that has no end ended");
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .context("the clock")?;
        while let Some(end) = self.line.windows(2).position(|two| two == b"\n\n") {
            let event = self.line.drain(..end + 2).collect::<Vec<u8>>();
            let event = str::from_utf8(&event).context("an event is not text")?;
            let number = field(event, "\"sequence_number\":")?;
            if number != self.next {
                bail!("event {number} came where {} was due", self.next);
            }
            self.next += 1;
            let made = Duration::from_nanos(field(event, "\"made\":")?);
            arrived(now.saturating_sub(made));
        }
        Ok(read.is_some())
    }
}

/// The number behind `name`.
fn field(event: &str, name: &str) -> Result<u64> {
    let (_, rest) = event
        .split_once(name)
        .with_context(|| format!("no {name} in `{event}`"))?;
    let end = rest
        .find(|it: char| !it.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..end].parse().context("an event's number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found() {
        let event = "data: {\"sequence_number\":7,\"made\":12345}\n\n";
        assert_eq!(field(event, "\"sequence_number\":").unwrap(), 7);
        assert_eq!(field(event, "\"made\":").unwrap(), 12345);
        assert!(field(event, "\"other\":").is_err());
    }
}
