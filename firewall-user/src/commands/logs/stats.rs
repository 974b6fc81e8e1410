// SPDX-License-Identifier: GPL-3.0-or-later
//! `keyward logs stats`: numbers by host.

use std::io::Write;

use anyhow::Result;

use super::digest::{self, Digest};
use crate::cli::{StatsArgs, TableFormat};
use crate::commands::table::{Align, Table};
use crate::reading::units::{bytes, counted, milliseconds};
use crate::reading::{HostTally, Requests, Shown, Tally, find};

/// Prints the numbers.
pub(super) fn run(args: &StatsArgs, out: &mut impl Write) -> Result<()> {
    let log = find(&args.run.place.log_dir, &args.run.run)?;
    let (tally, requests) = digest::read(&log)?;
    match args.format {
        TableFormat::Json => writeln!(out, "{}", Digest::new(&log.id, &tally, &requests).json()?)?,
        TableFormat::Pretty => out.write_all(text(&tally, &requests).as_bytes())?,
    }
    Ok(())
}

/// The numbers as tables.
pub(super) fn text(tally: &Tally, requests: &Requests) -> String {
    let mut parts = vec![hosts(tally)];
    if !tally.things.is_empty() {
        parts.push(things(tally));
    }
    if requests.count > 0 {
        parts.push(gateway(requests));
    }
    if tally.beyond > 0 {
        let beyond = counted(tally.beyond, "decision");
        parts.push(format!(
            "and {beyond} at more hosts than are told apart here\n"
        ));
    }
    parts.join("\n")
}

fn hosts(tally: &Tally) -> String {
    let mut table = Table::new(&[
        ("HOST", Align::Left),
        ("PORTS", Align::Left),
        ("ALLOWED", Align::Right),
        ("DENIED", Align::Right),
        ("FAILED", Align::Right),
        ("UP", Align::Right),
        ("DOWN", Align::Right),
        ("P50", Align::Right),
        ("P99", Align::Right),
    ]);
    for (name, host) in by_use(tally) {
        let ports: Vec<_> = host.ports.iter().map(u16::to_string).collect();
        let audited = host.audited.answered_attempts();
        let denied = match audited {
            0 => host.denied.attempts().to_string(),
            // They went through, so they are counted as allowed, too.
            would_be => format!("({would_be})"),
        };
        table.add(vec![
            Shown(name).to_string(),
            ports.join(","),
            host.allowed.to_string(),
            denied,
            host.failed.attempts().to_string(),
            bytes(host.bytes_up),
            bytes(host.bytes_down),
            span(host.spans.percentile(50)),
            span(host.spans.percentile(99)),
        ]);
    }
    table.text()
}

/// The hosts, those with the most traffic first.
pub(super) fn by_use(tally: &Tally) -> Vec<(&str, &HostTally)> {
    let mut hosts: Vec<_> = tally
        .hosts
        .iter()
        .map(|(name, host)| (name.as_str(), host))
        .collect();
    hosts.sort_by_key(|(name, host)| {
        let moved = host.bytes_up.saturating_add(host.bytes_down);
        (std::cmp::Reverse((moved, host.allowed)), *name)
    });
    hosts
}

fn things(tally: &Tally) -> String {
    let mut table = Table::new(&[
        ("DENIED", Align::Right),
        ("WHAT", Align::Left),
        ("REASON", Align::Left),
    ]);
    for (thing, tally) in tally.worst_things() {
        table.add(vec![
            tally.count.to_string(),
            Shown(&thing.what()).to_string(),
            Shown(&thing.reason).to_string(),
        ]);
    }
    table.text()
}

fn gateway(requests: &Requests) -> String {
    let mut table = Table::new(&[
        ("GATEWAY", Align::Left),
        ("MODEL", Align::Left),
        ("REQUESTS", Align::Right),
        ("DENIED", Align::Right),
        ("FAILED", Align::Right),
        ("UP", Align::Right),
        ("DOWN", Align::Right),
        ("P50", Align::Right),
        ("P99", Align::Right),
    ]);
    for ((provider, model), tally) in &requests.by_model {
        table.add(vec![
            Shown(provider).to_string(),
            if model.is_empty() {
                "-".to_owned()
            } else {
                Shown(model).to_string()
            },
            tally.count.to_string(),
            tally.denied.to_string(),
            tally.failed.to_string(),
            bytes(tally.request_bytes),
            bytes(tally.response_bytes),
            span(tally.spans.percentile(50)),
            span(tally.spans.percentile(99)),
        ]);
    }
    table.text()
}

pub(super) fn span(milliseconds_or_none: Option<f64>) -> String {
    milliseconds_or_none.map_or_else(|| "-".to_owned(), milliseconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::logs::sample;

    #[test]
    fn numbers_by_host() {
        let (tally, requests) = sample();
        insta::assert_snapshot!(text(&tally, &requests));
    }

    #[test]
    fn the_document_is_json_with_everything_in_it() {
        let (tally, requests) = sample();
        let text = Digest::new("a1b2c3d4e5f6", &tally, &requests)
            .json()
            .unwrap();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        insta::assert_snapshot!(serde_json::to_string_pretty(&document).unwrap());
        assert!(!text.contains(char::is_control));
    }
}
