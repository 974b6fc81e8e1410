// SPDX-License-Identifier: GPL-3.0-or-later
//! Real clients from npm, unchanged, behind the firewall: they end well with the provider's answer, the provider saw
//! only the real key, and no process of the workload ever held it.
#![cfg(test)]

#[path = "clients/install.rs"]
mod install;
#[path = "clients/watcher.rs"]
mod watcher;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Instant;

use e2e::host::{Host, REAL_KEY, leftovers, on_a_host, stderr, stdout};
use install::Client;
use keyward_emulator::{Behaviour, Emulator, Handle, Options, Provider, Record, WebSocketMode};
use watcher::Watcher;

/// What the emulator says, and no client would by itself.
const ANSWER: &str = "The quick brown emulator answers.";

const OPENAI_PLACEHOLDER: &str = "sk-placeholder-for-api-proxy";
const ANTHROPIC_PLACEHOLDER: &str = "sk-ant-placeholder-key-for-credential-isolation";

#[test]
fn codex_0_121_with_websocket() {
    codex(Client::Codex0_121, WebSocketMode::Accept);
}

#[test]
fn codex_0_121_with_websocket_refused_with_426() {
    codex(Client::Codex0_121, WebSocketMode::UpgradeRequired);
}

#[test]
fn codex_0_121_with_websocket_refused_with_404() {
    codex(Client::Codex0_121, WebSocketMode::NotFound);
}

#[test]
fn codex_newest_with_websocket() {
    codex(Client::CodexNewest, WebSocketMode::Accept);
}

#[test]
fn codex_newest_with_websocket_refused_with_426() {
    codex(Client::CodexNewest, WebSocketMode::UpgradeRequired);
}

#[test]
fn codex_newest_with_websocket_refused_with_404() {
    codex(Client::CodexNewest, WebSocketMode::NotFound);
}

#[test]
fn claude_code_newest() {
    let claude = Client::ClaudeNewest.ensure();
    on_a_host(move |host| {
        let emulator = emulator(WebSocketMode::Accept);
        let mut command = confined(host, &emulator);
        command.arg("--").arg(install::show(&claude)).args([
            "-p",
            "say hi",
            "--allowedTools",
            "Bash",
        ]);
        let records = succeeds(host, &emulator, &mut command, ANTHROPIC_PLACEHOLDER);

        let messages = records
            .iter()
            .filter(|it| it.path == "/v1/messages" && it.status == 200);
        assert!(
            messages.count() > 0,
            "no message was asked for: {records:#?}"
        );
        for record in &records {
            assert_eq!(record.host, "api.anthropic.com");
            assert_eq!(
                record.header("x-api-key").collect::<Vec<_>>(),
                [REAL_KEY],
                "{record:#?}"
            );
            assert_eq!(record.header("authorization").next(), None, "{record:#?}");
        }
    });
}

#[test]
fn gemini_cli_newest() {
    let gemini = Client::GeminiNewest.ensure();
    on_a_host(move |host| {
        let emulator = emulator(WebSocketMode::Accept);
        let mut command = confined(host, &emulator);
        command.env("GEMINI_API_KEY", REAL_KEY);
        command
            .arg("--")
            .arg(install::show(&gemini))
            // With a model named, it need not ask which to take: the emulator has no opinion.
            .args(["-m", "gemini-2.5-flash", "-y", "-p", "say hi"]);
        let placeholder = "gemini-api-key-placeholder-for-credential-isolation";
        let records = succeeds(host, &emulator, &mut command, placeholder);

        let streamed = |it: &&Record| it.path.ends_with(":streamGenerateContent");
        assert!(records.iter().filter(streamed).count() > 0, "{records:#?}");
        for record in &records {
            assert_eq!(record.host, "generativelanguage.googleapis.com");
            let keys: Vec<_> = record.header("x-goog-api-key").collect();
            assert_eq!(keys, [REAL_KEY], "{record:#?}");
        }
    });
}

