// SPDX-License-Identifier: MIT OR Apache-2.0
//! `keyward-emulator` as a program: what it needs, what it says, when it ends.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

fn emulator(ca: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyward-emulator"));
    command
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.arg("--ca").arg(ca);
    command
}

#[test]
fn it_says_where_it_is_and_ends_with_its_stdin() {
    let scratch = tempfile::tempdir().unwrap();
    let (ca, key) = (scratch.path().join("ca.pem"), scratch.path().join("key"));
    fs::write(&key, "sk-real\n").unwrap();
    let mut child = emulator(&ca)
        .args([
            "--listen",
            "127.0.0.1:0",
            "--listen",
            "[::1]:0",
            "--until-eof",
        ])
        .arg("--openai-key-file")
        .arg(&key)
        .env("KEYWARD_EMULATOR_ANTHROPIC_KEY", "sk-ant-real")
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    let addresses: Vec<SocketAddr> = serde_json::from_value(ready["addresses"].clone()).unwrap();
    assert!(
        addresses[0].is_ipv4() && addresses[1].is_ipv6(),
        "{addresses:?}"
    );
    for address in &addresses {
        TcpStream::connect(address).unwrap();
    }
    assert_eq!(ready["ca"].as_str(), ca.to_str());
    assert!(
        fs::read_to_string(&ca)
            .unwrap()
            .starts_with("-----BEGIN CERTIFICATE-----")
    );

    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(TcpStream::connect(addresses[0]).is_err());
}

#[test]
fn it_does_not_start_without_both_keys() {
    let scratch = tempfile::tempdir().unwrap();
    let ca = scratch.path().join("ca.pem");
    for (arguments, complaint) in [
        (&["--openai-key", "sk-real"][..], "--anthropic-key"),
        (
            &["--openai-key", "sk-real", "--anthropic-key", ""],
            "the key is empty",
        ),
        (
            &["--openai-key-file", "/nonexistent", "--anthropic-key", "k"],
            "/nonexistent",
        ),
    ] {
        let output = emulator(&ca).args(arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(complaint), "{arguments:?}: {stderr}");
    }
    assert!(!ca.exists());
}
