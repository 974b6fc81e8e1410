// SPDX-License-Identifier: MIT OR Apache-2.0
//! A closed loop: each of n connections sends its next request as soon as it has its answer.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use serde::Serialize;

use super::{Connection, Request};
use crate::stats::{nanoseconds, quantile};

/// When nothing happens for so long, something is wrong.
const PATIENCE: Timespec = Timespec {
    tv_sec: 20,
    tv_nsec: 0,
};

/// What came out of one run of a loop. Requests may be messages.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Load {
    pub(crate) requests_per_second: f64,
    /// Milliseconds.
    pub(crate) p50_ms: f64,
    /// Milliseconds.
    pub(crate) p99_ms: f64,
}

/// Runs a loop for `duration`, on connections that `connect` opens, and that are used once, before the
/// clock starts.
pub(crate) fn closed_loop(
    connect: impl Fn() -> Result<Connection>,
    request: &Request,
    connections: usize,
    duration: Duration,
) -> Result<Load> {
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut connection = connect()?;
        connection.exchange(request)?;
        open.push(connection);
    }
    let begin = Instant::now();
    let mut latencies = if let [only] = open.as_mut_slice() {
        alone(only, request, begin + duration)?
    } else {
        together(&mut open, request, begin + duration)?
    };
    let elapsed = begin.elapsed();
    latencies.sort_unstable();
    // Nanoseconds in 32 bits: four seconds, and no run waits that long for one answer.
    let ms = |percent| quantile(&latencies, percent) / 1e6;
    let count = u32::try_from(latencies.len()).context("too many requests to count")?;
    Ok(Load {
        requests_per_second: f64::from(count) / elapsed.as_secs_f64(),
        p50_ms: ms(50),
        p99_ms: ms(99),
    })
}

/// One connection needs no epoll; without it, less of the latency is the client's own.
fn alone(connection: &mut Connection, request: &Request, end: Instant) -> Result<Vec<u32>> {
    let mut latencies = Vec::with_capacity(1 << 16);
    while Instant::now() < end {
        latencies.push(nanoseconds(connection.exchange(request)?.total));
    }
    Ok(latencies)
}

fn together(open: &mut [Connection], request: &Request, end: Instant) -> Result<Vec<u32>> {
    let epoll = epoll::create(CreateFlags::CLOEXEC).context("epoll_create")?;
    let mut begun = Vec::with_capacity(open.len());
    for (index, connection) in open.iter_mut().enumerate() {
        connection.set_nonblocking()?;
        let data = EventData::new_u64(u64::try_from(index).context("too many connections")?);
        epoll::add(&epoll, &*connection, data, EventFlags::IN).context("epoll_ctl")?;
        begun.push(Instant::now());
        connection.send(request)?;
    }

    let mut latencies = Vec::with_capacity(1 << 20);
    let mut events = Vec::with_capacity(open.len());
    let mut running = open.len();
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
            if !open[index].poll()? {
                continue;
            }
            let now = Instant::now();
            latencies.push(nanoseconds(now - begun[index]));
            if now < end {
                begun[index] = now;
                open[index].send(request)?;
            } else {
                running -= 1;
            }
        }
    }
    Ok(latencies)
}
