// SPDX-License-Identifier: GPL-3.0-or-later
//! Real clients and libraries, newest of npm and PyPI, unchanged, behind the firewall (`clients/table.toml`): they end
//! well with the provider's answer, over its faults and a tool call, or with keyward's refusal; the provider saw only the
//! real key, nobody else was so much as tried, and no process of the workload ever held the key.
#![cfg(test)]

#[path = "clients/install.rs"]
mod install;
#[path = "clients/table.rs"]
mod table;
#[path = "clients/watcher.rs"]
mod watcher;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};
use std::time::Instant;

use e2e::host::{Host, REAL_KEY, leftovers, on_a_host, stderr, stdout};
use keyward_emulator::{Behaviour, Emulator, Handle, Options, Provider, Record, WebSocketMode};
use keyward_proxy::provider::Providers;
use table::{Run, Table};
use watcher::Watcher;

/// What the emulator says, and no client would by itself.
const ANSWER: &str = "The quick brown emulator answers.";

/// What the tools of the table say, and nobody who has not run them.
const RESULT: &str = "it is 42";

#[test]
fn claude_code() {
    all_of_its_runs(&["claude"]);
}

#[test]
fn codex() {
    all_of_its_runs(&["codex", "codex 0.121"]);
}

#[test]
fn copilot_cli() {
    all_of_its_runs(&["copilot"]);
}

#[test]
fn gemini_cli() {
    all_of_its_runs(&["gemini"]);
}

#[test]
fn opencode() {
    all_of_its_runs(&["opencode"]);
}

#[test]
fn libraries_for_node() {
    all_of_its_runs(&["openai for node", "anthropic for node", "google for node"]);
}

#[test]
fn libraries_for_python() {
    let all = [
        "openai for python",
        "anthropic for python",
        "google for python",
    ];
    all_of_its_runs(&all);
}

#[test]
fn no_client_is_forgotten() {
    let table = Table::read();
    let run: BTreeSet<&str> = table.run.iter().map(|it| it.client.as_str()).collect();
    let installed: BTreeSet<&str> = table.install.keys().map(String::as_str).collect();
    assert_eq!(run, installed);
    let tests = include_str!("clients.rs");
    for client in installed {
        assert!(tests.contains(&format!("\"{client}\"")), "{client}");
    }
}

#[test]
fn codex_0_121_with_websocket() {
    over_websocket("codex 0.121", WebSocketMode::Accept);
}

#[test]
fn codex_0_121_with_websocket_refused_with_426() {
    over_websocket("codex 0.121", WebSocketMode::UpgradeRequired);
}

#[test]
fn codex_0_121_with_websocket_refused_with_404() {
    over_websocket("codex 0.121", WebSocketMode::NotFound);
}

#[test]
fn codex_newest_with_websocket() {
    over_websocket("codex", WebSocketMode::Accept);
}

#[test]
fn codex_newest_with_websocket_refused_with_426() {
    over_websocket("codex", WebSocketMode::UpgradeRequired);
}

#[test]
fn codex_newest_with_websocket_refused_with_404() {
    over_websocket("codex", WebSocketMode::NotFound);
}

fn all_of_its_runs(clients: &[&str]) {
    let table = Table::read();
    let mine = |it: &Run| clients.contains(&it.client.as_str());
    for run in table.run.into_iter().filter(mine) {
        let mode = match run.websocket {
            true => WebSocketMode::Accept,
            false => WebSocketMode::UpgradeRequired,
        };
        let package = table.install[&run.client].clone();
        let directory = package.ensure();
        on_a_host(move |host| {
            let emulator = emulator(&run, mode);
            let shown = install::show(&directory);
            let begun = Instant::now();
            let mut command = confined(host, &emulator, &run);
            command.arg("--");
            command.args(package.command(&shown, host.scratch()));
            command.args(&run.command);
            let (output, records) = watched(host, &emulator, &mut command, &run);
            let took = begun.elapsed();
            println!("{}: {}: {took:.1?}", run.client, run.name);
            judge(&run, &output, &records);
        });
    }
}

