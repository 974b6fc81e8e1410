// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is measured of one contestant in its turn.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::contestants::Entry;
use super::requests::{self, LARGE};
use crate::load::{Arrivals, Connection, Load, Request, Streams, closed_loop};
use crate::process::{Processes, Server, own_cpu_time};
use crate::stats::quantile;

/// Streams whose first byte is timed in one round.
const STREAMS: usize = 100;

/// Large bodies each way in one round.
const TRANSFERS: usize = 8;

/// Tunnels with messages in them.
const TUNNELS: usize = 16;

/// Bytes of a small message, and of a large one.
const SMALL_MESSAGE: u16 = 100;
const LARGE_MESSAGE: u16 = 64_000;

/// One turn of one contestant.
#[derive(Debug, Serialize)]
pub(super) struct Round {
    pub(super) one_connection: Load,
    pub(super) sixteen_connections: Load,
    /// How the cores were used while sixteen connections were busy.
    pub(super) busy: Busy,
    /// From the request to the first byte of the event stream; milliseconds.
    pub(super) stream_first_byte_p50_ms: f64,
    pub(super) stream_first_byte_p99_ms: f64,
    /// One body of 10 MiB after the other on one connection; MiB a second, the median.
    pub(super) download_mib_per_second: f64,
    pub(super) upload_mib_per_second: f64,
    /// A message of 100 bytes there and back, on one WebSocket and on sixteen.
    pub(super) one_websocket: Load,
    pub(super) sixteen_websockets: Load,
    pub(super) busy_websockets: Busy,
    /// Messages of 64,000 bytes there and back on sixteen WebSockets; MiB a second each way.
    pub(super) messages_mib_per_second: f64,
}

/// Shares of a core, and what one request cost the server.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Busy {
    /// The contestant, 0 to 1. Well below 1, it waited for the load and could have served more.
    pub(super) server: Option<f64>,
    /// Client and emulator together.
    pub(super) load: f64,
    /// Processor time of the contestant for one request, or one event, in microseconds.
    pub(super) server_us_per_request: Option<f64>,
}

/// Measures what one round has.
pub(super) fn round(entry: &Entry, duration: Duration) -> Result<Round> {
    let small = requests::small(entry.credential);
    let connect = || Connection::open(&entry.target);
    let one_connection = closed_loop(connect, &small, 1, duration).context("1 connection")?;
    let sixteen = || closed_loop(connect, &small, 16, duration);
    let (sixteen_connections, busy) =
        watched(entry, duration, sixteen).context("16 connections")?;
    let (first_p50, first_p99) = stream_first_byte(entry).context("streams")?;
    let download = requests::download(entry.credential);
    let download_mib_per_second = transfer(entry, &download, LARGE).context("download")?;
    let upload = requests::upload(entry.credential);
    let upload_mib_per_second = transfer(entry, &upload, 0).context("upload")?;

    let connect = || requests::websocket(&entry.target, entry.credential);
    let message = Request::message(SMALL_MESSAGE);
    let one_websocket = closed_loop(connect, &message, 1, duration).context("1 WebSocket")?;
    let sixteen = || closed_loop(connect, &message, TUNNELS, duration);
    let (sixteen_websockets, busy_websockets) =
        watched(entry, duration, sixteen).context("16 WebSockets")?;
    let message = Request::message(LARGE_MESSAGE);
    let messages = closed_loop(connect, &message, TUNNELS, duration).context("large messages")?;
    let mib = f64::from(LARGE_MESSAGE) / f64::from(1 << 20);
    Ok(Round {
        one_connection,
        sixteen_connections,
        busy,
        stream_first_byte_p50_ms: first_p50,
        stream_first_byte_p99_ms: first_p99,
        download_mib_per_second,
        upload_mib_per_second,
        one_websocket,
        sixteen_websockets,
        busy_websockets,
        messages_mib_per_second: messages.requests_per_second * mib,
    })
}

/// Runs a loop of `duration`, and says how the cores were used meanwhile.
fn watched(
    entry: &Entry,
    duration: Duration,
    act: impl FnOnce() -> Result<Load>,
) -> Result<(Load, Busy)> {
    let clock = Clock::start(entry)?;
    let load = act()?;
    let busy = clock.stop(load.requests_per_second * duration.as_secs_f64())?;
    Ok((load, busy))
}

/// Processor time from one moment to another.
struct Clock {
    begin: Instant,
    server: Option<Processes>,
    server_before: Option<Duration>,
    own_before: Duration,
}

impl Clock {
    fn start(entry: &Entry) -> Result<Self> {
        let server = entry.server.as_ref().map(Server::processes).transpose()?;
        let server_before = server.as_ref().map(Processes::cpu_time).transpose()?;
        Ok(Self {
            begin: Instant::now(),
            server,
            server_before,
            own_before: own_cpu_time()?,
        })
    }

