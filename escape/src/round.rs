// SPDX-License-Identifier: GPL-3.0-or-later
//! Attempts made one after another in one mode: behind the firewall, behind one layer of it, or, as their control,
//! behind nothing.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::catalogue::{Attempt, Layer, Mode, Who};
use crate::lab::{Lab, PATH, Side, USER};

/// What runs attempts, wherever that is.
const DRIVER: &str = concat!(
    include_str!("driver/kit.py"),
    "\n\n",
    include_str!("driver/driver.py")
);

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
    /// The audit log.
    pub audit: Vec<Value>,
    /// keyward's exit status, if it was there and not ended by a signal.
    pub status: Option<i32>,
    /// What keyward said.
    pub told: String,
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
            let mut command = driver(lab, &batch);
            become_user(&mut command, is_root);
            watch(lab, command, attempts, way, &mut round)?;
        }
        Way::Keyward(mode) => {
            let logs = tempfile::Builder::new()
                .prefix("logs")
                .tempdir_in(lab.evidence())?;
            let mut command = keyward_run(lab, keyward, mode, attempts, logs.path())?;
            command.args(["--", "/usr/bin/python3", "-I"]);
            command.arg(lab.shared().join("driver.py")).arg(&batch);
            watch(lab, command, attempts, way, &mut round)?;
            round.audit = audit(logs.path());
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
                    watch(lab, command, &some, way, &mut round)?;
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
    fs::write(lab.shared().join("driver.py"), DRIVER)?;
    Ok(path)
}

fn driver(lab: &Lab, batch: &Path) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command
        .arg("-I")
        .arg(lab.shared().join("driver.py"))
        .arg(batch);
    bare(&mut command, lab);
    command.env("HOME", lab.shared().join("home"));
    command
}

/// Nothing of the caller's own environment reaches an attempt.
fn bare(command: &mut Command, lab: &Lab) {
    command
        .env_clear()
        .env("PATH", PATH)
        .current_dir(lab.shared().join("work"));
}

fn become_user(command: &mut Command, is_root: bool) {
    if !is_root {
        command.uid(USER).gid(USER);
    }
}

fn keyward_run(
    lab: &Lab,
    keyward: &Path,
    mode: Mode,
    attempts: &[&Attempt],
    logs: &Path,
) -> Result<Command> {
    let user = format!("{USER}:{USER}");
    let mut command = Command::new(keyward);
    bare(&mut command, lab);
    command
        .env("OPENAI_API_KEY", lab.key())
        .env("ASTRAY_API_KEY", lab.key())
        .env("ANTHROPIC_API_KEY", lab.secret())
        .env("GITHUB_TOKEN", lab.secret())
        .env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", lab.secret())
        .env("ACTIONS_RUNTIME_TOKEN", lab.secret())
        // What a host lacks and its owner does without, attempts are made without.
        .envs(env::var_os(DEGRADED).map(|it| (DEGRADED, it)))
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
    let flags: Vec<_> = attempts
        .iter()
        .flat_map(|it| &it.flags)
        .map(|it| it.replace("$KEY", &lab.key()))
        .collect();
    if !flags.iter().any(|it| it == "--upstream-ca") {
        command.arg("--upstream-ca").arg(lab.ca());
    }
    if mode != Mode::Closed {
        let policy = lab.evidence().join("policy.toml");
        let own = attempts.iter().find_map(|it| it.policy.as_deref());
        fs::write(&policy, own.unwrap_or(POLICY))?;
        command.arg("--config").arg(policy);
    }
    command.args(flags);
    Ok(command)
}

/// The driver in the lab's cgroup, or in a namespace that nothing leads out of.
fn behind_one(lab: &Lab, layer: Layer, who: Who, batch: &Path) -> Command {
    let enter = match layer {
        Layer::Ebpf | Layer::Nftables => "echo $$ > \"$CGROUP/cgroup.procs\" && exec \"$@\"",
        Layer::Namespace => "exec unshare --net sh -c 'ip link set lo up && exec \"$@\"' sh \"$@\"",
    };
    let become_user = match who {
        Who::User => &[
            "setpriv",
            "--reuid=12345",
            "--regid=12345",
            "--clear-groups",
            "--inh-caps=-all",
        ][..],
        Who::Root => &[],
    };
    let mut command = Command::new("/bin/sh");
    bare(&mut command, lab);
    command
        .env("CGROUP", lab.cgroup().path())
        .args(["-c", enter, "sh"])
        .args(become_user)
        .args(["/usr/bin/python3", "-I"])
        .arg(lab.shared().join("driver.py"))
        .arg(batch);
    command
}

/// Runs the driver to its end, and does what attempts want done meanwhile.
fn watch(
    lab: &Lab,
    mut command: Command,
    attempts: &[&Attempt],
    way: Way,
    round: &mut Round,
) -> Result<()> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // A group of its own: what is left of it can be ended.
    command.process_group(0);
    let mut child = lab.host().run(move || command.spawn())??;
    let (stdout, stderr) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        for attempt in attempts {
            if let Some(script) = &attempt.meanwhile {
                meanwhile(lab, &child, script, &way.mark(lab.nonce(), &attempt.id))?;
            }
        }
        if begun.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            bail!("a round of attempts ({}) does not end", way.name());
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    end_group(&child);
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

/// Attempts in the background of a control would go on for ever.
fn end_group(child: &Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        // Nobody may be left in it.
        nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL).ok();
    }
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

/// Does the host's part, once, when the program has asked for it.
fn meanwhile(lab: &Lab, keyward: &Child, script: &str, mark: &str) -> Result<()> {
    let signs = lab.shared().join("work/signs");
    let (asked, done) = (
        signs.join(format!("{mark}.go")),
        signs.join(format!("{mark}.done")),
    );
    if !asked.exists() || done.exists() {
        return Ok(());
    }
    let mut command = Command::new("/bin/sh");
    bare(&mut command, lab);
    command
        .args(["-c", script])
        .env("MARK", mark)
        .env("KEY", lab.key())
        .env("KEYWARD", keyward.id().to_string())
        .env("PROXY", proxy_of(keyward).unwrap_or_default())
        .env("EVIDENCE", lab.evidence())
        .stdin(Stdio::null());
    let output = lab.host().run(move || command.output())?.context("sh")?;
    let mut said = output.stdout;
    said.extend(output.stderr);
    fs::write(done, said)?;
    Ok(())
}

/// The pid of keyward's proxy.
fn proxy_of(keyward: &Child) -> Option<String> {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", keyward.id())).ok()?;
    let is_proxy = |pid: &&str| {
        let cmdline = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        cmdline.starts_with(b"keyward-proxy\0")
    };
    children
        .split_whitespace()
        .find(is_proxy)
        .map(str::to_owned)
}

fn audit(logs: &Path) -> Vec<Value> {
    let mut lines = Vec::new();
    for run in fs::read_dir(logs).into_iter().flatten().flatten() {
        let text = fs::read_to_string(run.path().join("audit.jsonl")).unwrap_or_default();
        lines.extend(text.lines().filter_map(|it| serde_json::from_str(it).ok()));
    }
    lines
}