fn codex(client: Client, mode: WebSocketMode) {
    let codex = client.ensure();
    on_a_host(move |host| {
        let emulator = emulator(mode);
        let mut command = confined(host, &emulator);
        // Codex's own sandbox is not what is tested here.
        command.arg("--").arg(install::show(&codex));
        command.args([
            "exec",
            "--skip-git-repo-check",
            "-s",
            "danger-full-access",
            "say hi",
        ]);
        let records = succeeds(host, &emulator, &mut command, OPENAI_PLACEHOLDER);

        for record in &records {
            assert_eq!(record.host, "api.openai.com");
            let bearer = format!("Bearer {REAL_KEY}");
            assert_eq!(
                record.header("authorization").collect::<Vec<_>>(),
                [bearer],
                "{record:#?}"
            );
        }
        let with = |status: u16, websocket: bool| {
            records
                .iter()
                .filter(|it| it.status == status && it.websocket == websocket)
                .count()
        };
        match mode {
            // The handshake, and at least the frame that asks.
            WebSocketMode::Accept => {
                assert!(with(101, true) >= 2, "{records:#?}");
                assert_eq!(
                    with(200, false),
                    0,
                    "it need not have fallen back: {records:#?}"
                );
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

fn emulator(websocket: WebSocketMode) -> Handle {
    let behaviour = Behaviour {
        answer: ANSWER.to_owned(),
        ..Behaviour::default()
    };
    let record_bodies = true;
    Emulator::start(Options {
        websocket,
        behaviour,
        record_bodies,
        more_keys: [(Provider::Gemini, REAL_KEY.to_owned())].into(),
        ..Options::new(REAL_KEY, REAL_KEY)
    })
    .unwrap()
}

/// `keyward run`, both keys in its environment, the providers' names pointing to the emulator, and a home for the
/// workload that is its own.
fn confined(host: &Host, emulator: &Handle) -> Command {
    let ca = host.scratch().join("ca.pem");
    fs::write(&ca, emulator.ca_pem()).unwrap();
    let home = host.scratch().join("home");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o777)).unwrap();

    let mut command = host.run();
    command
        .env("ANTHROPIC_API_KEY", REAL_KEY)
        .env("PATH", install::path());
    command.arg("--upstream-ca").arg(ca);
    for provider in [
        "api.openai.com",
        "api.anthropic.com",
        "generativelanguage.googleapis.com",
    ] {
        command
            .arg("--resolve")
            .arg(format!("{provider}={}", emulator.addr()));
    }
    command.arg("--env").arg(format!("HOME={}", home.display()));
    command
}

/// Runs the command while every process of every workload is watched, and returns what the provider received.
fn succeeds(
    host: &Host,
    emulator: &Handle,
    command: &mut Command,
    placeholder: &'static str,
) -> Vec<Record> {
    let watcher = Watcher::start(REAL_KEY, placeholder);
    let begun = Instant::now();
    let output = command.output().unwrap();
    let took = begun.elapsed();
    let seen = watcher.stop();
    let records = emulator.records();
    let all = format!(
        "after {took:?}: {}\n{}\n{records:#?}",
        stdout(&output),
        stderr(&output)
    );

    assert_eq!(output.status.code(), Some(0), "{all}");
    assert_eq!(stdout(&output).trim(), ANSWER, "{all}");

    // The first two are the control: the watcher does see the workload's environment.
    assert!(
        seen.processes > 0,
        "the watcher saw no process of the workload"
    );
    assert!(seen.with_placeholder > 0, "the watcher saw no placeholder");
    assert_eq!(
        seen.with_key,
        Vec::<String>::new(),
        "the workload held the real key"
    );
    assert!(!output.stdout.is_empty() && !all_of(&output).contains(REAL_KEY));

    assert!(!records.is_empty());
    for record in &records {
        assert_ne!(record.status, 401, "{record:#?}");
        assert!(
            !record.mentions(placeholder),
            "a placeholder left the host: {record:#?}"
        );
    }
    // Nobody else was so much as tried: what the clients tell their makers is switched off.
    assert_eq!(host.decisions(), Vec::<serde_json::Value>::new(), "denied");
    // The gateway's own endpoints are asked by keyward itself, before the client starts.
    let log = host.log("requests");
    let forwarded = log.iter().filter(|line| line["path"] != "/health");
    assert_eq!(forwarded.count(), requests(&records), "{log:#?}");
    for log in ["audit", "requests", "proxy"] {
        let text = format!("{:?}", host.log(log));
        assert!(
            !text.contains(REAL_KEY),
            "the real key is in the {log} log: {text}"
        );
    }
    assert!(leftovers(host).is_empty(), "{:?}", leftovers(host));
    records
}

/// How many of the records are requests, and not frames of a WebSocket.
fn requests(records: &[Record]) -> usize {
    records
        .iter()
        .filter(|it| !it.websocket || it.body_len == 0)
        .count()
}

/// Everything that a command printed.
fn all_of(output: &std::process::Output) -> String {
    stdout(output) + &stderr(output)
}
