// SPDX-License-Identifier: GPL-3.0-or-later
//! Attempts made one after another in one mode: behind the firewall, behind one layer of it, or, as their control,
//! behind nothing.

mod scripts;

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::scripts::Scripts;
use crate::catalogue::{Attempt, Layer, Mode, Who};
use crate::lab::{GROUP, Lab, PATH, Side, USER};

/// What attempts have in common, in Python.
pub const KIT: &str = include_str!("driver/kit.py");

/// What runs attempts, wherever that is.
const DRIVER: &str = include_str!("driver/driver.py");

/// How long a whole round may take before it is ended.
const PATIENCE: Duration = Duration::from_secs(600);

/// Names what the kernel lacks and runs are to do without, as for `keyward run`.
const DEGRADED: &str = "KEYWARD_ALLOW_DEGRADED";

/// The hosts that workloads may reach, some of which nobody should allow.
const POLICY: &str = "\
allow = [\"allowed.test\", \"allowed.test:2222\", \"private.test\", \"metadata.test\", \"loopback.test\"]

[[provider]]
name = \"astray\"
like = \"openai\"
port = 10010
target = \"https://miscertified.test\"
credential = \"env:ASTRAY_API_KEY\"
";

/// The parts of the firewall, one by one: keyward's own code knows how.
pub trait Layers {
    /// Puts one layer on the lab's host (for eBPF: on its cgroup), does `work`, and takes it off again.
    ///
    /// # Errors
    ///
    /// Those of `work`, or the layer cannot be put on.
    fn with(&self, layer: Layer, lab: &Lab, work: &mut dyn FnMut() -> Result<()>) -> Result<()>;
}

/// How attempts are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Without the firewall, as this user.
    Control(bool),
    /// Behind the firewall.
    Keyward(Mode),
    /// Behind one layer of it.
    Alone(Layer),
}

impl Way {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Control(_) => "control",
            Self::Keyward(mode) => mode.name(),
            Self::Alone(layer) => layer.name(),
        }
    }

    /// A letter for it in marks.
    const fn letter(self) -> char {
        match self {
            Self::Control(_) => 'o',
            Self::Keyward(Mode::User) => 'u',
            Self::Keyward(Mode::Root) => 'r',
            Self::Keyward(Mode::Closed) => 'c',
            Self::Alone(Layer::Ebpf) => 'e',
            Self::Alone(Layer::Nftables) => 'n',
            Self::Alone(Layer::Namespace) => 's',
            Self::Alone(Layer::Pids) => 'p',
            Self::Alone(Layer::Ipc) => 'i',
            Self::Alone(Layer::Capabilities) => 'k',
        }
    }

    /// Who makes the attempt.
    #[must_use]
    pub const fn who(self, attempt: &Attempt) -> Who {
        match self {
            Self::Control(true) | Self::Keyward(Mode::Root) => Who::Root,
            Self::Control(false) | Self::Keyward(_) => Who::User,
            Self::Alone(_) => attempt.control,
        }
    }

    /// The mark of an attempt made this way: nothing else in the world has it in it.
    #[must_use]
    pub fn mark(self, nonce: &str, id: &str) -> String {
        format!("{nonce}{}{}z", id.to_lowercase(), self.letter())
    }
}

/// What an attempt's program did, by itself.
#[derive(Clone, Debug, Deserialize)]
pub struct Made {
    /// Which.
    pub id: String,
    /// Seconds since 1970.
    pub begun: f64,
    /// Seconds since 1970.
    pub ended: f64,
    /// What it printed.
    pub said: String,
    /// Whether an allowed request worked afterwards, if one was made.
    pub healthy: Option<bool>,
}

/// What came of one run.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// By id. An attempt that is missing ended the run.
    pub made: BTreeMap<String, Made>,
    /// The lines of its logs about connections and about requests at the gateway.
    pub log: Vec<Value>,
    /// keyward's exit status, if it was there and not ended by a signal.
    pub status: Option<i32>,
    /// What keyward said.
    pub told: String,
    /// What the host's root found not to be as it should be when it was over, by id.
    pub afterwards: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Batch<'a> {
    values: BTreeMap<&'static str, String>,
    health: &'static str,
    workers: usize,
    attempts: Vec<Job<'a>>,
}

#[derive(Serialize)]
struct Job<'a> {
    id: &'a str,
    mark: String,
    python: Option<&'a str>,
    shell: Option<&'a str>,
    seconds: u64,
}