    /// What was used for so many requests.
    fn stop(self, requests: f64) -> Result<Busy> {
        let elapsed = self.begin.elapsed().as_secs_f64();
        let own = own_cpu_time()?.saturating_sub(self.own_before);
        let after = self.server.as_ref().map(Processes::cpu_time).transpose()?;
        let server = self
            .server_before
            .zip(after)
            .map(|(before, after)| after.saturating_sub(before).as_secs_f64());
        Ok(Busy {
            server: server.map(|seconds| seconds / elapsed),
            load: own.as_secs_f64() / elapsed,
            server_us_per_request: server.map(|seconds| seconds * 1e6 / requests),
        })
    }
}

/// The median and the 99th percentile, in milliseconds.
fn stream_first_byte(entry: &Entry) -> Result<(f64, f64)> {
    let request = requests::stream(entry.credential);
    let mut connection = Connection::open(&entry.target)?;
    connection.exchange(&request)?;
    let mut times = Vec::with_capacity(STREAMS);
    for _ in 0..STREAMS {
        let timing = connection.exchange(&request)?;
        if timing.first_byte + Duration::from_millis(1) > timing.total {
            bail!("the stream came in one piece: somebody in between collects it");
        }
        times.push(timing.first_byte.as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok((quantile(&times, 50), quantile(&times, 99)))
}

/// MiB a second; `expected` is what the answer's body must have, at least.
fn transfer(entry: &Entry, request: &Request, expected: usize) -> Result<f64> {
    let mut connection = Connection::open(&entry.target)?;
    connection.exchange(request)?;
    let mut times = Vec::with_capacity(TRANSFERS);
    for _ in 0..TRANSFERS {
        let timing = connection.exchange(request)?;
        if usize::try_from(connection.body()).is_ok_and(|body| body < expected) {
            bail!("only {} bytes came back", connection.body());
        }
        times.push(timing.total.as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let mib = f64::from(u32::try_from(LARGE >> 20).context("size")?);
    Ok(mib / quantile(&times, 50))
}

/// What so many event streams at once cost, and how fast their events pass.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Many {
    pub(super) streams: u32,
    /// Of all of them together.
    pub(super) events_per_second: f64,
    /// From the making of an event at the emulator to its arrival at the client; milliseconds.
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) busy: Busy,
    pub(super) memory: Option<Memory>,
}

/// Of a server, in bytes.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Memory {
    /// Before the first stream.
    pub(super) pss_before: u64,
    pub(super) pss_after: u64,
    pub(super) rss_before: u64,
    pub(super) rss_after: u64,
    /// What one stream added.
    pub(super) pss_per_stream: f64,
    pub(super) rss_per_stream: f64,
}

/// Opens streams, lets their events come for `duration`, and looks at the server's memory behind that. Every event is
/// waited for: one that is missing is an error.
pub(super) fn many(entry: &Entry, streams: u32, duration: Duration) -> Result<Many> {
    let server = entry.server.as_ref().map(Server::processes).transpose()?;
    let memory = || {
        let of = |it: &Processes| anyhow::Ok((it.pss()?, it.rss()?));
        server.as_ref().map(of).transpose()
    };
    // Whatever is allocated once, at the first request, is not a stream's.
    let small = requests::small(entry.credential);
    Connection::open(&entry.target)?.exchange(&small)?;
    let before = memory()?;
    let request = requests::ticking(entry.credential);
    let count = usize::try_from(streams).context("too many streams")?;
    let mut open = Streams::open(&entry.target, &request, count)?;
    // What came while the others were being opened waited for us.
    open.read(Duration::from_secs(2))?;
    let clock = Clock::start(entry)?;
    let mut arrivals: Arrivals = open.read(duration)?;
    let events = f64::from(u32::try_from(arrivals.len()).context("too many events")?);
    let busy = clock.stop(events)?;
    let after = memory()?;
    arrivals.sort_unstable();
    let ms = |percent| quantile(&arrivals, percent) / 1e6;
    let each = |before: u64, after: u64| {
        u32::try_from(after.saturating_sub(before))
            .map(|bytes| f64::from(bytes) / f64::from(streams))
            .context("more than 4 GiB")
    };
    let memory = match before.zip(after) {
        None => None,
        Some(((pss_before, rss_before), (pss_after, rss_after))) => Some(Memory {
            pss_before,
            pss_after,
            rss_before,
            rss_after,
            pss_per_stream: each(pss_before, pss_after)?,
            rss_per_stream: each(rss_before, rss_after)?,
        }),
    };
    Ok(Many {
        streams,
        events_per_second: events / duration.as_secs_f64(),
        p50_ms: ms(50),
        p99_ms: ms(99),
        busy,
        memory,
    })
}
