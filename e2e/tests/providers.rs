// SPDX-License-Identifier: GPL-3.0-or-later
//! Providers that a policy file adds: served, and their keys kept from the command, as those that come with keyward.
#![cfg(test)]

use std::fs;

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

#[test]
fn a_provider_of_ones_own_works_and_its_key_stays_outside() {
    on_a_host(|host| {
        let emulator = provider(host, "credential = \"env:MY_KEY\"");
        let script = "echo $MY_KEY $MINE_BASE_URL; cat /proc/*/environ | tr '\\0' '\\n'; \
            curl -sS -o /dev/null -w '%{http_code}\\n' -H \"Authorization: Bearer $MY_KEY\" \
            -H 'content-type: application/json' -d '{\"model\":\"m\",\"input\":\"hi\"}' $MINE_BASE_URL/v1/responses";
        let run = |arguments: &[&str], script: &str| {
            let mut command = host.run();
            command
                .env("MY_KEY", MY_KEY)
                .args(["--config", "policy.toml"]);
            command.args(["--upstream-ca", "ca.pem"]).args(arguments);
            command.args(["--", "sh", "-c", script]).output().unwrap()
        };
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
