// SPDX-License-Identifier: MIT OR Apache-2.0
//! The results as Markdown.

use super::measure::{Many, Round};
use super::{Contested, Results, STREAMS_TIME, requests};
use crate::stats::Summary;
use crate::table::{self, Row};

/// A quantity: its name, its digits after the point, and where it is.
type Quantity<T> = (&'static str, usize, fn(&T) -> Option<f64>);

const ROWS: &[Quantity<Round>] = &[
    ("requests/s, 16 connections", 0, |it| {
        Some(it.sixteen_connections.requests_per_second)
    }),
    ("p50, 16 connections, ms", 3, |it| {
        Some(it.sixteen_connections.p50_ms)
    }),
    ("p99, 16 connections, ms", 3, |it| {
        Some(it.sixteen_connections.p99_ms)
    }),
    ("its CPU for a request, µs", 1, |it| {
        it.busy.server_us_per_request
    }),
    ("its core busy", 2, |it| it.busy.server),
    ("the load's core busy", 2, |it| Some(it.busy.load)),
    ("requests/s, 1 connection", 0, |it| {
        Some(it.one_connection.requests_per_second)
    }),
    ("p50, 1 connection, ms", 3, |it| {
        Some(it.one_connection.p50_ms)
    }),
    ("p99, 1 connection, ms", 3, |it| {
        Some(it.one_connection.p99_ms)
    }),
    ("a stream's first byte, p50, ms", 3, |it| {
        Some(it.stream_first_byte_p50_ms)
    }),
    ("a stream's first byte, p99, ms", 3, |it| {
        Some(it.stream_first_byte_p99_ms)
    }),
    ("10 MiB down, MiB/s", 0, |it| {
        Some(it.download_mib_per_second)
    }),
    ("10 MiB up, MiB/s", 0, |it| Some(it.upload_mib_per_second)),
    (
        "messages of 100 B there and back/s, 16 WebSockets",
        0,
        |it| Some(it.sixteen_websockets.requests_per_second),
    ),
    ("p50 of them, ms", 3, |it| {
        Some(it.sixteen_websockets.p50_ms)
    }),
    ("p99 of them, ms", 3, |it| {
        Some(it.sixteen_websockets.p99_ms)
    }),
    ("its CPU for one of them, µs", 1, |it| {
        it.busy_websockets.server_us_per_request
    }),
    ("p50, 1 WebSocket, ms", 3, |it| {
        Some(it.one_websocket.p50_ms)
    }),
    ("p99, 1 WebSocket, ms", 3, |it| {
        Some(it.one_websocket.p99_ms)
    }),
    (
        "messages of 64 kB, 16 WebSockets, MiB/s each way",
        0,
        |it| Some(it.messages_mib_per_second),
    ),
];

/// Quantities of which the difference to no gateway, in the same round, is what a gateway adds.
const ADDED: &[Quantity<Round>] = &[
    ("added p50, 1 connection, ms", 3, |it| {
        Some(it.one_connection.p50_ms)
    }),
    ("added p99, 1 connection, ms", 3, |it| {
        Some(it.one_connection.p99_ms)
    }),
    ("added to a stream's first byte, p50, ms", 3, |it| {
        Some(it.stream_first_byte_p50_ms)
    }),
    ("added to a stream's first byte, p99, ms", 3, |it| {
        Some(it.stream_first_byte_p99_ms)
    }),
    ("added p50, 1 WebSocket, ms", 3, |it| {
        Some(it.one_websocket.p50_ms)
    }),
    ("added p99, 1 WebSocket, ms", 3, |it| {
        Some(it.one_websocket.p99_ms)
    }),
];

/// What there is with many streams.
const STREAMS: &[Quantity<Many>] = &[
    ("an event's way, p50, ms", 3, |it| Some(it.p50_ms)),
    ("an event's way, p99, ms", 3, |it| Some(it.p99_ms)),
    ("its CPU for an event, µs", 1, |it| {
        it.busy.server_us_per_request
    }),
    ("its core busy", 2, |it| it.busy.server),
    ("the load's core busy", 2, |it| Some(it.busy.load)),
    ("memory for each (PSS), KiB", 1, |it| {
        Some(it.memory?.pss_per_stream / 1024.0)
    }),
    ("memory before (PSS), MiB", 1, |it| {
        let bytes = u32::try_from(it.memory?.pss_before).ok()?;
        Some(f64::from(bytes) / f64::from(1 << 20))
    }),
];

pub(super) fn markdown(results: &Results) -> String {
    let contestants = &results.contestants;
    let names: Vec<&str> = contestants.iter().map(|it| it.name).collect();
    let ours: Vec<usize> = (0..names.len())
        .filter(|&at| names[at].starts_with("keyward"))
        .collect();
    let mut rows = Vec::new();
    for &(name, digits, of) in ROWS {
        let cell = |it: &Contested| Some(Summary::new(all(it, of)?));
        rows.push(row(name, digits, contestants.iter().map(cell)));
    }
    let direct = contestants.iter().find(|it| it.name == "direct");
    for &(name, digits, of) in ADDED {
        let cell = |it: &Contested| {
            let without = all(direct.filter(|direct| direct.name != it.name)?, of)?;
            let added = all(it, of)?.into_iter().zip(without);
            Some(Summary::new(
                added.map(|(with, none)| with - none).collect(),
            ))
        };
        rows.push(row(name, digits, contestants.iter().map(cell)));
    }
    for &(name, digits, of) in STREAMS {
        let cell = |it: &Contested| Some(Summary::new(vec![of(&it.many_streams)?]));
        let name = format!("many streams: {name}");
        rows.push(row(&name, digits, contestants.iter().map(cell)));
    }
    let mut text = table::markdown(&names, &ours, &rows);
    text.push('\n');
    for contested in contestants {
        text += &format!(
            "- {}: {}; {} streams\n",
            contested.name, contested.description, contested.many_streams.streams
        );
    }
    text += &format!(
        "\nMedians of {} rounds (lowest–highest), {} s a measurement, contestants in turn. The streams were watched \
         once, for {} s, each with an event every {} s. Contestant on one core; load client and emulator together on \
         another. {}.\n",
        results.rounds,
        results.seconds,
        results.seconds * STREAMS_TIME,
        requests::PERIOD_MS / 1000,
        results.machine
    );
    text
}

/// Of every round; `None` if there is none of it.
fn all(contested: &Contested, of: fn(&Round) -> Option<f64>) -> Option<Vec<f64>> {
    contested.rounds.iter().map(of).collect()
}

fn row(name: &str, digits: usize, cells: impl Iterator<Item = Option<Summary>>) -> Row {
    Row {
        name: name.to_owned(),
        digits,
        cells: cells.collect(),
    }
}