/// Makes attempts in one run.
///
/// # Errors
///
/// The lab or the driver is broken. That keyward refuses to start is no error.
pub fn make(
    lab: &Lab,
    keyward: &Path,
    layers: &dyn Layers,
    way: Way,
    attempts: &[&Attempt],
) -> Result<Round> {
    let batch = write_batch(lab, way, attempts)?;
    let mut round = Round::default();
    match way {
        Way::Control(is_root) => {
            let scripts = Scripts {
                lab,
                way,
                run: None,
            };
            scripts.before(attempts)?;
            let who = if is_root { Who::Root } else { Who::User };
            let command = driver(lab, who, attempts, &batch);
            watch(command, attempts, &scripts, &mut round)?;
            // It clears up. What it says is about keyward.
            scripts.after(attempts)?;
        }
        Way::Keyward(mode) => {
            let logs = tempfile::Builder::new()
                .prefix("logs")
                .tempdir_in(lab.evidence())?;
            let run = Some((keyward, logs.path()));
            let scripts = Scripts { lab, way, run };
            scripts.before(attempts)?;
            let mut command = keyward_run(lab, keyward, mode, attempts, logs.path())?;
            command.args(["--", "/usr/bin/python3", "-I"]);
            command.arg(lab.shared().join("driver.py")).arg(&batch);
            watch(command, attempts, &scripts, &mut round)?;
            round.log = read_logs(logs.path());
            round.afterwards.extend(scripts.after(attempts)?);
        }
        Way::Alone(layer) => layers.with(layer, lab, &mut || {
            for who in [Who::User, Who::Root] {
                let some: Vec<_> = attempts
                    .iter()
                    .filter(|it| it.control == who)
                    .copied()
                    .collect();
                if !some.is_empty() {
                    let batch = write_batch(lab, way, &some)?;
                    let command = behind_one(lab, layer, who, &batch);
                    let scripts = Scripts {
                        lab,
                        way,
                        run: None,
                    };
                    watch(command, &some, &scripts, &mut round)?;
                }
            }
            Ok(())
        })?,
    }
    Ok(round)
}

fn write_batch(lab: &Lab, way: Way, attempts: &[&Attempt]) -> Result<PathBuf> {
    let is_inside = matches!(way, Way::Keyward(_));
    let batch = Batch {
        values: lab.values(if is_inside {
            Side::Inside
        } else {
            Side::Outside
        }),
        health: match way {
            Way::Keyward(Mode::Closed) => "gateway",
            Way::Keyward(_) => "host",
            Way::Control(_) | Way::Alone(_) => "",
        },
        workers: if attempts.len() > 1 { 4 } else { 1 },
        attempts: attempts
            .iter()
            .map(|it| Job {
                id: &it.id,
                mark: way.mark(lab.nonce(), &it.id),
                python: it.python.as_deref(),
                shell: it.shell.as_deref(),
                seconds: it.seconds,
            })
            .collect(),
    };
    let path = lab.shared().join("batch.json");
    fs::write(&path, serde_json::to_vec(&batch)?)?;
    fs::write(lab.shared().join("driver.py"), [KIT, DRIVER].join("\n\n"))?;
    Ok(path)
}

fn driver(lab: &Lab, who: Who, attempts: &[&Attempt], batch: &Path) -> Command {
    let mut command = mortal("KILL");
    command
        .args(become_(who))
        .args(starter(attempts))
        .args(["/usr/bin/python3", "-I"])
        .arg(lab.shared().join("driver.py"))
        .arg(batch);
    bare(&mut command, lab);
    give_keys(&mut command, lab);
    command.env("HOME", lab.shared().join("home"));
    command
}

/// Who starts whoever runs attempts, if somebody is to come first.
fn starter<'a>(attempts: &[&'a Attempt]) -> Vec<&'a str> {
    let starter = attempts.iter().find_map(|it| it.starter.as_deref());
    starter.map_or_else(Vec::new, |it| vec!["/usr/bin/python3", "-I", "-c", it])
}

/// A command that is sent this signal when the lab is killed. It stays the same process. It is in the user's groups,
/// whoever it becomes.
fn mortal(signal: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", signal]);
    command.arg(format!("--groups={GROUP}"));
    command
}

/// How `setpriv` makes a process of root's this one's.
fn become_(who: Who) -> Vec<String> {
    match who {
        Who::User => [("reuid", USER), ("regid", USER)]
            .map(|(flag, id)| format!("--{flag}={id}"))
            .into(),
        Who::Root => Vec::new(),
    }
}

/// What a user and a CI job have in their environment.
fn give_keys(command: &mut Command, lab: &Lab) {
    for name in ["OPENAI_API_KEY", "ASTRAY_API_KEY"] {
        command.env(name, lab.key());
    }
    for name in [
        "ANTHROPIC_API_KEY",
        "GITHUB_TOKEN",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        "ACTIONS_RUNTIME_TOKEN",
    ] {
        command.env(name, lab.secret());
    }
}

/// Nothing of the caller's own environment reaches an attempt.
fn bare(command: &mut Command, lab: &Lab) {
    command
        .env_clear()
        .env("PATH", PATH)
        .current_dir(lab.shared().join("work"));
}