/// Codex's own way, with each answer that a provider may have for it.
fn over_websocket(client: &str, mode: WebSocketMode) {
    let table = Table::read();
    let mut run = table
        .run
        .into_iter()
        .find(|it| it.client == client)
        .unwrap();
    run.first.clear();
    run.tool = None;
    let package = table.install[client].clone();
    let directory = package.ensure();
    on_a_host(move |host| {
        let emulator = emulator(&run, mode);
        let shown = install::show(&directory);
        let mut command = confined(host, &emulator, &run);
        // Codex's own sandbox is not what is tested here.
        command.arg("--");
        command.args(package.command(&shown, host.scratch()));
        command.args(&run.command);
        let (output, records) = watched(host, &emulator, &mut command, &run);
        judge(&run, &output, &records);
        let with = |status: u16, websocket: bool| {
            let with = |it: &&Record| it.status == status && it.websocket == websocket;
            records.iter().filter(with).count()
        };
        match mode {
            // The handshake, and at least the frame that asks.
            WebSocketMode::Accept => {
                assert!(with(101, true) >= 2, "{records:#?}");
                let fell_back = with(200, false);
                assert_eq!(fell_back, 0, "it need not have: {records:#?}");
            }
            WebSocketMode::UpgradeRequired => {
                assert_eq!((with(426, true), with(200, false)), (1, 1), "{records:#?}");
            }
            WebSocketMode::NotFound => {
                assert!(with(404, true) >= 1, "{records:#?}");
                assert_eq!(with(200, false), 1, "{records:#?}");
            }
        }
    });
}

/// Codex runs what the model asks for in a sandbox of its own, made of a user namespace: here its own command for that
/// runs one command, without a model.
#[test]
fn codex_sandboxes_its_commands_itself() {
    let package = Table::read().install["codex"].clone();
    let directory = package.ensure();
    on_a_host(move |host| {
        // It wants a home that is not below /tmp.
        let home = tempfile::tempdir_in("/srv").unwrap();
        std::os::unix::fs::chown(home.path(), Some(12345), Some(12345)).unwrap();
        let shown = install::show(&directory);
        let script = "id -u; touch file; cat /etc/hostname >/dev/null && echo reads";
        let run = |sandbox: bool| {
            let mut command = host.run();
            command
                .env("PATH", install::path())
                .current_dir(home.path())
                .arg("--env")
                .arg(format!("HOME={}", home.path().display()))
                .arg("--");
            if sandbox {
                command.args(package.command(&shown, host.scratch()));
                command.args(["sandbox", "--"]);
            }
            command.args(["sh", "-c", script]).output().unwrap()
        };
        let said = all_of(&run(true));
        assert!(said.contains("12345\nreads\n"), "{said}");
        assert!(said.contains("Read-only file system"), "{said}");
        assert!(!home.path().join("file").exists());
        // Without it the same command may.
        let output = run(false);
        assert_eq!(stdout(&output), "12345\nreads\n", "{}", stderr(&output));
        assert!(home.path().join("file").exists());
    });
}

fn emulator(run: &Run, websocket: WebSocketMode) -> Handle {
    let behaviour = Behaviour {
        answer: ANSWER.to_owned(),
        tool: run.tool.clone().map(Into::into),
        ..Behaviour::default()
    };
    let others = [Provider::Copilot, Provider::Gemini, Provider::Vertex];
    Emulator::start(Options {
        websocket,
        behaviour,
        first: run.first.clone(),
        record_bodies: true,
        more_keys: others.map(|it| (it, REAL_KEY.to_owned())).into(),
        ..Options::new(REAL_KEY, REAL_KEY)
    })
    .unwrap()
}

/// `keyward run` with the provider's key in its environment, all providers' names pointing to the emulator, and a home
/// for the workload that is its own.
fn confined(host: &Host, emulator: &Handle, run: &Run) -> Command {
    let ca = host.scratch().join("ca.pem");
    fs::write(&ca, emulator.ca_pem()).unwrap();
    let home = host.scratch().join("home");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o777)).unwrap();

    let providers = Providers::builtin();
    let provider = providers.get(&run.provider).unwrap();
    let mut command = host.run();
    command
        .env_remove("OPENAI_API_KEY")
        .env(&provider.credential_variables[0], REAL_KEY)
        .env("PATH", install::path());
    // Longer than any of them takes: one that hangs is to say where.
    command.args(["--timeout", "3m", "--upstream-ca"]).arg(ca);
    for provider in providers.iter() {
        let (name, address) = (&provider.target.host, emulator.addr());
        command.arg("--resolve").arg(format!("{name}={address}"));
    }
    for (name, value) in &run.env {
        command.arg("--env").arg(format!("{name}={value}"));
    }
    command.arg("--env").arg(format!("HOME={}", home.display()));
    command.args(&run.flags);
    command
}

