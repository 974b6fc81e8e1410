// SPDX-License-Identifier: GPL-3.0-or-later
//! Providers that a policy file adds: served, and their keys kept from the command, as those that come with keyward.
#![cfg(test)]

use std::fs;
use std::process::Output;

use e2e::host::{Host, on_a_host, stderr, stdout};
use keyward_emulator::{Emulator, Handle, Options};

/// A key that no provider of keyward's own table knows of.
const MY_KEY: &str = "sk-mine-e2e-5f1c0d9e8b7a69584736";

const PLACEHOLDER: &str = "mine-placeholder-for-credential-isolation";

fn provider(host: &Host, credential: &str) -> Handle {
    let emulator = Emulator::start(Options::new(MY_KEY, "none")).unwrap();
    fs::write(host.scratch().join("ca.pem"), emulator.ca_pem()).unwrap();
    let policy = format!(
        "[[provider]]\nname = \"mine\"\nlike = \"openai\"\nport = 10010\ntarget = \"localhost:{}\"\n{credential}\n",
        emulator.addr().port()
    );
    fs::write(host.scratch().join("policy.toml"), policy).unwrap();
    emulator
}

/// Runs a script behind the firewall, with the key in keyward's environment.
fn run(host: &Host, arguments: &[&str], script: &str) -> Output {
    let mut command = host.run();
    command
        .env("MY_KEY", MY_KEY)
        .args(["--config", "policy.toml"]);
    command.args(["--upstream-ca", "ca.pem"]).args(arguments);
    command.args(["--", "sh", "-c", script]).output().unwrap()
}

#[test]
fn a_provider_of_ones_own_works_and_its_key_stays_outside() {
    on_a_host(|host| {
        let emulator = provider(host, "credential = \"env:MY_KEY\"");
        let script = "echo $MY_KEY $MINE_BASE_URL; cat /proc/*/environ | tr '\\0' '\\n'; \
            curl -sS -o /dev/null -w '%{http_code}\\n' -H \"Authorization: Bearer $MY_KEY\" \
            -H 'content-type: application/json' -d '{\"model\":\"m\",\"input\":\"hi\"}' $MINE_BASE_URL/v1/responses";
        let run = |arguments: &[&str], script: &str| run(host, arguments, script);
        let output = run(&["--env-all"], script);
        let text = stdout(&output);
        let expected = format!("{PLACEHOLDER} http://172.30.0.30:10010\n");
        assert!(text.starts_with(&expected), "{text} {}", stderr(&output));
        assert!(text.ends_with("\n200\n"), "{text} {}", stderr(&output));
        assert!(!text.contains(MY_KEY), "{text}");
        let records = emulator.records();
        let bearer = format!("Bearer {MY_KEY}");
        assert!(
            records
                .iter()
                .any(|it| it.header("authorization").any(|value| value == bearer)),
            "{records:?}"
        );
        // Under another name, or by hand, it does not pass either.
        let other = format!("OTHER={MY_KEY}");
        for arguments in [["--env", "MY_KEY=sk-other"], ["--env", &other]] {
            let output = run(&arguments, "true");
            assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
            assert!(!stderr(&output).contains(MY_KEY), "{}", stderr(&output));
        }
    });
}

#[test]
fn a_credential_may_be_in_a_file() {
    on_a_host(|host| {
        let path = host.scratch().join("key");
        fs::write(&path, format!("{MY_KEY}\n")).unwrap();
        let _emulator = provider(host, &format!("credential = \"file:{}\"", path.display()));
        let script = "curl -sS -o /dev/null -w '%{http_code}' $MINE_BASE_URL/v1/models";
        let mut command = host.run();
        command.args(["--config", "policy.toml", "--upstream-ca", "ca.pem"]);
        let output = command.args(["--", "sh", "-c", script]).output().unwrap();
        assert_eq!(stdout(&output), "200", "{}", stderr(&output));
    });
}

