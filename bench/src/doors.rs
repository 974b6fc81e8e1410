// SPDX-License-Identifier: MIT OR Apache-2.0
//! keyward's doors next to HAProxy in TCP mode, to Squid's CONNECT, and to no proxy at all.
//!
//! Everything is on loopback in a fresh network namespace: an origin, and for each contestant a client and what is in
//! between, on a core that origin and clients do not use. keyward is measured as it comes: the client is the workload of
//! a `keyward run`, names are asked of its DNS, connections are redirected by its eBPF programs. Contestants take turns;
//! each round starts with another one, so that a machine that grows slower is unfair to none.

mod contestants;
mod measure;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use self::contestants::{Contestant, Setup};
use self::measure::{Idle, ROWS, Round};
use crate::cores::{self, Cores};
use crate::keyward::OwnCopy;
use crate::report::{Machine, Output};
use crate::stats::Summary;
use crate::table::{self, Row};
use crate::{namespace, origin, process};

/// Descriptors that a proxy may need for other things than tunnels.
const SPARE: u64 = 1000;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The keyward to measure
    #[arg(long, value_name = "FILE")]
    keyward: PathBuf,

    /// The HAProxy to compare it with
    #[arg(long, value_name = "FILE", default_value = "/usr/sbin/haproxy")]
    haproxy: PathBuf,

    /// The Squid to compare it with
    #[arg(long, value_name = "FILE", default_value = "/usr/sbin/squid")]
    squid: PathBuf,

    /// Rounds after one that warms up; each contestant has its turn in each
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,

    /// Length of one measurement
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 300)]
    time: u64,

    /// Idle tunnels to hold open for the memory measurement; fewer where there are not descriptors for so many
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    tunnels: usize,

    /// Leave a contestant out: direct, haproxy, squid, transparent or explicit
    #[arg(long, value_name = "NAME")]
    without: Vec<String>,

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
    idle_tunnels: Option<Idle>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    namespace::enter()?;
    namespace::add_address(origin::ADDRESS)?;
    namespace::free_ports()?;
    let descriptors = process::raise_descriptor_limit()?;
    let tunnels = usize::try_from(descriptors.saturating_sub(SPARE) / 2)
        .map_or(args.tunnels, |most| most.min(args.tunnels));
    let cores = Cores::choose()?;
    let scratch = tempfile::tempdir().context("a temporary directory")?;
    let copy = OwnCopy::make()?;
    let setup = Setup {
        args,
        cores,
        descriptors,
        scratch: scratch.path(),
        client: copy.path()?,
        certificate: cores::on(cores.load, origin::start)?,
    };
    cores::pin(cores.load)?;

    let mut contested = Vec::new();
    for contestant in Contestant::ALL {
        if !args.without.iter().any(|name| name == contestant.name()) {
            let entry = setup
                .start(contestant)
                .with_context(|| format!("starting {}", contestant.name()))?;
            contested.push((contestant, entry, Vec::new()));
        }
    }
    let time = Duration::from_millis(args.time);
    for round in 0..=args.rounds {
        let count = contested.len();
        for turn in 0..count {
            let (contestant, entry, rounds) = &mut contested[(turn + round) % count];
            let measured = measure::round(entry, time)
                .with_context(|| format!("round {round}, {}", contestant.name()))?;
            // The first one warms up.
            if round > 0 {
                rounds.push(measured);
            }
        }
    }
    let mut results = Vec::new();
    for (contestant, entry, rounds) in contested {
        // A fresh one: what it kept from the load would hide what a tunnel costs.
        drop(entry);
        let mut entry = setup.start(contestant)?;
        let idle_tunnels = measure::idle(&mut entry, tunnels)
            .with_context(|| format!("idle tunnels, {}", contestant.name()))?;
        results.push(Contested {
            name: contestant.name(),
            description: contestant.description(),
            rounds,
            idle_tunnels,
        });
    }
    let results = Results {
        machine: Machine::read()?,
        rounds: args.rounds,
        milliseconds: args.time,
        contestants: results,
    };
    args.output.write(&results, &markdown(&results))
}

fn markdown(results: &Results) -> String {
    let contestants = &results.contestants;
    let names: Vec<&str> = contestants.iter().map(|it| it.name).collect();
    let ours: Vec<usize> = (0..names.len())
        .filter(|&at| ["transparent", "explicit"].contains(&names[at]))
        .collect();
    let rounds = |of: fn(&Round) -> Option<f64>| {
        let cell = |it: &Contested| {
            let samples: Option<Vec<f64>> = it.rounds.iter().map(of).collect();
            samples.map(Summary::new)
        };
        contestants.iter().map(cell).collect()
    };
    let idle = |of: &dyn Fn(&Idle) -> f64| {
        let cell = |it: &Contested| Some(Summary::new(vec![of(it.idle_tunnels.as_ref()?)]));
        contestants.iter().map(cell).collect()
    };
    let mut rows: Vec<Row> = ROWS
        .iter()
        .map(|&(name, digits, of)| Row {
            name: name.to_owned(),
            digits,
            cells: rounds(of),
        })
        .collect();
    let tunnels = contestants
        .iter()
        .find_map(|it| Some(it.idle_tunnels?.tunnels));
    if let Some(tunnels) = tunnels {
        let each = f64::from(u32::try_from(tunnels).unwrap_or(u32::MAX));
        let named = |what: &str| format!("{what}, {tunnels} idle tunnels");
        rows.push(Row {
            name: named("memory for each (PSS), KiB"),
            digits: 2,
            cells: idle(&|it| it.pss_added() / each / 1024.0),
        });
        rows.push(Row {
            name: named("memory of all (RSS), MiB"),
            digits: 1,
            cells: idle(&|it| it.rss_mib()),
        });
        rows.push(Row {
            name: named("descriptors for each"),
            digits: 2,
            cells: idle(&|it| it.descriptors_added() / each),
        });
    }
    let mut text = table::markdown(&names, &ours, &rows);
    text.push('\n');
    for contested in contestants {
        text += &format!("- {}: {}\n", contested.name, contested.description);
    }
    text += &format!(
        "\nMedians of {} rounds (lowest–highest), {} ms a measurement, contestants in turn. What is in between on one \
         core; origin and clients together on another. Kernel memory (sockets, pipes) is not counted. {}.\n",
        results.rounds, results.milliseconds, results.machine
    );
    text
}
