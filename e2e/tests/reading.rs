// SPDX-License-Identifier: GPL-3.0-or-later
//! What people read of a run, and that it is true: what a report says to add lets the command through.

use std::fs;
use std::process::{Command, Output, Stdio};

use e2e::host::{binary, eventually, stderr, stdout};
use e2e::world::{World, in_a_world};
use serde_json::Value;

/// Needs three things of `denied.test` and `other.test`, of which no two are allowed by one rule.
const SCRIPT: &str = "curl -sS -m 5 https://denied.test/; curl -sS -m 5 http://other.test/; \
    /usr/bin/python3 -c 'import socket; s = socket.create_connection((\"denied.test\", 2222), 5); print(s.recv(99))'";

/// What it prints when it gets them.
const THROUGH: [&str; 3] = [
    "hello from 203.0.113.20\n",
    "hello from 203.0.113.30\n",
    "b'hello from 203.0.113.20\\n'\n",
];

fn keyward(world: &World<'_>, arguments: &[&str]) -> Output {
    let output = Command::new(binary("keyward"))
        .args(arguments)
        .env_clear()
        .env("KEYWARD_LOG_DIR", world.host().log_dir())
        .current_dir(world.host().scratch())
        .stdin(Stdio::null())
        .output()
        .expect("keyward");
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        stderr(&output)
    );
    output
}

fn got_through(output: &Output) -> bool {
    THROUGH.iter().all(|words| stdout(output).contains(words))
}

#[test]
fn a_suggested_policy_lets_through_what_was_audited_and_no_more() {
    in_a_world(|world| {
        let audited = world.inside(&["--mode", "audit"], SCRIPT);
        assert!(
            got_through(&audited),
            "{}{}",
            stdout(&audited),
            stderr(&audited)
        );
        let report = stderr(&audited);
        assert!(
            report.contains("audit mode: would have blocked 2 hosts"),
            "{report}"
        );
        assert!(report.contains("keyward policy suggest"), "{report}");

        let policy = stdout(&keyward(world, &["policy", "suggest"]));
        let file = world.host().scratch().join("keyward.toml");
        fs::write(&file, &policy).unwrap();
        let enforced = world.inside(&["--config", file.to_str().unwrap()], SCRIPT);
        assert!(
            got_through(&enforced),
            "{policy}{}{}",
            stdout(&enforced),
            stderr(&enforced)
        );
        assert_eq!(stderr(&enforced), "", "{policy}");
        // No more: neither another host nor another port.
        let more = "curl -sS -m 5 https://allowed.test/; \
            /usr/bin/python3 -c 'import socket; print(socket.create_connection((\"other.test\", 2222), 5).recv(99))'";
        let denied = world.inside(&["--config", file.to_str().unwrap()], more);
        assert!(
            !stdout(&denied).contains("hello"),
            "{policy}{}",
            stdout(&denied)
        );
        // The control: it is the policy that keeps it from them.
        assert_eq!(stdout(&world.outside(more)).matches("hello").count(), 2);
    });
}

#[test]
fn every_way_to_read_a_run_tells_of_the_denial() {
    in_a_world(|world| {
        let output = world.inside(
            &["--allow-domains", "allowed.test"],
            "curl -sS https://allowed.test/; curl -sS -m 5 https://denied.test/",
        );
        assert!(
            stdout(&output).contains("hello from 203.0.113.10"),
            "{}",
            stderr(&output)
        );
        for (arguments, words) in [
            (
                &["logs"][..],
                &[
                    "deny    dns          denied.test A",
                    "allow   transparent  allowed.test:443",
                ][..],
            ),
            (
                &["logs", "latest", "--format", "json", "--verdict", "deny"],
                &["\"host\":\"denied.test\""],
            ),
            (&["logs", "list"], &["COMMAND", "  sh\n"]),
            (&["logs", "stats"], &["denied.test", "allowed.test  443"]),
            (
                &["logs", "summary"],
                &["### keyward: 1 attempt blocked", "denied&#46;test"],
            ),
            (
                &["policy", "suggest", "--format", "list"],
                &["allowed.test\ndenied.test\n"],
            ),
            (
                &["report", "-o", "-"],
                &["<!doctype html>", "--allow-domains denied.test"],
            ),
        ] {
            let said = stdout(&keyward(world, arguments));
            for words in words {
                assert!(said.contains(words), "{arguments:?} {words:?}: {said}");
            }
        }
        let said = stdout(&keyward(world, &["logs", "--verdict", "allow"]));
        assert!(
            said.contains("allowed.test") && !said.contains("denied.test"),
            "{said}"
        );
        keyward(world, &["report", "--output", "run.html"]);
        let page = fs::read_to_string(world.host().scratch().join("run.html")).unwrap();
        assert!(page.contains("denied.test"));
    });
}

#[test]
fn a_run_is_watched_while_it_goes_on() {
    in_a_world(|world| {
        let hold = "/usr/bin/python3 -c 'import socket, sys; \
            s = socket.create_connection((\"allowed.test\", 2222), 5); print(s.recv(99), flush=True); \
            sys.stdin.read(1)'";
        let mut command = world.keyward(&["--allow-domains", "allowed.test:2222"]);
        command.args(["--", "sh", "-c", hold]);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut run = command.spawn().unwrap();
        let logs = world.host().log_dir();
        let id = || {
            Some(
                logs.read_dir()
                    .ok()?
                    .next()?
                    .ok()?
                    .file_name()
                    .into_string()
                    .unwrap(),
            )
        };
        let here = || {
            let all = stdout(&keyward(world, &["top", "--once", "--json"]));
            let all: Value = serde_json::from_str(&all).unwrap();
            // Other tests' runs are on this host, too.
            let runs = all["runs"].as_array().unwrap().clone();
            runs.into_iter()
                .find(|it| it["run"].as_str() == id().as_deref())
        };
        let open = || Some(here()?["status"]["connections"][0].clone());
        eventually("the connection is shown", || {
            open().is_some_and(|it| it["host"] == "allowed.test" && it["port"] == 2222)
        });
        let id = id().unwrap();
        let following = Command::new(binary("keyward"))
            .args(["logs", &id, "-f", "--format", "raw", "--log-dir"])
            .arg(&logs)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // It is still there when the run ends, and ends with it.
        drop(run.stdin.take());
        assert!(run.wait().unwrap().success());
        let followed = stdout(&following.wait_with_output().unwrap());
        let last: Value = serde_json::from_str(followed.lines().last().unwrap()).unwrap();
        assert_eq!(last["event"], "end", "{followed}");
        assert!(followed.contains("\"port\":2222"), "{followed}");
        eventually("the run is shown no more", || here().is_none());
    });
}
