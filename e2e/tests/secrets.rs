// SPDX-License-Identifier: GPL-3.0-or-later
//! The real key is nowhere to be found: not in logs at `trace`, environments, arguments, core dumps or files. Each way
//! of looking first finds a decoy, so that finding nothing means something.
#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use e2e::host::{Host, REAL_KEY, Running, eventually, on_a_host, stderr, stdout, succeed};
use keyward_emulator::{Emulator, Handle, Options};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const DECOY: &str = "sk-decoy-0a1b2c3d4e5f60718293";

/// A script that uses the gateway, also in ways that fail, and then waits.
const WORKLOAD: &str = "\
    base=$OPENAI_BASE_URL; key=\"Authorization: Bearer $OPENAI_API_KEY\"; json='content-type: application/json'
    curl -s -H \"$key\" -H \"$json\" -d '{\"model\":\"m\",\"input\":\"hi\"}' $base/v1/responses
    curl -s -H \"$key\" $base/v1/organization; curl -s -H 'Authorization: Bearer other' $base/v1/models
    curl -s -H \"$key\" -H \"$json\" -d '{}' $base/v1/embeddings; curl -s $base/metrics; curl -s $base/reflect
    curl -s --path-as-is $base/../x; curl -s -X CONNECT $base/
    env; cat /proc/*/environ /proc/*/cmdline 2>/dev/null; echo; echo ready; sleep 3600";

/// Every process's environment and arguments that hold `text`.
fn in_processes(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        for file in ["environ", "cmdline"] {
            let path = entry.path().join(file);
            if fs::read(&path).is_ok_and(|bytes| holds(&bytes, text)) {
                found.insert(path.display().to_string());
            }
        }
    }
    found
}

/// Every file below a directory that holds `text`.
fn in_files(directory: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(in_files(&path, text)),
            Ok(kind)
                if kind.is_file() && fs::read(&path).is_ok_and(|bytes| holds(&bytes, text)) =>
            {
                found.push(path)
            }
            Ok(_) | Err(_) => {}
        }
    }
    found
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

fn provider(host: &Host) -> Handle {
    let emulator = Emulator::start(Options::new(REAL_KEY, "none")).unwrap();
    fs::write(host.scratch().join("ca.pem"), emulator.ca_pem()).unwrap();
    emulator
}

