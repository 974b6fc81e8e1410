// SPDX-License-Identifier: MIT OR Apache-2.0
//! Connections a second, and how long one takes until the first byte has come back.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;

use super::route::{Answer, Place};
use super::{Loop, Route};
use crate::origin;
use crate::stats::{nanoseconds, quantile};

/// When nothing happens for so long, something is wrong.
const PATIENCE: Timespec = Timespec {
    tv_sec: 20,
    tv_nsec: 0,
};

pub(super) fn run(route: &mut Route, clients: usize, time: Duration) -> Result<Loop> {
    let place = route.to(origin::PORT)?;
    // Once, for whatever is made only once.
    once(&place)?;
    let begin = Instant::now();
    let end = begin + time;
    let latencies = if clients == 1 {
        alone(&place, end)?
    } else {
        together(&place, clients, end)?
    };
    summary(latencies, begin.elapsed())
}

/// What a loop's latencies, in nanoseconds, come to.
pub(super) fn summary(mut latencies: Vec<u32>, elapsed: Duration) -> Result<Loop> {
    latencies.sort_unstable();
    let count = u32::try_from(latencies.len()).context("too many to count")?;
    Ok(Loop {
        per_second: f64::from(count) / elapsed.as_secs_f64(),
        p50_us: quantile(&latencies, 50) / 1e3,
        p99_us: quantile(&latencies, 99) / 1e3,
    })
}

/// One client needs no epoll; without it, less of the latency is its own.
fn alone(place: &Place, end: Instant) -> Result<Vec<u32>> {
    let mut latencies = Vec::with_capacity(1 << 16);
    while Instant::now() < end {
        latencies.push(nanoseconds(once(place)?));
    }
    Ok(latencies)
}

/// From before `connect()` until the byte that came back.
fn once(place: &Place) -> Result<Duration> {
    let begin = Instant::now();
    let mut stream = place.open()?;
    stream.write_all(&[origin::ECHO]).context("sending")?;
    stream.read_exact(&mut [0]).context("reading")?;
    Ok(begin.elapsed())
}

/// One client's connection.
#[derive(Debug)]
struct Attempt {
    stream: TcpStream,
    /// What is still to come before the origin is there.
    answer: Option<Answer>,
    begun: Instant,
}

fn together(place: &Place, clients: usize, end: Instant) -> Result<Vec<u32>> {
    let epoll = epoll::create(CreateFlags::CLOEXEC).context("epoll_create")?;
    let mut open = Vec::with_capacity(clients);
    for index in 0..clients {
        open.push(Attempt::begin(place, &epoll, index)?);
    }
    let mut latencies = Vec::with_capacity(1 << 18);
    let mut events = Vec::with_capacity(clients);
    let mut running = clients;
    while running > 0 {
        events.clear();
        epoll::wait(&epoll, spare_capacity(&mut events), Some(&PATIENCE)).context("epoll_wait")?;
        if events.is_empty() {
            bail!(
                "{running} connections have had no answer for {} s",
                PATIENCE.tv_sec
            );
        }
        for event in &events {
            let index = usize::try_from(event.data.u64()).context("epoll data")?;
            if !open[index].go_on()? {
                continue;
            }
            let now = Instant::now();
            latencies.push(nanoseconds(now - open[index].begun));
            if now < end {
                open[index] = Attempt::begin(place, &epoll, index)?;
            } else {
                // There may be a hang-up to come, of which epoll would tell.
                epoll::delete(&epoll, &open[index].stream).context("epoll_ctl")?;
                running -= 1;
            }
        }
    }
    Ok(latencies)
}

impl Attempt {
    fn begin(place: &Place, epoll: &OwnedFd, index: usize) -> Result<Self> {
        let begun = Instant::now();
        // On loopback the handshake is over when connect() returns: it may as well block.
        let (mut stream, answer) = place.connect()?;
        if answer.is_none() {
            stream.write_all(&[origin::ECHO]).context("sending")?;
        }
        stream.set_nonblocking(true).context("O_NONBLOCK")?;
        let data = EventData::new_u64(u64::try_from(index).context("too many clients")?);
        epoll::add(epoll, &stream, data, EventFlags::IN).context("epoll_ctl")?;
        Ok(Self {
            stream,
            answer,
            begun,
        })
    }

    /// Does what can be done now. `true`: the byte came back.
    fn go_on(&mut self) -> Result<bool> {
        if let Some(answer) = &mut self.answer {
            if !answer.read(&mut self.stream)? {
                return Ok(false);
            }
            self.answer = None;
            self.stream.write_all(&[origin::ECHO]).context("sending")?;
        }
        match self.stream.read(&mut [0]) {
            Ok(0) => bail!("hung up before the first byte"),
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error).context("reading"),
        }
    }
}
