// SPDX-License-Identifier: GPL-3.0-or-later
//! After the power has gone in the middle of runs: nothing is loose, what is left can be read, and the next run works
//! and leaves nothing.
//!
//! For a guest that has just started on the disk that the runs wrote to: `cargo xtask vm` runs it there.
#![cfg(test)]

use std::fs;
use std::process::{Command, Output};

use e2e::host::{binary, doctor, processes_with, stderr, stdout};

/// Where runs log that are not told otherwise, as those are whose power goes.
const LOGS: &str = "/var/log/keyward";

fn keyward(arguments: &[&str]) -> Output {
    Command::new(binary("keyward"))
        .args(arguments)
        .env("OPENAI_API_KEY", e2e::host::REAL_KEY)
        .output()
        .unwrap()
}

fn logged() -> Vec<String> {
    let runs = fs::read_dir(LOGS).into_iter().flatten().flatten();
    runs.map(|it| it.file_name().into_string().unwrap())
        .collect()
}

#[test]
#[ignore = "looks at the whole machine, after its power went: cargo xtask vm"]
fn nothing_is_loose_and_the_next_run_leaves_nothing() {
    assert_eq!(processes_with("keyward-proxy\0--supervised"), [0; 0]);
    assert_eq!(processes_with("keyward\0run"), [0; 0]);

    // Lines may be torn and files empty, but each log that is there can be read in every way.
    for run in logged() {
        for how in [&["logs"][..], &["logs", "stats"], &["logs", "summary"]] {
            let output = keyward(&[how, &[run.as_str()]].concat());
            assert!(
                output.status.success(),
                "{how:?} {run}: {}",
                stderr(&output)
            );
        }
    }
    if !logged().is_empty() {
        let output = keyward(&["logs", "list"]);
        assert!(output.status.success(), "{}", stderr(&output));
    }

    // What the commands wrote is all that can be left, and whose it is is said.
    let left = keywards("/var/lib/keyward");
    let (is_well, said) = doctor();
    assert_eq!(is_well, left.is_empty(), "{left:?}: {said}");
    let missing = |line: &str| line.starts_with("missing ") && !line.contains(" leftovers ");
    assert!(!said.lines().any(missing), "{said}");
    assert!(
        left.iter().all(|run| said.contains(run)),
        "{left:?}: {said}"
    );

    let before = logged();
    let next = keyward(&["run", "--user", e2e::host::USER, "--", "echo", "it runs"]);
    assert!(next.status.success(), "{}", stderr(&next));
    assert_eq!(stdout(&next), "it runs\n");
    assert!(logged().iter().any(|run| !before.contains(run)));
    for (directory, left) in [
        ("/run/keyward", &["bpffs"][..]),
        ("/var/lib/keyward", &[]),
        ("/sys/fs/bpf", &[]),
        ("/sys/fs/cgroup", &[]),
    ] {
        assert_eq!(keywards(directory), left, "{directory}");
    }
    let (is_well, said) = doctor();
    assert!(is_well, "{said}");
}

/// What is in a directory and is keyward's.
fn keywards(directory: &str) -> Vec<String> {
    let names = fs::read_dir(directory).into_iter().flatten().flatten();
    names
        .map(|it| it.file_name().into_string().unwrap())
        .filter(|name| directory.ends_with("/keyward") || name.starts_with("keyward-"))
        // Programs that are kept for the next run are no run's.
        .filter(|name| name != "keyward-spare")
        .collect()
}