/// What a host lacks and its owner does without, attempts are made without.
fn degraded() -> Option<(&'static str, OsString)> {
    env::var_os(DEGRADED).map(|it| (DEGRADED, it))
}

fn keyward_run(
    lab: &Lab,
    keyward: &Path,
    mode: Mode,
    attempts: &[&Attempt],
    logs: &Path,
) -> Result<Command> {
    let user = format!("{USER}:{USER}");
    let mut command = mortal("TERM");
    command.args(starter(attempts)).arg(keyward);
    bare(&mut command, lab);
    give_keys(&mut command, lab);
    command
        .envs(degraded())
        .args([
            "run",
            "--user",
            if mode == Mode::Root { "root" } else { &user },
        ])
        .arg("--log-dir")
        .arg(logs)
        // The lab's programs and files stand for the host's own, which a command sees; its `/tmp` is another.
        .arg("--mount")
        .arg(format!("{0}:{0}:ro", lab.shared().display()))
        .args(["--openai-api-target", "https://upstream.test"]);
    // All of them have the same.
    let flags = attempts.first().map_or(&[][..], |it| &it.flags);
    let flags: Vec<_> = flags
        .iter()
        .map(|it| it.replace("$KEY", &lab.key()))
        .collect();
    if !flags.iter().any(|it| it == "--upstream-ca") {
        command.arg("--upstream-ca").arg(lab.ca());
    }
    if mode != Mode::Closed {
        let policy = lab.evidence().join("policy.toml");
        let own = attempts.first().and_then(|it| it.policy.as_deref());
        fs::write(&policy, own.unwrap_or(POLICY))?;
        command.arg("--config").arg(policy);
    }
    command.args(flags);
    Ok(command)
}

/// The driver in the lab's cgroup, in a namespace that nothing leads out of, or without what it would need.
fn behind_one(lab: &Lab, layer: Layer, who: Who, batch: &Path) -> Command {
    let enter = match layer {
        Layer::Ebpf | Layer::Nftables => "echo $$ > \"$CGROUP/cgroup.procs\" && exec \"$@\"",
        Layer::Namespace => "exec unshare --net sh -c 'ip link set lo up && exec \"$@\"' sh \"$@\"",
        Layer::Pids => "exec unshare --pid --fork --kill-child --mount-proc \"$@\"",
        Layer::Ipc => "exec unshare --ipc \"$@\"",
        Layer::Capabilities => "exec \"$@\"",
    };
    let without: &[&str] = if layer == Layer::Capabilities {
        &["--no-new-privs", "--bounding-set=-all"]
    } else {
        &[]
    };
    let mut command = mortal("KILL");
    bare(&mut command, lab);
    command
        .env("CGROUP", lab.cgroup().path())
        .args(["/bin/sh", "-c", enter, "sh"])
        .args(["setpriv", "--pdeathsig", "KILL", "--clear-groups"])
        .arg("--inh-caps=-all")
        .args(without)
        .args(become_(who))
        .args(["/usr/bin/python3", "-I"])
        .arg(lab.shared().join("driver.py"))
        .arg(batch);
    command
}

/// Runs the driver to its end, and does what attempts want done meanwhile.
fn watch(
    mut command: Command,
    attempts: &[&Attempt],
    scripts: &Scripts<'_>,
    round: &mut Round,
) -> Result<()> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // A group of its own: what attempts do to theirs is not done to the lab.
    command.process_group(0);
    let mut child = scripts.lab.host().run(move || command.spawn())??;
    let (stdout, stderr) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        for attempt in attempts {
            scripts.meanwhile(attempt, &child)?;
        }
        if begun.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            bail!("a round of attempts ({}) does not end", scripts.way.name());
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    round.status = status.code();
    let (stdout, stderr) = (join(stdout)?, join(stderr)?);
    round.told.push_str(&stderr);
    for line in stdout.lines() {
        // An attempt may write to the same place.
        if let Ok(made) = serde_json::from_str::<Made>(line) {
            round.made.insert(made.id.clone(), made);
        }
    }
    Ok(())
}

fn reader(from: Option<impl std::io::Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut from) = from {
            // What arrived before an error is what there is.
            from.read_to_end(&mut bytes).ok();
        }
        bytes
    })
}

fn join(reader: JoinHandle<Vec<u8>>) -> Result<String> {
    let bytes = reader
        .join()
        .map_err(|_panic| anyhow::anyhow!("a reader panicked"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn read_logs(logs: &Path) -> Vec<Value> {
    let mut lines = Vec::new();
    for run in fs::read_dir(logs).into_iter().flatten().flatten() {
        for file in ["audit.jsonl", "requests.jsonl"] {
            let text = fs::read_to_string(run.path().join(file)).unwrap_or_default();
            lines.extend(text.lines().filter_map(|it| serde_json::from_str(it).ok()));
        }
    }
    lines
}
