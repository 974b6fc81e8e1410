// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a `connect()` costs under keyward's eBPF programs.
//!
//! The same program calls `connect()` outside, in a network namespace without any programs, and
//! inside, as the workload of `keyward run`. Both are on loopback, where a connection costs least
//! and a difference shows most. In a second run the kernel counts how long each program ran
//! (`BPF_ENABLE_STATS`); the times of `connect()` are from the first, without that.

mod caller;
mod programs;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use self::caller::{Case, Measured};
use self::programs::{Ran, Statistics};
use crate::cores::{self, Cores};
use crate::keyward;
use crate::report::{Machine, write};
use crate::stats::Summary;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The keyward to measure
    #[arg(long, value_name = "FILE", required_unless_present = "caller")]
    keyward: Option<PathBuf>,

    /// Calls of connect() in each case
    #[arg(long, value_name = "N", default_value_t = 2000)]
    calls: u32,

    /// Where to write the results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Where to write the results as Markdown [default: stdout]
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,

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
    programs: Vec<Ran>,
    /// Run time of all programs together, for one connection of the workload; nanoseconds.
    programs_ns_per_connection: f64,
}

/// The times of one case.
#[derive(Debug, Serialize)]
struct Timed {
    case: Case,
    microseconds: Summary,
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
    let program = std::env::current_exe().context("finding this program")?;
    let program = program.to_str().context("a path that is not text")?;
    let calls = args.calls.to_string();
    let call =
        |place| [program, "connect", "--calls", &calls, "--caller", place].map(str::to_owned);
    let outside = call("outside").to_vec();
    let inside = [keyward::run(keyward, logs.path())?, call("inside").to_vec()].concat();

    // One core for everybody: no call then depends on how fast another core wakes up.
    let (cases, connections, programs) = cores::on(cores.server, || {
        let mut cases = Caller::start(&outside)?.finish()?;
        cases.extend(Caller::start(&inside)?.finish()?);
        let statistics = Statistics::enable()?;
        let mut caller = Caller::start(&inside)?;
        let counted = caller.measured()?;
        // While the workload is still there, so are its programs.
        let programs = statistics.read()?;
        caller.end()?;
        Ok((
            cases,
            counted
                .iter()
                .map(|it| it.microseconds.len())
                .sum::<usize>(),
            programs,
        ))
    })?;

    let connections = u32::try_from(connections).context("too many connections to count")?;
    let total: f64 = programs.iter().map(|ran| ran.total_ns).sum();
    let timed = |Measured { case, microseconds }| Timed {
        case,
        microseconds: Summary::new(microseconds),
    };
    let results = Results {
        machine: Machine::read()?,
        calls: args.calls,
        cases: cases.into_iter().map(timed).collect(),
        programs,
        programs_ns_per_connection: total / f64::from(connections),
    };
    write(
        &results,
        &markdown(&results),
        args.json.as_deref(),
        args.markdown.as_deref(),
    )
}

/// The program that calls `connect()`, running. Dropping it closes its stdin, at which it ends.
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

    /// What it measured. It stays until [`Self::end`].
    fn measured(&mut self) -> Result<Vec<Measured>> {
        let mut line = String::new();
        self.stdout
            .read_line(&mut line)
            .context("reading what was measured")?;
        serde_json::from_str(&line).with_context(|| format!("not a measurement: `{line}`"))
    }

    fn end(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait().context("waiting")?;
        if !status.success() {
            bail!("the program that calls connect() ended with {status}");
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Measured>> {
        let measured = self.measured()?;
        self.end()?;
        Ok(measured)
    }
}

fn markdown(results: &Results) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let mut line = |line: String| writeln!(text, "{line}").ok();
    let outside = results.cases.iter().find(|it| it.case == Case::Outside);
    line("| connect() | median, µs | min, µs | p99, µs | − outside, µs |".to_owned());
    line("|---|---:|---:|---:|---:|".to_owned());
    for Timed { case, microseconds } in &results.cases {
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
    line("| program | runs | run time, ns |".to_owned());
    line("|---|---:|---:|".to_owned());
    for Ran {
        name,
        runs,
        ns_per_run,
        ..
    } in &results.programs
    {
        line(format!("| {name} | {runs} | {ns_per_run:.0} |"));
    }
    let all = results.programs_ns_per_connection;
    line(format!("| all, per connection | | {all:.0} |"));
    line(String::new());
    line(format!(
        "{} calls in each case, everything on one core. {}.",
        results.calls, results.machine
    ));
    text
}
