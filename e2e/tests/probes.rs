// SPDX-License-Identifier: GPL-3.0-or-later
//! Every known way to get something out, tried from inside `keyward run`: each gets through without keyward, and with it
//! fails at once, in words that a person understands, and leaves a denial with reason and pid in the log.
//!
//! The layers one by one, each with the other two off, are in `kernel_probes.rs` (eBPF), `nft.rs` (nftables) and
//! here at the end (no route).
#![cfg(test)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use e2e::host::{DEGRADED, binary, degraded, stderr, stdout};
use e2e::lab::{Lab, PROBES, Where, Who};
use serde_json::Value;

/// Probes that begin with an address or a device of the host's, which a namespace of its own does not have: they
/// fail before there is anything to deny.
const NOTHING_TO_BEGIN_WITH: &[&str] = &[
    "address-form",
    "bind-to-ifindex",
    "udp-connected-then-elsewhere",
    "udp-reconnected",
    "unicast-if",
];

fn keyward(log_dir: &Path, command: &[&str]) -> Command {
    keyward_with(log_dir, &[], command)
}

fn keyward_with(log_dir: &Path, flags: &[&str], command: &[&str]) -> Command {
    let mut run = Command::new(binary("keyward"));
    run.env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .envs(degraded().map(|it| (DEGRADED, it)))
        .current_dir("/")
        .stdin(Stdio::null())
        .args(["run", "--user", "54321:54321", "--log-dir"])
        .arg(log_dir)
        .args(flags)
        .arg("--")
        .args(command);
    run
}

fn log_lines(log_dir: &Path) -> Vec<Value> {
    let mut lines = Vec::new();
    for run in fs::read_dir(log_dir).unwrap().flatten() {
        for log in ["audit.jsonl", "requests.jsonl"] {
            let text = fs::read_to_string(run.path().join(log)).unwrap();
            lines.extend(
                text.lines()
                    .map(|line| serde_json::from_str::<Value>(line).unwrap()),
            );
        }
    }
    lines
}

fn said(output: &Output) -> String {
    format!("{}{}", stdout(output), stderr(output))
}

/// The control: does each of these get out, with nothing in its way?
///
/// It comes after what it is the control for: the host's kernel repeats some packets seconds later.
fn all_get_out(lab: &Lab, probes: &[(String, Who)], wrong: &mut Vec<String>) {
    for (name, who) in probes {
        let outcome = lab.probe(Where::Host, *who, name, "<without>");
        if lab.arrived().is_empty() {
            wrong.push(format!(
                "{name}: does not get out without keyward: {outcome:?}"
            ));
        }
    }
}

