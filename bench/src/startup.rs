// SPDX-License-Identifier: MIT OR Apache-2.0
//! What it costs to start a confined program: `keyward run -- true` next to `bwrap` with all
//! namespaces and next to plain `true`.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::keyward;
use crate::report::{Machine, Output};
use crate::stats::Summary;

/// Rounds that are not counted: they warm the caches.
const WARM_UP: usize = 5;

/// The environment variable that tells keyward where to write the times of its steps.
const TIMINGS: &str = "KEYWARD_TIMINGS";

/// What of keyward's own steps each layer takes. Some are taken beside others, so that the sum is more than a run.
const LAYERS: [(&str, &[&str]); 11] = [
    ("settings, view of the files", &["arguments", "settings"]),
    ("eBPF: attach, pin, read back", &["ebpf"]),
    (
        "network namespace, listeners, nftables",
        &["network_beside"],
    ),
    (
        "proxy: start, settings",
        &["spawn_proxy", "proxy_settings", "proxy"],
    ),
    ("limits: cgroups", &["cgroup", "init_join"]),
    ("sandbox: mounts", &["init_mounts"]),
    ("sandbox: user, capabilities", &["init_privileges"]),
    ("sandbox: Landlock", &["init_landlock"]),
    ("sandbox: seccomp", &["init_seccomp"]),
    ("preflight: every gateway port answers", &["preflight"]),
    ("teardown", &["kill", "detach", "proxy_end", "teardown"]),
];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The keyward to measure
    #[arg(long, value_name = "FILE")]
    keyward: PathBuf,

    /// The bwrap to compare it with
    #[arg(long, value_name = "FILE", default_value = "bwrap")]
    bwrap: PathBuf,

    /// Rounds after warm-up; each contestant has its turn in each
    #[arg(long, value_name = "N", default_value_t = 50)]
    rounds: usize,

    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Serialize)]
struct Results {
    machine: Machine,
    rounds: usize,
    contestants: Vec<Contested>,
    /// What each layer takes; microseconds.
    layers: Vec<Step>,
    /// keyward's own steps, in the order in which they first came; microseconds.
    steps: Vec<Step>,
}

#[derive(Debug, Serialize)]
struct Contested {
    name: &'static str,
    command: Vec<String>,
    /// From before the process is made until it is waited for.
    milliseconds: Summary,
}

