// SPDX-License-Identifier: GPL-3.0-or-later
//! Secrets that the command really gets: its first process finds them, nobody else does.
#![cfg(test)]

use std::fs;
use std::process::Output;

use e2e::host::{Host, REAL_KEY, on_a_host, stderr, stdout};

const SECRET: &str = "s3cret-one-shot-9f8e7d6c5b4a";

/// Says what it finds, what `/proc` shows of it, and what a child finds.
const PYTHON: &str = "import os, subprocess\n\
    print(os.environ.get('TOKEN'), open('/proc/self/environ').read().count('s3cret'), flush=True)\n\
    subprocess.run(['sh', '-c', 'echo ${TOKEN:-none}'])";
const NODE: &str = "const {execSync} = require('child_process'), {readFileSync} = require('fs');\n\
    console.log(process.env.TOKEN, readFileSync('/proc/self/environ', 'latin1').split('s3cret').length - 1);\n\
    process.stdout.write(execSync('echo ${TOKEN:-none}'))";
const SHELL: &str = "n=$(tr '\\0' '\\n' < /proc/$$/environ | grep -c s3cret); echo $TOKEN $n; sh -c 'echo ${TOKEN:-none}'; :";

/// With the secret in keyward's environment.
fn run(host: &Host, arguments: &[&str], command: &[&str]) -> Output {
    let mut keyward = host.run();
    let path = std::env::var("PATH").unwrap();
    keyward.env("TOKEN", SECRET).env("PATH", path);
    keyward
        .args(arguments)
        .arg("--")
        .args(command)
        .output()
        .unwrap()
}

#[test]
fn the_first_process_has_it_and_nobody_else() {
    on_a_host(|host| {
        let given = format!("TOKEN={SECRET}");
        for command in [
            ["python3", "-c", PYTHON],
            ["node", "-e", NODE],
            ["bash", "-c", SHELL],
        ] {
            // The control: as any other variable, it is in plain sight and goes on to children.
            let output = run(host, &["--env", &given], &command);
            assert_eq!(
                stdout(&output),
                format!("{SECRET} 1\n{SECRET}\n"),
                "{}",
                stderr(&output)
            );
            let output = run(host, &["--one-shot", "TOKEN"], &command);
            assert_eq!(
                stdout(&output),
                format!("{SECRET} 0\nnone\n"),
                "{}",
                stderr(&output)
            );
            let told = stderr(&output);
            assert!(
                told.contains("really gets TOKEN") && !told.contains(SECRET),
                "{told}"
            );
        }
        let log = host.log("audit");
        let given: Vec<_> = log.iter().filter(|it| it["event"] == "one_shot").collect();
        assert_eq!(given.len(), 3, "{log:?}");
        assert!(
            given
                .iter()
                .all(|it| it["variables"] == serde_json::json!(["TOKEN"]))
        );
        assert!(!format!("{log:?}").contains(SECRET));
        // And without being asked to, it is an ordinary variable of the host's that does not pass.
        assert_eq!(
            stdout(&run(host, &[], &["sh", "-c", "echo ${TOKEN:-none}"])),
            "none\n"
        );
    });
}

#[test]
fn it_comes_from_a_file_under_another_name_and_its_source_does_not_pass() {
    on_a_host(|host| {
        fs::write(host.scratch().join("secret"), format!("{SECRET}\n")).unwrap();
        let file = format!("TOKEN=file:{}", host.scratch().join("secret").display());
        let script = "echo $TOKEN ${MINE:-none}; :";
        let output = run(host, &["--one-shot", &file], &["sh", "-c", script]);
        assert_eq!(
            stdout(&output),
            format!("{SECRET} none\n"),
            "{}",
            stderr(&output)
        );
        let arguments = ["--env-all", "--one-shot", "MINE=env:TOKEN"];
        let output = run(
            host,
            &arguments,
            &["sh", "-c", "echo ${TOKEN:-none} $MINE; :"],
        );
        assert_eq!(
            stdout(&output),
            format!("none {SECRET}\n"),
            "{}",
            stderr(&output)
        );
    });
}

#[test]
fn what_a_provider_guards_and_what_is_not_there_stop_the_run() {
    on_a_host(|host| {
        for (argument, words) in [
            ("OPENAI_API_KEY", "placeholder of openai"),
            ("MINE=env:OPENAI_API_KEY", "real key of openai"),
            ("NOT_THERE", "NOT_THERE is not set"),
            (
                "TOKEN=s3cret-by-mistake",
                "--one-shot TOKEN: it must be env:NAME",
            ),
        ] {
            let output = run(host, &["--one-shot", argument], &["true"]);
            let text = stderr(&output);
            assert_eq!(output.status.code(), Some(125), "{argument}: {text}");
            assert!(text.contains(words), "{argument}: {text}");
            assert!(
                !text.contains(REAL_KEY) && !text.contains("by-mistake"),
                "{text}"
            );
        }
    });
}