#[test]
fn faults_of_the_file_have_their_place_and_quote_no_key() {
    on_a_host(|host| {
        let _emulator = provider(host, &format!("credential = \"{MY_KEY}\"\nprot = 1"));
        let mut command = host.run();
        command.args(["--config", "policy.toml", "--", "true"]);
        let output = command.output().unwrap();
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(125), "{text}");
        assert!(
            text.contains("policy.toml:7:1: this key is not known"),
            "{text}"
        );
        assert!(!text.contains(MY_KEY), "{text}");

        let _emulator = provider(host, &format!("credential = \"{MY_KEY}\""));
        let mut command = host.run();
        command.args(["--config", "policy.toml", "--", "true"]);
        let text = stderr(&command.output().unwrap());
        assert!(
            text.contains("policy.toml:6:15: it must be env:NAME"),
            "{text}"
        );
        assert!(!text.contains(MY_KEY), "{text}");
    });
}

#[test]
fn a_key_that_is_replaced_in_its_file_is_used_while_the_run_goes_on() {
    on_a_host(|host| {
        let path = host.scratch().join("key");
        fs::write(&path, format!("{MY_KEY}\n")).unwrap();
        let emulator = provider(host, &format!("credential = \"file:{}\"", path.display()));
        // Until the provider refuses what it is sent: the new key is one that it does not know.
        let script = "for i in $(seq 100); do \
            code=$(curl -sS -o /dev/null -w '%{http_code}' $MINE_BASE_URL/v1/models); echo $code; \
            [ $code = 401 ] && exit 0; sleep 0.1; done; exit 1";
        let mut command = host.run();
        command.args(["--config", "policy.toml", "--upstream-ca", "ca.pem"]);
        let output = std::thread::scope(|scope| {
            let running = scope.spawn(|| command.args(["--", "sh", "-c", script]).output());
            while emulator.records().is_empty() && !running.is_finished() {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            fs::write(
                host.scratch().join("next"),
                "sk-next-e2e-0123456789abcdef\n",
            )
            .unwrap();
            fs::rename(host.scratch().join("next"), &path).unwrap();
            running.join().unwrap().unwrap()
        });
        let text = stdout(&output);
        assert!(output.status.success(), "{text} {}", stderr(&output));
        assert!(
            text.starts_with("200\n") && text.ends_with("401\n"),
            "{text}"
        );
        let next = |value: &str| value == "Bearer sk-next-e2e-0123456789abcdef";
        let records = emulator.records();
        assert!(
            records
                .iter()
                .any(|it| it.header("authorization").any(next))
        );
    });
}

#[test]
fn limits_rules_for_models_and_the_scan_are_set_by_flags() {
    on_a_host(|host| {
        let emulator = provider(host, "credential = \"env:MY_KEY\"");
        let ask = |body: &str| {
            format!(
                "curl -sS -o /dev/null -w '%{{http_code}}\\n' -H 'content-type: application/json' \
                 -d '{body}' $MINE_BASE_URL/v1/responses; "
            )
        };
        let plain = ask("{\"model\":\"gpt-5\",\"input\":\"hi\"}");
        // A token of a shape that is well known; it is nobody's.
        let leaking = ask(&format!(
            "{{\"model\":\"gpt-5\",\"input\":\"ghp_{}\"}}",
            "a1B2".repeat(9)
        ));
        let run = |arguments: &[&str], script: &str| {
            let output = run(host, arguments, script);
            format!("{}{}", stdout(&output), stderr(&output))
        };
        let twice = plain.repeat(2);
        // Without the flag each passes.
        assert!(run(&[], &twice).starts_with("200\n200\n"));
        assert!(run(&[], &leaking).starts_with("200\n"));
        let before = emulator.records().len();
        for (arguments, script, expected) in [
            (["--max-runs", "1"], &twice, "200\n429\n"),
            (["--rate-limit-rpm", "1"], &twice, "200\n429\n"),
            (["--deny-model", "gpt-5*"], &plain, "403\n"),
            (["--allow-model", "claude-*"], &plain, "403\n"),
            (["--scan", "block"], &leaking, "403\n"),
        ] {
            let text = run(&arguments, script);
            assert!(text.starts_with(expected), "{arguments:?}: {text}");
        }
        let reached = emulator.records().len() - before;
        assert_eq!(reached, 2, "only what was answered 200 got there");
    });
}
