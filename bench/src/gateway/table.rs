// SPDX-License-Identifier: MIT OR Apache-2.0
//! The results as a Markdown table: a row a quantity, a column a contestant, medians over the
//! rounds.

use std::fmt::Write;

use super::measure::Round;
use super::{Contested, Results};
use crate::stats::Summary;

/// A quantity: its name, its digits after the point, and where it is in a round.
type Row = (&'static str, usize, fn(&Round) -> f64);

const ROWS: &[Row] = &[
    ("requests/s, 16 connections", 0, |it| {
        it.sixteen_connections.requests_per_second
    }),
    ("p50, 16 connections, ms", 3, |it| {
        it.sixteen_connections.p50_ms
    }),
    ("p99, 16 connections, ms", 3, |it| {
        it.sixteen_connections.p99_ms
    }),
    ("server's CPU per request, µs", 1, |it| {
        it.busy.server_us_per_request.unwrap_or(f64::NAN)
    }),
    ("server's core busy", 2, |it| {
        it.busy.server.unwrap_or(f64::NAN)
    }),
    ("load's core busy", 2, |it| it.busy.load),
    ("requests/s, 1 connection", 0, |it| {
        it.one_connection.requests_per_second
    }),
    ("p50, 1 connection, ms", 3, |it| it.one_connection.p50_ms),
    ("p99, 1 connection, ms", 3, |it| it.one_connection.p99_ms),
    ("stream's first byte, p50, ms", 3, |it| {
        it.stream_first_byte_p50_ms
    }),
    ("stream's first byte, p99, ms", 3, |it| {
        it.stream_first_byte_p99_ms
    }),
    ("10 MiB down, MiB/s", 0, |it| it.download_mib_per_second),
    ("10 MiB up, MiB/s", 0, |it| it.upload_mib_per_second),
];

/// Quantities of which the difference to no gateway is what a gateway adds.
const ADDED: &[Row] = &[
    ("added p50, 1 connection, ms", 3, |it| {
        it.one_connection.p50_ms
    }),
    ("added p99, 1 connection, ms", 3, |it| {
        it.one_connection.p99_ms
    }),
    ("added to a stream's first byte, p50, ms", 3, |it| {
        it.stream_first_byte_p50_ms
    }),
];

pub(super) fn markdown(results: &Results) -> String {
    let mut table = Table {
        text: String::new(),
        results,
    };
    table.header();
    for &(name, digits, of) in ROWS {
        table.row(name, digits, |contested| Some(median(contested, of)));
    }
    for &(name, digits, of) in ADDED {
        let direct = results.contestants.iter().find(|it| it.name == "direct");
        table.row(name, digits, |contested| {
            let direct = direct.filter(|direct| direct.name != contested.name)?;
            Some(median(contested, of) - median(direct, of))
        });
    }
    table.row("memory per idle stream (PSS), KiB", 1, |contested| {
        Some(contested.idle_streams?.pss_per_stream / 1024.0)
    });
    table.row("memory before (PSS), MiB", 1, |contested| {
        let bytes = u32::try_from(contested.idle_streams?.pss_before).ok()?;
        Some(f64::from(bytes) / f64::from(1 << 20))
    });
    table.footer();
    table.text
}

fn median(contested: &Contested, of: fn(&Round) -> f64) -> f64 {
    Summary::new(contested.rounds.iter().map(of).collect()).median
}

struct Table<'a> {
    text: String,
    results: &'a Results,
}

impl Table<'_> {
    fn header(&mut self) {
        let mut names = String::new();
        let mut rules = String::new();
        for contested in &self.results.contestants {
            names += &format!(" {} |", contested.name);
            rules += "---:|";
        }
        self.line(&format!("| |{names} keyward ÷ nginx |"));
        self.line(&format!("|---|{rules}---:|"));
    }

    fn row(&mut self, name: &str, digits: usize, of: impl Fn(&Contested) -> Option<f64>) {
        let value = |contested| of(contested).filter(|value| value.is_finite());
        let mut cells = String::new();
        for contested in &self.results.contestants {
            let cell = value(contested).map(|value| format!("{value:.digits$}"));
            cells += &format!(" {} |", cell.unwrap_or_default());
        }
        let named = |name| self.results.contestants.iter().find(|it| it.name == name);
        let ratio = match (
            named("keyward").and_then(value),
            named("nginx").and_then(value),
        ) {
            (Some(keyward), Some(nginx)) if nginx > 0.0 => format!("{:.2}", keyward / nginx),
            _ => String::new(),
        };
        self.line(&format!("| {name} |{cells} {ratio} |"));
    }

    fn footer(&mut self) {
        let Results {
            machine,
            rounds,
            seconds,
            contestants,
        } = self.results;
        self.line("");
        for contested in contestants {
            self.line(&format!("- {}: {}", contested.name, contested.description));
        }
        self.line("");
        self.line(&format!(
            "Medians of {rounds} rounds, {seconds} s a measurement, contestants in turn. Contestant \
             on one core; load client and emulator together on another. {machine}."
        ));
    }

    fn line(&mut self, line: &str) {
        // Writing to a string does not fail.
        writeln!(self.text, "{line}").ok();
    }
}
