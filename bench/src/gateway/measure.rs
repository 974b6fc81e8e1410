// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is measured of one contestant in its turn.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::contestants::Entry;
use super::requests::{self, LARGE};
use crate::load::{Connection, Load, closed_loop};
use crate::process::{Processes, Server, own_cpu_time};
use crate::stats::quantile;

/// Streams whose first byte is timed in one round.
const STREAMS: usize = 100;

/// Large bodies each way in one round.
const TRANSFERS: usize = 8;

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
}

/// Shares of a core, and what one request cost the server.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Busy {
    /// The contestant, 0 to 1. Well below 1, it waited for the load and could have served more.
    pub(super) server: Option<f64>,
    /// Client and emulator together.
    pub(super) load: f64,
    /// Processor time of the contestant for one request, in microseconds.
    pub(super) server_us_per_request: Option<f64>,
}

/// Measures everything but memory.
pub(super) fn round(entry: &Entry, duration: Duration) -> Result<Round> {
    let small = requests::small(entry.credential);
    let one_connection = closed_loop(&entry.target, &small, 1, duration).context("1 connection")?;
    let (sixteen_connections, busy) = sixteen(entry, duration).context("16 connections")?;
    let (first_p50, first_p99) = stream_first_byte(entry).context("streams")?;
    Ok(Round {
        one_connection,
        sixteen_connections,
        busy,
        stream_first_byte_p50_ms: first_p50,
        stream_first_byte_p99_ms: first_p99,
        download_mib_per_second: transfer(entry, &requests::download(entry.credential), LARGE)
            .context("download")?,
        upload_mib_per_second: transfer(entry, &requests::upload(entry.credential), 0)
            .context("upload")?,
    })
}

fn sixteen(entry: &Entry, duration: Duration) -> Result<(Load, Busy)> {
    let server = entry.server.as_ref().map(Server::processes).transpose()?;
    let server_time = || server.as_ref().map(Processes::cpu_time).transpose();
    let (begin, server_before, own_before) = (Instant::now(), server_time()?, own_cpu_time()?);
    let load = closed_loop(
        &entry.target,
        &requests::small(entry.credential),
        16,
        duration,
    )?;
    let elapsed = begin.elapsed().as_secs_f64();
    let own = own_cpu_time()?.saturating_sub(own_before);
    let server = match (server_before, server_time()?) {
        (Some(before), Some(after)) => Some(after.saturating_sub(before).as_secs_f64()),
        _ => None,
    };
    let busy = Busy {
        server: server.map(|seconds| seconds / elapsed),
        load: own.as_secs_f64() / elapsed,
        server_us_per_request: server
            .map(|seconds| seconds * 1e6 / (load.requests_per_second * duration.as_secs_f64())),
    };
    Ok((load, busy))
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
fn transfer(entry: &Entry, request: &crate::load::Request, expected: usize) -> Result<f64> {
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

/// What so many open, silent streams cost.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Idle {
    pub(super) streams: u32,
    /// Memory before the first stream, in bytes.
    pub(super) pss_before: u64,
    pub(super) pss_after: u64,
    pub(super) rss_before: u64,
    pub(super) rss_after: u64,
    /// What one stream added, in bytes.
    pub(super) pss_per_stream: f64,
    pub(super) rss_per_stream: f64,
}

/// Opens streams, waits until each has had its first events, and looks at the server's memory.
pub(super) fn idle(entry: &Entry, streams: u32) -> Result<Option<Idle>> {
    let Some(server) = &entry.server else {
        return Ok(None);
    };
    let server = server.processes()?;
    let small = requests::small(entry.credential);
    // Whatever is allocated once, at the first request, is not a stream's.
    Connection::open(&entry.target)?.exchange(&small)?;
    let (pss_before, rss_before) = (server.pss()?, server.rss()?);
    let request = requests::idle(entry.credential);
    let mut open = Vec::new();
    for _ in 0..streams {
        let mut connection = Connection::open(&entry.target)?;
        connection.send(&request)?;
        open.push(connection);
    }
    for connection in &mut open {
        connection.wait_for_body(1)?;
    }
    let (pss_after, rss_after) = (server.pss()?, server.rss()?);
    let each = |before: u64, after: u64| {
        u32::try_from(after.saturating_sub(before))
            .map(|bytes| f64::from(bytes) / f64::from(streams))
    };
    Ok(Some(Idle {
        streams,
        pss_before,
        pss_after,
        rss_before,
        rss_after,
        pss_per_stream: each(pss_before, pss_after).context("more than 4 GiB")?,
        rss_per_stream: each(rss_before, rss_after).context("more than 4 GiB")?,
    }))
}