/// Runs the command while every process of every workload is watched. Returns what it said, and what the provider
/// received.
fn watched(
    host: &Host,
    emulator: &Handle,
    command: &mut Command,
    run: &Run,
) -> (Output, Vec<Record>) {
    let providers = Providers::builtin();
    let placeholder = providers.get(&run.provider).unwrap().placeholder.clone();
    let watcher = Watcher::start(REAL_KEY, placeholder.clone());
    let output = command.output().unwrap();
    let seen = watcher.stop();
    let records = emulator.records();
    let what = format!("{}: {}", run.client, run.name);

    // The first two are the control: the watcher does see the workload's environment.
    assert!(seen.processes > 0, "{what}: no process of the workload");
    assert!(seen.with_placeholder > 0, "{what}: no placeholder");
    assert_eq!(seen.with_key, Vec::<String>::new(), "{what} held the key");
    assert!(!all_of(&output).contains(REAL_KEY), "{what}");
    for record in &records {
        let left = record.mentions(&placeholder);
        assert!(!left, "{what}: a placeholder left the host: {record:#?}");
    }
    // What the clients tell their makers is switched off.
    for decision in host.decisions() {
        let tried = decision["host"].as_str().unwrap_or_default();
        assert!(run.may_try(tried), "{what} tried {decision:#?}");
    }
    for log in ["audit", "requests", "proxy"] {
        let text = format!("{:?}", host.log(log));
        assert!(!text.contains(REAL_KEY), "{what}: in the {log} log: {text}");
    }
    assert!(leftovers(host).is_empty(), "{:?}", leftovers(host));
    // The gateway's own endpoints are asked by keyward itself, before the client starts.
    let log = host.log("requests");
    let forwarded = log.iter().filter(|it| it["decision"] == "forwarded");
    let forwarded = forwarded.filter(|it| it["path"] != "/health");
    assert_eq!(forwarded.count(), requests(&records), "{what}: {log:#?}");
    (output, records)
}

fn judge(run: &Run, output: &Output, records: &[Record]) {
    let what = format!(
        "{}: {}: {}\n{}\n{records:#?}",
        run.client,
        run.name,
        stdout(output),
        stderr(output),
    );
    for record in records {
        assert_ne!(record.status, 401, "{what}");
        let names = ["authorization", "x-api-key", "x-goog-api-key", "api-key"];
        let keys: Vec<&str> = names.iter().flat_map(|it| record.header(it)).collect();
        let [key] = keys[..] else {
            panic!("{what}: not one key: {record:#?}");
        };
        assert_eq!(key.strip_prefix("Bearer ").unwrap_or(key), REAL_KEY);
    }
    if let Some(refusal) = &run.refused {
        assert!(!matches!(output.status.code(), Some(0 | 124..)), "{what}");
        assert!(all_of(output).contains(refusal.as_str()), "{what}");
        let answered = records.iter().filter(|it| it.status == 200);
        assert_eq!(answered.count(), 0, "{what}");
        return;
    }

    assert_eq!(output.status.code(), Some(0), "{what}");
    let said = stdout(output);
    match run.library {
        true => {
            let lines: Vec<&str> = said.lines().collect();
            let [whole, stream, tool, refused] = lines[..] else {
                panic!("{what}");
            };
            assert_eq!(whole, format!("whole: {ANSWER}"), "{what}");
            assert_eq!(stream, format!("stream: {ANSWER}"), "{what}");
            assert_eq!(tool, "tool: 42", "{what}");
            assert!(refused.starts_with("refused: 403 "), "{what}");
            let ours = "the policy does not allow this model";
            assert!(refused.contains(ours), "{what}");
        }
        false => assert!(said.trim().ends_with(ANSWER), "{what}"),
    }
    let answers = |it: &&Record| it.path == run.asks && matches!(it.status, 200 | 101);
    assert!(records.iter().filter(answers).count() > 0, "{what}");
    if run.tool.is_some() && !run.library {
        let brought = |it: &Record| it.body.as_ref().is_some_and(|it| it.contains(RESULT));
        assert!(records.iter().any(brought), "{what}: no result of the tool");
    }
    let faults = records.iter().filter(|it| matches!(it.status, 429 | 500..));
    assert_eq!(faults.count(), run.first.len(), "{what}");
}

/// How many of the records are requests, and not frames of a WebSocket.
fn requests(records: &[Record]) -> usize {
    records
        .iter()
        .filter(|it| !it.websocket || it.body_len == 0)
        .count()
}

/// Everything that a command printed.
fn all_of(output: &Output) -> String {
    stdout(output) + &stderr(output)
}