#[derive(Debug, Serialize)]
struct Step {
    name: String,
    microseconds: Summary,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let scratch = tempfile::tempdir().context("a temporary directory")?;
    let timings = scratch.path().join("timings.jsonl");
    let contestants = contestants(args, scratch.path())?;
    let mut samples: Vec<Vec<f64>> = vec![Vec::new(); contestants.len()];
    for round in 0..WARM_UP + args.rounds {
        if round == WARM_UP && timings.exists() {
            fs::remove_file(&timings).context("removing the warm-up's timings")?;
        }
        for turn in 0..contestants.len() {
            let index = (turn + round) % contestants.len();
            let (name, command) = &contestants[index];
            let elapsed = time(command, &timings).with_context(|| format!("running {name}"))?;
            if round >= WARM_UP {
                samples[index].push(elapsed);
            }
        }
    }
    let contested =
        |((name, command), samples): ((&'static str, Vec<String>), Vec<f64>)| Contested {
            name,
            command,
            milliseconds: Summary::new(samples),
        };
    let runs = runs(&timings)?;
    let results = Results {
        machine: Machine::read()?,
        rounds: args.rounds,
        contestants: contestants
            .into_iter()
            .zip(samples)
            .map(contested)
            .collect(),
        layers: layers(&runs),
        steps: steps(&runs),
    };
    args.output.write(&results, &markdown(&results))
}

fn contestants(args: &Args, log_dir: &Path) -> Result<[(&'static str, Vec<String>); 3]> {
    let own = |words: &[&str]| {
        words
            .iter()
            .map(|&word| word.to_owned())
            .collect::<Vec<_>>()
    };
    let path = |path: &Path| {
        path.to_str()
            .map(str::to_owned)
            .context("a path that is not text")
    };
    let with = |program: String, words: &[&str]| [vec![program], own(words)].concat();
    let bwrap = [
        "--unshare-all",
        "--ro-bind",
        "/",
        "/",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "true",
    ];
    Ok([
        ("true", own(&["true"])),
        ("bwrap", with(path(&args.bwrap)?, &bwrap)),
        (
            "keyward",
            [keyward::run(&args.keyward, log_dir, &[])?, own(&["true"])].concat(),
        ),
    ])
}

/// Milliseconds until the command has ended, well.
fn time(command: &[String], timings: &Path) -> Result<f64> {
    let (program, arguments) = command.split_first().context("an empty command")?;
    let mut command = Command::new(program);
    command.args(arguments).env(TIMINGS, timings);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let begin = Instant::now();
    let output = command
        .output()
        .with_context(|| format!("starting {program}"))?;
    let elapsed = begin.elapsed().as_secs_f64() * 1e3;
    if !output.status.success() {
        bail!(
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(elapsed)
}

/// Reads one JSON object a run, step to microseconds.
fn runs(timings: &Path) -> Result<Vec<Steps>> {
    if !timings.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(timings).context("reading keyward's timings")?;
    let run =
        |line| serde_json::from_str(line).context("keyward's timings are not steps and numbers");
    text.lines().map(run).collect()
}

/// One summary a step.
fn steps(runs: &[Steps]) -> Vec<Step> {
    let mut order: Vec<&str> = Vec::new();
    let mut samples: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (name, microseconds) in runs.iter().flat_map(|Steps(run)| run) {
        if !samples.contains_key(name.as_str()) {
            order.push(name);
        }
        samples.entry(name).or_default().push(*microseconds);
    }
    let step = |name: &str| Step {
        name: name.to_owned(),
        microseconds: Summary::new(samples.remove(name).unwrap_or_default()),
    };
    order.into_iter().map(step).collect()
}

/// One summary a layer, of what its steps take together.
fn layers(runs: &[Steps]) -> Vec<Step> {
    if runs.is_empty() {
        return Vec::new();
    }
    let layer = |(name, of): &(&str, &[&str])| {
        let sum = |Steps(run): &Steps| {
            let steps = run.iter().filter(|(step, _)| of.contains(&step.as_str()));
            steps.map(|(_, microseconds)| microseconds).sum()
        };
        Step {
            name: (*name).to_owned(),
            microseconds: Summary::new(runs.iter().map(sum).collect()),
        }
    };
    LAYERS.iter().map(layer).collect()
}

/// The steps of one run. `serde_json`'s own map would forget their order.
#[derive(Debug)]
struct Steps(Vec<(String, f64)>);

impl<'de> Deserialize<'de> for Steps {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(StepsVisitor).map(Self)
    }
}

struct StepsVisitor;

impl<'de> Visitor<'de> for StepsVisitor {
    type Value = Vec<(String, f64)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object from step to microseconds")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut steps = Vec::new();
        while let Some(step) = map.next_entry()? {
            steps.push(step);
        }
        Ok(steps)
    }
}

fn markdown(results: &Results) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let mut line = |line: String| writeln!(text, "{line}").ok();
    let bwrap = results.contestants.iter().find(|it| it.name == "bwrap");
    line("| | median, ms | min, ms | p99, ms | ÷ bwrap |".to_owned());
    line("|---|---:|---:|---:|---:|".to_owned());
    for Contested {
        name, milliseconds, ..
    } in &results.contestants
    {
        let Summary {
            median, min, p99, ..
        } = milliseconds;
        let ratio = bwrap.map_or(f64::NAN, |bwrap| median / bwrap.milliseconds.median);
        line(format!(
            "| {name} | {median:.2} | {min:.2} | {p99:.2} | {ratio:.2} |"
        ));
    }
    for (what, steps) in [("layer", &results.layers), ("step", &results.steps)] {
        if steps.is_empty() {
            continue;
        }
        line(String::new());
        line(format!(
            "| {what} of keyward | median, µs | min, µs | p99, µs |"
        ));
        line("|---|---:|---:|---:|".to_owned());
        for Step { name, microseconds } in steps {
            let Summary {
                median, min, p99, ..
            } = microseconds;
            line(format!("| {name} | {median:.0} | {min:.0} | {p99:.0} |"));
        }
    }
    line(String::new());
    line(format!(
        "{} rounds, in turn, after {WARM_UP} to warm up. {}.",
        results.rounds, results.machine
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_keep_their_order_and_runs_may_differ() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(
            file.path(),
            "{\"z\": 3, \"a\": 1.5}\n{\"z\": 5, \"late\": 7}\n",
        )
        .unwrap();
        let runs = runs(file.path()).unwrap();
        let steps = steps(&runs);
        let seen: Vec<_> = steps
            .iter()
            .map(|it| (it.name.as_str(), it.microseconds.max))
            .collect();
        assert_eq!(seen, [("z", 5.0), ("a", 1.5), ("late", 7.0)]);
        assert!(super::runs(Path::new("/nonexistent")).unwrap().is_empty());
    }

    #[test]
    fn a_layer_is_the_sum_of_its_steps_in_each_run() {
        let run = |kill, detach| {
            Steps(vec![
                ("kill".to_owned(), kill),
                ("detach".to_owned(), detach),
                ("total".to_owned(), 99.0),
            ])
        };
        let layers = layers(&[run(1.0, 2.0), run(10.0, 20.0)]);
        let teardown = layers.iter().find(|it| it.name == "teardown").unwrap();
        assert_eq!(
            (teardown.microseconds.min, teardown.microseconds.max),
            (3.0, 30.0)
        );
    }
}
