// SPDX-License-Identifier: GPL-3.0-or-later
//! A host for `keyward run` in tests: a network namespace with a loopback device and no route, the built binaries, and
//! a look at what a run left behind.
//!
//! A namespace belongs to a thread, and what a thread starts is born in it; so each test runs on a thread of its own.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::unistd::Pid;
use tempfile::TempDir;

/// The real key of these tests. It must never be seen by a workload.
pub const REAL_KEY: &str = "sk-real-e2e-9f8e7d6c5b4a39281706";

/// A user and group that nobody has.
pub const USER: &str = "12345:12345";

/// Names what this machine's kernel lacks and tests are to do without.
pub const DEGRADED: &str = "KEYWARD_ALLOW_DEGRADED";

/// What it names, if anything.
pub fn degraded() -> Option<String> {
    std::env::var(DEGRADED).ok()
}

/// See the module.
#[derive(Debug)]
pub struct Host {
    scratch: TempDir,
}

/// Runs `test` on a host of its own.
pub fn on_a_host(test: impl FnOnce(&Host) + Send + 'static) {
    on_a_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET)
            .expect("a network namespace takes root: cargo xtask test");
        succeed(Command::new("ip").args(["link", "set", "lo", "up"]));
        test(&Host::new());
    });
}

/// Runs `test` on this very machine, with its network: for what is to be had only there.
pub fn on_this_machine(test: impl FnOnce(&Host) + Send + 'static) {
    on_a_thread(|| {
        // Mounts of the test are its own.
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace takes root: cargo xtask test");
        succeed(Command::new("mount").args(["--make-rprivate", "/"]));
        test(&Host::new());
    });
}

fn on_a_thread(test: impl FnOnce() + Send + 'static) {
    if let Err(panic) = std::thread::spawn(test).join() {
        std::panic::resume_unwind(panic);
    }
}

impl Host {
    fn new() -> Self {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        // The workload's user works here.
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(scratch.path(), open).expect("an open scratch directory");
        Self { scratch }
    }

    /// A directory that everybody may write to.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Where runs of this host log.
    pub fn log_dir(&self) -> PathBuf {
        self.scratch.path().join("log")
    }

    /// `keyward run` with what every test wants; the command is still to be added, behind `--`.
    ///
    /// Its environment holds a real key, as a user's would.
    pub fn run(&self) -> Command {
        self.run_as(USER)
    }

    /// The same, as another user.
    pub fn run_as(&self, user: &str) -> Command {
        let mut command = Command::new(binary("keyward"));
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("OPENAI_API_KEY", REAL_KEY)
            .envs(degraded().map(|it| (DEGRADED, it)))
            .current_dir(self.scratch())
            .stdin(Stdio::null())
            .args(["run", "--user", user, "--log-dir"])
            .arg(self.log_dir());
        command
    }

    /// Runs a shell script behind the firewall.
    pub fn shell(&self, script: &str) -> Output {
        self.run()
            .args(["--", "sh", "-c", script])
            .output()
            .expect("keyward")
    }

    /// All lines of a log (`audit`, `requests`, `proxy`) over all runs of this host.
    pub fn log(&self, name: &str) -> Vec<serde_json::Value> {
        let mut lines = Vec::new();
        for run in fs::read_dir(self.log_dir()).into_iter().flatten().flatten() {
            let text =
                fs::read_to_string(run.path().join(format!("{name}.jsonl"))).unwrap_or_default();
            let parse = |line: &str| {
                serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"))
            };
            lines.extend(text.lines().map(parse));
        }
        lines
    }

    /// The decisions in the audit log, without the lines about the run itself.
    pub fn decisions(&self) -> Vec<serde_json::Value> {
        let mut lines = self.log("audit");
        lines.retain(|line| line["event"] == "decision");
        lines
    }
}

/// A process that does not outlive its test, whatever becomes of that.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Starts it.
    pub fn new(command: &mut Command) -> Self {
        Self(
            command
                .spawn()
                .unwrap_or_else(|error| panic!("{command:?}: {error}")),
        )
    }

    /// Its pid.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.0.id()).expect("a pid"))
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.0.wait().expect("a child of ours")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail if it has ended, which is as well.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A binary of this workspace, from the same build as the test.
pub fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a path of its own");
    // A binary lies in target/<profile>, a test in deps below that.
    let beside = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join(name));
    beside
        .filter(|path| path.is_file())
        .last()
        .unwrap_or_else(|| panic!("{name} is not built: cargo xtask build, or cargo xtask test"))
}

/// Standard output as text.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Standard error as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a command that must succeed, and returns what it printed.
pub fn succeed(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", stderr(&output));
    stdout(&output)
}

/// Waits until `condition` holds.
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// `keyward doctor`: what it found, and whether everything is as it should be.
pub fn doctor() -> (bool, String) {
    let output = Command::new(binary("keyward")).arg("doctor").output();
    let output = output.expect("keyward");
    (output.status.success(), stdout(&output))
}

/// What runs have made on this machine and not removed: cgroups, pins, locks, files. Other tests have some, too, so compare
/// by the names of the runs that `logs` knows.
pub fn leftovers(host: &Host) -> BTreeSet<PathBuf> {
    let runs = fs::read_dir(host.log_dir()).into_iter().flatten().flatten();
    let hierarchy = firewall_user::cgroup::find_hierarchy().expect("cgroup v2");
    runs.flat_map(|run| {
        let run = run.file_name().into_string().expect("a run's name");
        [
            hierarchy.join(format!("keyward-{run}")),
            Path::new("/sys/fs/bpf").join(format!("keyward-{run}")),
            Path::new("/run/keyward").join(&run),
            Path::new("/var/lib/keyward").join(&run),
        ]
    })
    .filter(|path| path.exists())
    .collect()
}

/// The pids of processes whose command line holds `text`, this one excepted.
pub fn processes_with(text: &str) -> Vec<u32> {
    let own = std::process::id();
    fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| {
            let cmdline = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            cmdline
                .windows(text.len())
                .any(|window| window == text.as_bytes())
        })
        .collect()
}
