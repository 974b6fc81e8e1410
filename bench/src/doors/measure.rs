// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is measured of one contestant in its turn.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::contestants::Entry;
use crate::client::{Direction, Loop, Rate, Task};
use crate::process::Processes;

/// Streams, and clients, at a time where there are several.
const STREAMS: usize = 8;
const CLIENTS: usize = 32;
const TLS_CLIENTS: usize = 8;

/// A quantity: its name, its digits after the point, and where it is in a round.
type Quantity = (&'static str, usize, fn(&Round) -> Option<f64>);

/// In the order of the table.
pub(super) const ROWS: &[Quantity] = &[
    ("down, 1 stream, MiB/s", 0, |it| Some(it.down_one)),
    ("down, 8 streams, MiB/s", 0, |it| Some(it.down_many)),
    ("up, 1 stream, MiB/s", 0, |it| Some(it.up_one)),
    ("up, 8 streams, MiB/s", 0, |it| Some(it.up_many)),
    ("its core busy, 8 streams down", 2, |it| it.busy_down),
    ("its CPU for a GiB, 8 streams down, ms", 0, |it| {
        Some(it.busy_down? / it.down_many * 1024.0 * 1e3)
    }),
    ("its CPU for a GiB, 8 streams up, ms", 0, |it| {
        Some(it.busy_up? / it.up_many * 1024.0 * 1e3)
    }),
    ("connections/s, 1 client", 0, |it| {
        Some(it.connections_one.per_second)
    }),
    ("connections/s, 32 clients", 0, |it| {
        Some(it.connections_many.per_second)
    }),
    ("its core busy, 32 clients", 2, |it| it.busy_connections),
    ("its CPU for a connection, 32 clients, µs", 0, |it| {
        Some(it.busy_connections? / it.connections_many.per_second * 1e6)
    }),
    ("TLS connections/s, 8 clients", 0, |it| Some(it.handshakes)),
    ("first byte, p50, µs", 0, |it| {
        Some(it.connections_one.p50_us)
    }),
    ("first byte, p99, µs", 0, |it| {
        Some(it.connections_one.p99_us)
    }),
];

/// One turn of one contestant. Throughput is in MiB a second.
#[derive(Debug, Serialize)]
pub(super) struct Round {
    down_one: f64,
    down_many: f64,
    up_one: f64,
    up_many: f64,
    /// The share of its core that what is in between used, with many streams.
    busy_down: Option<f64>,
    busy_up: Option<f64>,
    connections_one: Loop,
    connections_many: Loop,
    /// The same with many clients.
    busy_connections: Option<f64>,
    handshakes: f64,
}

/// Measures everything but memory.
pub(super) fn round(entry: &mut Entry, time: Duration) -> Result<Round> {
    let time = u64::try_from(time.as_millis()).context("a long time")?;
    let mut bulk = |direction, streams| {
        let task = Task::Bulk {
            direction,
            streams,
            time,
        };
        let (Rate { per_second }, busy) = watched(entry, task)?;
        anyhow::Ok((per_second, busy))
    };
    let (down_one, _) = bulk(Direction::Down, 1)?;
    let (down_many, busy_down) = bulk(Direction::Down, STREAMS)?;
    let (up_one, _) = bulk(Direction::Up, 1)?;
    let (up_many, busy_up) = bulk(Direction::Up, STREAMS)?;
    let connections_one = entry.client.ask(Task::Connections { clients: 1, time })?;
    let clients = CLIENTS;
    let (connections_many, busy_connections) = watched(entry, Task::Connections { clients, time })?;
    let clients = TLS_CLIENTS;
    let Rate {
        per_second: handshakes,
    } = entry.client.ask(Task::Handshakes { clients, time })?;
    Ok(Round {
        down_one,
        down_many,
        up_one,
        up_many,
        busy_down,
        busy_up,
        connections_one,
        connections_many,
        busy_connections,
        handshakes,
    })
}

/// Has something done, and says what share of its core the contestant used meanwhile.
fn watched<A: DeserializeOwned>(entry: &mut Entry, task: Task) -> Result<(A, Option<f64>)> {
    let cpu_time = |it: &Option<Processes>| it.as_ref().map(Processes::cpu_time).transpose();
    let (begin, before) = (Instant::now(), cpu_time(&entry.processes)?);
    let answer = entry.client.ask(task)?;
    let elapsed = begin.elapsed().as_secs_f64();
    let busy = before
        .zip(cpu_time(&entry.processes)?)
        .map(|(before, after)| after.saturating_sub(before).as_secs_f64() / elapsed);
    Ok((answer, busy))
}

/// What so many open, silent tunnels cost. Memory in bytes.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Idle {
    pub(super) tunnels: usize,
    before: Cost,
    after: Cost,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Cost {
    pss: u64,
    rss: u64,
    descriptors: usize,
}

impl Cost {
    fn of(processes: &Processes) -> Result<Self> {
        Ok(Self {
            pss: processes.pss()?,
            rss: processes.rss()?,
            descriptors: processes.descriptors()?,
        })
    }
}

impl Idle {
    pub(super) fn pss_added(&self) -> f64 {
        number(self.after.pss.saturating_sub(self.before.pss))
    }

    pub(super) fn rss_mib(&self) -> f64 {
        number(self.after.rss) / f64::from(1 << 20)
    }

    pub(super) fn descriptors_added(&self) -> f64 {
        let added = self
            .after
            .descriptors
            .saturating_sub(self.before.descriptors);
        number(u64::try_from(added).unwrap_or(u64::MAX))
    }
}

/// Less than 4 GiB, or something is very wrong.
fn number(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::NAN, f64::from)
}

/// Opens tunnels, and looks at what they cost the contestant.
pub(super) fn idle(entry: &mut Entry, tunnels: usize) -> Result<Option<Idle>> {
    let Some(processes) = entry.processes.clone() else {
        return Ok(None);
    };
    // Whatever is made once, for the first tunnel, is not a tunnel's.
    entry.client.ask::<()>(Task::Hold { connections: 1 })?;
    let before = Cost::of(&processes)?;
    entry.client.ask::<()>(Task::Hold {
        connections: tunnels,
    })?;
    let after = Cost::of(&processes)?;
    entry.client.ask::<()>(Task::Release)?;
    Ok(Some(Idle {
        tunnels,
        before,
        after,
    }))
}
