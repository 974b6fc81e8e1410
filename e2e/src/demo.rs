// SPDX-License-Identifier: GPL-3.0-or-later
//! The demonstration: what an agent sees, what its provider receives, and what is blocked, with and without keyward.

mod render;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use keyward_emulator::{Behaviour, Emulator, Options};
use serde_json::Value;
use tempfile::TempDir;

pub use self::render::Palette;
use crate::host::{DEGRADED, binary, degraded, stderr, stdout};
use crate::lab::{Lab, Where, Who};

const AGENT: &str = include_str!("demo/agent.py");

/// The provider knows this key, and keyward has it in its environment.
const REAL_KEY: &str = "sk-real-7f3a9c2e51d84b60";

/// Neither process nor user of the host has it.
const USER: &str = "12345:12345";

/// What was seen, on both sides.
#[derive(Debug)]
pub struct Show {
    /// What the agent told of itself under keyward.
    saw: Value,
    /// Its question to the model, and the answer.
    asked: Value,
    /// The header with the key, as it reached the provider.
    received: Vec<String>,
    /// Each attempt: its name, words, what came of it without keyward, and with it.
    attempts: Vec<Attempt>,
    /// What keyward itself said at the end.
    report: String,
}

#[derive(Debug)]
struct Attempt {
    words: String,
    /// Whether a packet of it arrived outside. `None`: there is nothing to compare, for names need a server.
    got_out_without: Option<bool>,
    got_out_with: bool,
    /// What the agent was told.
    told: String,
    milliseconds: f64,
    /// What the log says.
    reason: String,
}

/// Plays it.
///
/// # Panics
///
/// Something that the demonstration needs is missing, or keyward does not work: then there is nothing to show.
#[must_use]
pub fn play() -> Show {
    let lab = Lab::new();
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let without = attempts_without(&lab);
    let behaviour = Behaviour {
        answer: "Hi! Your key is fine.".to_owned(),
        ..Behaviour::default()
    };
    let options = Options {
        behaviour,
        ..Options::new(REAL_KEY, "none")
    };
    let emulator = lab
        .on_host(|| Emulator::start(options))
        .expect("the provider's stand-in");
    let ca = scratch.path().join("ca.pem");
    fs::write(&ca, emulator.ca_pem()).expect("the stand-in's certificate");

    lab.arrived();
    let target = format!("https://localhost:{}", emulator.addr().port());
    let output = run_under_keyward(&lab, &scratch, &ca, &target);
    let got_out = !lab.arrived().is_empty();
    let told = lines(&output);
    let find = |key: &str| told.iter().find(|line| line.get(key).is_some()).cloned();
    let reasons = reasons(&scratch);
    let attempts = told
        .iter()
        .filter(|line| line.get("attempt").is_some())
        .map(|line| {
            let name = text(line, "attempt");
            Attempt {
                words: text(line, "words"),
                got_out_without: without.get(&name).copied().flatten(),
                got_out_with: got_out || line["result"].is_null(),
                told: text(line, "result"),
                milliseconds: line["milliseconds"].as_f64().unwrap_or_default(),
                reason: reasons.get(&name).cloned().unwrap_or_default(),
            }
        });
    let attempts = attempts.collect();
    let asked =
        find("asked").unwrap_or_else(|| panic!("the agent got no answer:\n{}", stderr(&output)));
    let header = |record: &keyward_emulator::Record| {
        record
            .header("authorization")
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    Show {
        saw: find("saw")
            .map(|line| line["saw"].clone())
            .unwrap_or_default(),
        asked,
        received: emulator.records().iter().flat_map(header).collect(),
        attempts,
        report: stderr(&output),
    }
}

/// Each attempt on the host, in no cgroup: which of them got out?
fn attempts_without(lab: &Lab) -> BTreeMap<String, Option<bool>> {
    lab.arrived();
    let mut command = lab.command(
        Where::Host,
        Who::User,
        &["python3", "-c", AGENT, "attempts"],
    );
    let output = lab.on_host(move || command.output().expect("python3"));
    let arrived = !lab.arrived().is_empty();
    let outcome = |line: &Value| {
        let name = text(line, "attempt");
        let got_out = (name != "by-name").then(|| arrived && line["result"].is_null());
        (name, got_out)
    };
    lines(&output).iter().map(outcome).collect()
}

fn run_under_keyward(lab: &Lab, scratch: &TempDir, ca: &Path, target: &str) -> Output {
    let mut command = Command::new(binary("keyward"));
    command
        .env_clear()
        .envs([
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            ("OPENAI_API_KEY", REAL_KEY),
        ])
        .envs(degraded().map(|it| (DEGRADED, it)))
        .current_dir("/")
        .stdin(Stdio::null())
        .args([
            "run",
            "--user",
            USER,
            "--openai-api-target",
            target,
            "--upstream-ca",
        ])
        .arg(ca)
        .arg("--log-dir")
        .arg(scratch.path().join("log"))
        .args(["--", "python3", "-c", AGENT]);
    lab.on_host(move || command.output().expect("keyward"))
}

/// The reason of each denial in the logs of the run, by the name of the process.
fn reasons(scratch: &TempDir) -> BTreeMap<String, String> {
    let mut reasons = BTreeMap::new();
    for run in fs::read_dir(scratch.path().join("log"))
        .into_iter()
        .flatten()
        .flatten()
    {
        for log in ["audit.jsonl", "requests.jsonl"] {
            let log = fs::read_to_string(run.path().join(log)).unwrap_or_default();
            for line in log
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            {
                if line.get("reason").is_some() {
                    reasons
                        .entry(text(&line, "comm"))
                        .or_insert_with(|| text(&line, "reason"));
                }
            }
        }
    }
    reasons
}

fn lines(output: &Output) -> Vec<Value> {
    stdout(output)
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn text(line: &Value, key: &str) -> String {
    line[key].as_str().unwrap_or_default().to_owned()
}

impl Show {
    /// Whether it showed what it is to show: the real key arrived, and nothing else got anywhere.
    #[must_use]
    pub fn went_well(&self) -> bool {
        let real = format!("Bearer {REAL_KEY}");
        let key_arrived =
            !self.received.is_empty() && self.received.iter().all(|header| *header == real);
        let compared = self
            .attempts
            .iter()
            .all(|it| it.got_out_without != Some(false));
        let blocked = self.attempts.iter().all(|it| !it.got_out_with);
        key_arrived && compared && blocked && !self.saw.to_string().contains(REAL_KEY)
    }
}