#[test]
fn every_probe_gets_out_without_keyward_and_none_from_inside() {
    let lab = Lab::new();
    let scratch = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    let probes: Vec<_> = Lab::probes()
        .into_iter()
        .filter(|(_, who)| *who == Who::User)
        .collect();
    for (name, _) in &probes {
        let log_dir = scratch.path().join(name);
        let mut run = keyward(&log_dir, &["python3", "-c", PROBES, name, "<with>"]);
        let output = lab.on_host(move || run.output().unwrap());
        for frame in lab.arrived() {
            wrong.push(format!("{name}: got out: {}", frame.describe()));
        }
        if let Err(fault) = refused(name, &output, &log_lines(&log_dir)) {
            wrong.push(format!("{name}: {fault}"));
        }
        // With a policy, connections are redirected rather than refused. No less is stopped.
        let open = ["--allow-domains", "example.com"];
        let log_dir = scratch.path().join(format!("{name}-open"));
        let mut run = keyward_with(&log_dir, &open, &["python3", "-c", PROBES, name, "<with>"]);
        lab.on_host(move || run.output().unwrap());
        for frame in lab.arrived() {
            wrong.push(format!(
                "{name}: got out with the doors open: {}",
                frame.describe()
            ));
        }
    }
    all_get_out(&lab, &probes, &mut wrong);
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Whether the probe was told at once that it may not, and the log says so.
fn refused(name: &str, output: &Output, lines: &[Value]) -> Result<(), String> {
    let text = stdout(output);
    let words: Vec<&str> = text.split_whitespace().collect();
    let [milliseconds, result, _own_pid] = words[..] else {
        return Err(format!("broken: {}", said(output)));
    };
    if milliseconds.parse::<f64>().unwrap() > 100.0 {
        return Err(format!("not told at once: {milliseconds} ms"));
    }
    // keyward answers DNS itself. What these send is no question, and went nowhere.
    let is_answered = name.starts_with("dns") && result == "sent";
    if is_answered || NOTHING_TO_BEGIN_WITH.contains(&name) {
        return Ok(());
    }
    if result != "EPERM" {
        return Err(format!("not refused: {result}"));
    }
    let tells = |line: &Value| {
        line["comm"] == "python3"
            && line["verdict"] == "deny"
            && line["reason"].is_string()
            && line["pid"].as_u64().is_some_and(|pid| pid > 1)
            && line["uid"] == 54321
    };
    if lines.iter().any(tells) {
        Ok(())
    } else {
        Err(format!("no denial with reason and pid: {lines:?}"))
    }
}

#[test]
fn ordinary_programs_fail_at_once_in_plain_words() {
    let lab = Lab::new();
    let scratch = tempfile::tempdir().unwrap();
    // Program, what it says, the reason in the log.
    let programs: BTreeMap<&str, (&str, &str, &str)> = BTreeMap::from([
        (
            "curl",
            (
                "curl -vm2 http://192.0.2.1:4242/",
                "Operation not permitted",
                "tcp_not_allowed",
            ),
        ),
        (
            "curl, IPv6",
            (
                "curl -gvm2 http://[2001:db8::1]:4242/",
                "Operation not permitted",
                "tcp_not_allowed",
            ),
        ),
        (
            "curl, by name",
            (
                "curl -sSm2 http://exfil.example/",
                "Could not resolve host",
                "host_not_allowed",
            ),
        ),
        (
            "dig",
            (
                "dig +tries=1 +time=1 @192.0.2.1 exfil.example",
                "NXDOMAIN",
                "host_not_allowed",
            ),
        ),
        (
            "dig, TCP",
            (
                "dig +tcp +tries=1 +time=1 @192.0.2.1 exfil.example",
                "NXDOMAIN",
                "host_not_allowed",
            ),
        ),
        (
            "ping",
            (
                "ping -c1 -W1 192.0.2.1",
                "Operation not permitted",
                "socket_not_allowed",
            ),
        ),
        (
            "a static binary",
            ("/tmp/static", "Operation not permitted", "tcp_not_allowed"),
        ),
    ]);
    let binary = static_binary(scratch.path());
    for (name, (script, words, reason)) in programs {
        let script = script.replace("/tmp/static", binary.to_str().unwrap());
        let log_dir = scratch.path().join(name.replace(' ', "-"));
        let begun = format!(
            "python3 -c 'import time; print(time.monotonic())'; {script} 2>&1; python3 -c 'import time; print(time.monotonic())'"
        );
        // It lies in the host's `/tmp`, which the command does not see.
        let shown = format!("{0}:{0}:ro", binary.display());
        let mut run = keyward_with(&log_dir, &["--mount", &shown], &["sh", "-c", &begun]);
        let output = lab.on_host(move || run.output().unwrap());
        assert!(lab.arrived().is_empty(), "{name} got out");
        assert!(said(&output).contains(words), "{name}: {}", said(&output));
        let text = stdout(&output);
        let time = |line: Option<&str>| line.and_then(|line| line.parse::<f64>().ok()).unwrap();
        let took = time(text.lines().last()) - time(text.lines().next());
        // Two interpreters and the program itself start in that time, too.
        assert!(took < 1.0, "{name} took {took} s");
        let lines = log_lines(&log_dir);
        let told = |line: &Value| {
            line["reason"] == reason && line["pid"].as_u64().is_some_and(|pid| pid > 1)
        };
        assert!(lines.iter().any(told), "{name}: {lines:?}");
    }
}

/// Raw system calls, no C library in between.
fn static_binary(directory: &Path) -> std::path::PathBuf {
    let (source, program) = (directory.join("static.c"), directory.join("static"));
    fs::write(&source, include_str!("probes/static.c")).unwrap();
    let mut compiler = Command::new("cc");
    e2e::host::succeed(
        compiler
            .args(["-static", "-nostdlib", "-O2", "-o"])
            .arg(&program)
            .arg(&source),
    );
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(directory, open).unwrap();
    program
}

#[test]
fn a_namespace_without_a_route_stops_every_probe_alone() {
    let lab = Lab::new();
    let mut wrong = Vec::new();
    let probes = Lab::probes();
    for (name, _) in &probes {
        // No eBPF, no nftables: only a namespace of its own, with a loopback device that is up.
        let script = "ip link set lo up; exec python3 -c \"$0\" \"$@\"";
        let probe = ["unshare", "--net", "sh", "-c", script, PROBES, name, "<in>"];
        let mut command = lab.command(Where::Host, Who::Root, &probe);
        let output = lab.on_host(move || command.output().unwrap());
        for frame in lab.arrived() {
            wrong.push(format!(
                "{name}: got out: {} ({})",
                frame.describe(),
                said(&output)
            ));
        }
    }
    all_get_out(&lab, &probes, &mut wrong);
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