/// A run at the noisiest level, with core dumps allowed as far as the caller can.
fn start(host: &Host, emulator: &Handle) -> Running {
    let run = host.run();
    let mut shell = Command::new("sh");
    shell.env_clear().envs(
        run.get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    shell
        .env("KEYWARD_LOG", "trace")
        .current_dir(host.scratch())
        .args(["-c", "ulimit -c unlimited; exec \"$0\" \"$@\""])
        .arg(run.get_program())
        .args(run.get_args())
        .args([
            "--log-level",
            "trace",
            "--upstream-ca",
            "ca.pem",
            "--openai-api-target",
        ])
        .arg(format!("https://localhost:{}", emulator.addr().port()))
        .args(["--", "sh", "-c", WORKLOAD])
        .stdin(Stdio::null())
        .stdout(fs::File::create(host.scratch().join("stdout")).unwrap())
        .stderr(fs::File::create(host.scratch().join("stderr")).unwrap());
    let child = Running::new(&mut shell);
    eventually("the workload is through", || {
        fs::read(host.scratch().join("stdout"))
            .unwrap()
            .windows(7)
            .any(|window| window == b"\nready\n")
    });
    child
}

fn finish(mut keyward: Running) {
    kill(keyward.pid(), Signal::SIGTERM).unwrap();
    keyward.wait();
}

#[test]
fn the_real_key_is_in_no_log_file_environment_or_argument() {
    on_a_host(|host| {
        // The decoys: one is found in each place that is searched.
        let mut decoy = Command::new("sleep")
            .arg("60")
            .env("KEY", DECOY)
            .spawn()
            .unwrap();
        fs::create_dir(host.scratch().join("decoy")).unwrap();
        fs::write(host.scratch().join("decoy/file"), format!("x{DECOY}x")).unwrap();
        // Its environment can be read a moment after the exec that it came with.
        eventually("the decoy is found", || in_processes(DECOY).len() == 1);
        assert_eq!(in_files(host.scratch(), DECOY).len(), 1);
        decoy.kill().unwrap();
        decoy.wait().unwrap();

        let emulator = provider(host);
        let keyward = start(host, &emulator);
        let processes = in_processes(REAL_KEY);
        finish(keyward);
        // It did its work: the provider has seen the real key, and the log is a noisy one.
        assert!(
            emulator
                .records()
                .iter()
                .any(|record| record.mentions(REAL_KEY))
        );
        assert!(
            !host.log("proxy").is_empty(),
            "the noisiest level says nothing"
        );
        assert!(
            host.log("requests")
                .iter()
                .any(|line| line["status"] == 200)
        );
        assert_eq!(processes, BTreeSet::new());
        for place in [host.scratch(), Path::new("/run/keyward")] {
            assert_eq!(in_files(place, REAL_KEY), Vec::<PathBuf>::new());
        }
    });
}

#[test]
fn a_crash_leaves_no_core_dump_with_the_key() {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    on_a_host(move |host| {
        let cores = || {
            let is_core = |path: &PathBuf| {
                path.file_name()
                    .unwrap()
                    .to_string_lossy()
                    .starts_with("core")
            };
            let files = |directory: &Path| {
                fs::read_dir(directory)
                    .unwrap()
                    .flatten()
                    .map(|it| it.path())
                    .filter(is_core)
                    .collect::<Vec<_>>()
            };
            [files(host.scratch()), files(Path::new("/"))].concat()
        };
        // An ordinary program that crashes here leaves one, unless the host sends them elsewhere.
        let before = cores();
        let script = "ulimit -c unlimited; cd \"$0\" && exec python3 -c 'import os; os.abort()'";
        Command::new("sh")
            .args(["-c", script])
            .arg(host.scratch())
            .status()
            .unwrap();
        let control = cores();
        if !pattern.starts_with('|') {
            assert!(
                control.len() > before.len(),
                "no core dump of a program that crashed: {pattern}"
            );
        }
        let emulator = provider(host);
        let mut keyward = start(host, &emulator);
        let children =
            fs::read_to_string(format!("/proc/{0}/task/{0}/children", keyward.pid())).unwrap();
        for pid in children.split_whitespace() {
            kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGABRT).unwrap();
        }
        // It may have ended for the death of its children.
        kill(keyward.pid(), Signal::SIGABRT).ok();
        keyward.wait();
        assert_eq!(cores(), control);
        assert_eq!(in_files(host.scratch(), REAL_KEY), Vec::<PathBuf>::new());
        succeed(host.run().args(["--", "true"]));
    });
}

#[test]
fn a_debugger_of_the_same_user_sees_nothing() {
    on_a_host(|host| {
        // The proxy's user, without capabilities: as near to it as anybody but root can come.
        let emulator = provider(host);
        let keyward = start(host, &emulator);
        let children =
            fs::read_to_string(format!("/proc/{0}/task/{0}/children", keyward.pid())).unwrap();
        let proxy = children
            .split_whitespace()
            .find(|pid| {
                fs::read(format!("/proc/{pid}/cmdline"))
                    .is_ok_and(|it| it.starts_with(b"keyward-proxy"))
            })
            .unwrap();
        let status = fs::read_to_string(format!("/proc/{proxy}/status")).unwrap();
        let uid = status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:\t"))
            .unwrap()
            .split('\t')
            .next()
            .unwrap();
        let read = |pid: &str| {
            let output = Command::new("setpriv")
                .args([
                    "--reuid",
                    uid,
                    "--regid",
                    uid,
                    "--clear-groups",
                    "--inh-caps=-all",
                ])
                .args(["head", "-c1", &format!("/proc/{pid}/environ")])
                .output()
                .unwrap();
            (output.status.success(), stdout(&output), stderr(&output))
        };
        // The same user reads an ordinary process of that user.
        let mut ordinary = Command::new("setpriv")
            .args([
                "--reuid",
                uid,
                "--regid",
                uid,
                "--clear-groups",
                "sleep",
                "60",
            ])
            .spawn()
            .unwrap();
        eventually("the ordinary process is there", || {
            read(&ordinary.id().to_string()).0
        });
        let (success, ..) = read(proxy);
        ordinary.kill().unwrap();
        ordinary.wait().unwrap();
        finish(keyward);
        assert!(!success, "the proxy can be looked into");
    });
}
