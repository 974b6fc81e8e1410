// SPDX-License-Identifier: MIT OR Apache-2.0
//! keyward's DNS door next to dnsmasq and to unbound: answers to a name that each of them knows.
//!
//! Everything is on loopback in a fresh network namespace: the client on one core, servers on another. keyward is
//! measured as it comes, with the client as the workload of a `keyward run`.

mod contestants;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use self::contestants::{Contestant, Setup};
use crate::client::{Loop, Task};
use crate::cores::{self, Cores};
use crate::keyward::OwnCopy;
use crate::report::{Machine, Output};
use crate::stats::Summary;
use crate::table::{self, Row};
use crate::{namespace, process};

/// Queries under way at a time, when it is about how many are answered.
const OUTSTANDING: u16 = 64;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The keyward to measure
    #[arg(long, value_name = "FILE")]
    keyward: PathBuf,

    /// The dnsmasq to compare it with
    #[arg(long, value_name = "FILE", default_value = "/usr/sbin/dnsmasq")]
    dnsmasq: PathBuf,

    /// The unbound to compare it with
    #[arg(long, value_name = "FILE", default_value = "/usr/sbin/unbound")]
    unbound: PathBuf,

    /// Rounds after one that warms up; each contestant has its turn in each
    #[arg(long, value_name = "N", default_value_t = 7)]
    rounds: usize,

    /// Length of one measurement
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 500)]
    time: u64,

    #[command(flatten)]
    output: Output,
}

/// Everything that is written down.
#[derive(Debug, Serialize)]
struct Results {
    machine: Machine,
    rounds: usize,
    milliseconds: u64,
    contestants: Vec<Contested>,
}

/// One contestant's results.
#[derive(Debug, Serialize)]
struct Contested {
    name: &'static str,
    description: &'static str,
    rounds: Vec<Round>,
}

/// One turn of one contestant.
#[derive(Clone, Copy, Debug, Serialize)]
struct Round {
    one: Loop,
    many: Loop,
    /// Of the server, for a query, with many under way; microseconds.
    cpu_us: f64,
}

/// A quantity: its name, its digits after the point, and where it is in a round.
type Quantity = (&'static str, usize, fn(&Round) -> f64);

const ROWS: &[Quantity] = &[
    ("queries/s, 64 at a time", 0, |it| it.many.per_second),
    ("p50, 64 at a time, µs", 0, |it| it.many.p50_us),
    ("p99, 64 at a time, µs", 0, |it| it.many.p99_us),
    ("its CPU for a query, 64 at a time, µs", 1, |it| it.cpu_us),
    ("queries/s, 1 at a time", 0, |it| it.one.per_second),
    ("p50, 1 at a time, µs", 1, |it| it.one.p50_us),
    ("p99, 1 at a time, µs", 1, |it| it.one.p99_us),
];

pub(crate) fn run(args: &Args) -> Result<()> {
    namespace::enter()?;
    process::raise_descriptor_limit()?;
    let cores = Cores::choose()?;
    let scratch = tempfile::tempdir().context("a temporary directory")?;
    let copy = OwnCopy::make()?;
    let setup = Setup {
        args,
        cores,
        scratch: scratch.path(),
        client: copy.path()?,
    };
    cores::pin(cores.load)?;
    let mut contested = Vec::new();
    for contestant in Contestant::ALL {
        let entry = setup
            .start(contestant)
            .with_context(|| format!("starting {}", contestant.name()))?;
        contested.push((contestant, entry, Vec::new()));
    }
    for round in 0..=args.rounds {
        let count = contested.len();
        for turn in 0..count {
            let (contestant, entry, rounds) = &mut contested[(turn + round) % count];
            let mut ask = |outstanding| {
                let task = Task::Dns {
                    server: entry.address,
                    outstanding,
                    time: args.time,
                };
                let before = entry.processes.cpu_time()?;
                let asked = entry.client.ask(task);
                let answer: Loop =
                    asked.with_context(|| format!("round {round}, {}", contestant.name()))?;
                let used = entry.processes.cpu_time()?.saturating_sub(before);
                anyhow::Ok((answer, used))
            };
            let (one, _) = ask(1)?;
            let (many, used) = ask(OUTSTANDING)?;
            let queries = many.per_second * Duration::from_millis(args.time).as_secs_f64();
            let cpu_us = used.as_secs_f64() * 1e6 / queries;
            let measured = Round { one, many, cpu_us };
            // The first one warms up.
            if round > 0 {
                rounds.push(measured);
            }
        }
    }
    let contestants = contested
        .into_iter()
        .map(|(contestant, _, rounds)| Contested {
            name: contestant.name(),
            description: contestant.description(),
            rounds,
        })
        .collect();
    let results = Results {
        machine: Machine::read()?,
        rounds: args.rounds,
        milliseconds: args.time,
        contestants,
    };
    args.output.write(&results, &markdown(&results))
}

fn markdown(results: &Results) -> String {
    let contestants = &results.contestants;
    let names: Vec<&str> = contestants.iter().map(|it| it.name).collect();
    let ours: Vec<usize> = (0..names.len())
        .filter(|&at| names[at] == Contestant::Keyward.name())
        .collect();
    let row = |&(name, digits, of): &Quantity| {
        let cell = |it: &Contested| Some(Summary::new(it.rounds.iter().map(of).collect()));
        Row {
            name: name.to_owned(),
            digits,
            cells: contestants.iter().map(cell).collect(),
        }
    };
    let rows: Vec<Row> = ROWS.iter().map(row).collect();
    let mut text = table::markdown(&names, &ours, &rows);
    text.push('\n');
    for contested in contestants {
        text += &format!("- {}: {}\n", contested.name, contested.description);
    }
    text += &format!(
        "\nMedians of {} rounds (lowest–highest), {} ms a measurement, contestants in turn. Server on one core, client \
         on another. {}.\n",
        results.rounds, results.milliseconds, results.machine
    );
    text
}
