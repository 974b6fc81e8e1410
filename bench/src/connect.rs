// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a `connect()` costs under keyward's eBPF programs.
//!
//! The same program calls `connect()` outside, in a network namespace without any programs, and
//! inside, as the workload of `keyward run`. Both are on loopback, where a connection costs least
//! and a difference shows most. In a second run the kernel counts how long each program ran
//! (`BPF_ENABLE_STATS`); the times of `connect()` are from the first, without that.

mod caller;
mod programs;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use self::caller::{Case, Measured};
use self::programs::{Counts, Ran, Statistics};
use crate::cores::{self, Cores};
use crate::keyward::{self, OwnCopy};
use crate::report::{Machine, Output};
use crate::stats::Summary;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The keyward to measure
    #[arg(long, value_name = "FILE", required_unless_present = "caller")]
    keyward: Option<PathBuf>,

    /// Calls of connect() in each case
    #[arg(long, value_name = "N", default_value_t = 2000)]
    calls: u32,

    #[command(flatten)]
    output: Output,

    /// Be the program that calls connect(), inside or outside
    #[arg(long, hide = true)]
    caller: Option<Where>,
}

/// Where the calls are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Where {
    Inside,
    Outside,
}

#[derive(Debug, Serialize)]
struct Results {
    machine: Machine,
    calls: u32,
    cases: Vec<Timed>,
}

/// One case: how long the calls took, and, inside, how long the programs ran.
#[derive(Debug, Serialize)]
struct Timed {
    case: Case,
    microseconds: Summary,
    programs: Vec<Program>,
    /// All programs together, for one call, in nanoseconds; the median over batches of calls.
    programs_ns_per_call: Option<f64>,
}

/// One program in one case.
#[derive(Debug, Serialize)]
struct Program {
    name: String,
    runs_per_call: f64,
    /// The median over batches of calls, in nanoseconds.
    ns_per_run: f64,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    match (args.caller, &args.keyward) {
        (Some(place), _) => caller::run(place, args.calls),
        (None, Some(keyward)) => measure(args, keyward),
        (None, None) => bail!("--keyward is missing"),
    }
}

fn measure(args: &Args, keyward: &Path) -> Result<()> {
    let cores = Cores::choose()?;
    let logs = tempfile::tempdir().context("a temporary directory")?;
    let copy = OwnCopy::make()?;
    let program = copy.path()?;
    let calls = args.calls.to_string();
    let call =
        |place| [&program, "connect", "--calls", &calls, "--caller", place].map(str::to_owned);
    let outside = call("outside").to_vec();
    let inside = [
        keyward::run(keyward, logs.path(), &[])?,
        call("inside").to_vec(),
    ]
    .concat();

    // One core for everybody: no call then depends on how fast another core wakes up.
    let cases = cores::on(cores.server, || {
        let mut cases = Caller::start(&outside)?.cases(|_| Ok(()))?;
        cases.extend(Caller::start(&inside)?.cases(|_| Ok(()))?);
        let statistics = Statistics::enable()?;
        let mut counted: Vec<(Case, Ran)> = Vec::new();
        let mut last = Counts::default();
        Caller::start(&inside)?.cases(|case| {
            let now = statistics.read()?;
            counted.push((case, now.since(&last)));
            last = now;
            Ok(())
        })?;
        let timed = |measured: Measured| timed(measured, &counted);
        Ok(cases.into_iter().map(timed).collect())
    })?;
    let results = Results {
        machine: Machine::read()?,
        calls: args.calls,
        cases,
    };
    args.output.write(&results, &markdown(&results))
}

/// Puts a case's calls and its programs together.
fn timed(measured: Measured, counted: &[(Case, Ran)]) -> Timed {
    let Measured {
        case, microseconds, ..
    } = measured;
    let batches: Vec<&Ran> = counted
        .iter()
        .filter(|(other, _)| *other == case)
        .map(|(_, ran)| ran)
        .collect();
    let names: BTreeSet<&String> = batches.iter().flat_map(|ran| ran.0.keys()).collect();
    let calls = f64::from(caller::BATCH);
    let program = |name: &String| {
        let ran: Vec<_> = batches.iter().filter_map(|ran| ran.0.get(name)).collect();
        Program {
            name: name.clone(),
            runs_per_call: median(ran.iter().map(|it| it.runs / calls)),
            ns_per_run: median(ran.iter().map(|it| it.nanoseconds / it.runs)),
        }
    };
    let programs: Vec<_> = names.into_iter().map(program).collect();
    let total = |ran: &&Ran| ran.0.values().map(|it| it.nanoseconds).sum::<f64>() / calls;
    let programs_ns_per_call = (!programs.is_empty()).then(|| median(batches.iter().map(total)));
    let microseconds = Summary::new(microseconds);
    Timed {
        case,
        microseconds,
        programs,
        programs_ns_per_call,
    }
}

fn median(samples: impl Iterator<Item = f64>) -> f64 {
    Summary::new(samples.collect()).median
}

/// The program that calls `connect()`, running. When its stdin closes, it ends.
struct Caller {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Caller {
    fn start(command: &[String]) -> Result<Self> {
        let (program, arguments) = command.split_first().context("an empty command")?;
        let mut child = Command::new(program)
            .args(arguments)
            // So that the workload is told where its gateway is.
            .env("OPENAI_API_KEY", "sk-of-the-benchmark")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {program}"))?;
        let stdout = child.stdout.take().context("no stdout")?;
        Ok(Self {
            child,
            stdout: BufReader::new(stdout),
        })
    }

    /// Lets it make all its calls, and looks at something after each batch, while it waits.
    fn cases(mut self, mut after: impl FnMut(Case) -> Result<()>) -> Result<Vec<Measured>> {
        let mut cases: Vec<Measured> = Vec::new();
        let mut stdin = self.child.stdin.take().context("no stdin")?;
        let mut line = String::new();
        while self
            .stdout
            .read_line(&mut line)
            .context("reading what was measured")?
            > 0
        {
            let batch: Measured = serde_json::from_str(&line)
                .with_context(|| format!("not a measurement: `{}`", line.trim()))?;
            if batch.warm {
                after(batch.case)?;
                match cases.last_mut() {
                    Some(last) if last.case == batch.case => {
                        last.microseconds.extend(batch.microseconds);
                    }
                    _ => cases.push(batch),
                }
            }
            stdin
                .write_all(b"\n")
                .context("telling the caller to go on")?;
            line.clear();
        }
        drop(stdin);
        let status = self.child.wait().context("waiting")?;
        if !status.success() {
            bail!("the program that calls connect() ended with {status}");
        }
        Ok(cases)
    }
}

fn markdown(results: &Results) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let mut line = |line: String| writeln!(text, "{line}").ok();
    let outside = results.cases.iter().find(|it| it.case == Case::Outside);
    line("| connect() | median, µs | min, µs | p99, µs | − outside, µs |".to_owned());
    line("|---|---:|---:|---:|---:|".to_owned());
    for Timed {
        case, microseconds, ..
    } in &results.cases
    {
        let Summary {
            median, min, p99, ..
        } = microseconds;
        let more = outside.map_or(f64::NAN, |outside| median - outside.microseconds.median);
        let name = case.description();
        line(format!(
            "| {name} | {median:.2} | {min:.2} | {p99:.2} | {more:.2} |"
        ));
    }
    line(String::new());
    programs_table(&results.cases, &mut line);
    line(String::new());
    line(format!(
        "{} calls in each case, everything on one core. {}.",
        results.calls, results.machine
    ));
    text
}

/// A row a program, a column a case: runs a call, and the time of one.
fn programs_table(cases: &[Timed], line: &mut impl FnMut(String) -> Option<()>) {
    let inside: Vec<_> = cases.iter().filter(|it| !it.programs.is_empty()).collect();
    let names: BTreeSet<_> = inside
        .iter()
        .flat_map(|it| &it.programs)
        .map(|program| &program.name)
        .collect();
    let row = |name: &str, cell: &dyn Fn(&Timed) -> Option<String>| {
        let cells = inside
            .iter()
            .map(|case| format!(" {} |", cell(case).unwrap_or_default()));
        format!("| {name} |{}", cells.collect::<String>())
    };
    line(row("eBPF program: runs a call × ns", &|it| {
        Some(it.case.description().to_owned())
    }));
    line(format!("|---|{}", "---:|".repeat(inside.len())));
    for name in names {
        line(row(name, &|it| {
            let program = it.programs.iter().find(|program| program.name == *name)?;
            Some(format!(
                "{:.1} × {:.0}",
                program.runs_per_call, program.ns_per_run
            ))
        }));
    }
    line(row("all, ns a call", &|it| {
        it.programs_ns_per_call.map(|all| format!("{all:.0}"))
    }));
}
