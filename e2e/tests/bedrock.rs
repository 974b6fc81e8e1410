// SPDX-License-Identifier: GPL-3.0-or-later
//! AWS's own library for Python behind the firewall, with an AWS access key: it signs with a placeholder, and what gets to
//! the provider is signed with the real key. The provider, our emulator, works each signature out again.
#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

use e2e::host::{Host, on_a_host, stderr, stdout, succeed};
use keyward_emulator::{AccessKey, Emulator, Handle, Options};

const ID: &str = "ASIAE2E0123456789ABC";
const SECRET: &str = "e2eSecret/K7MDENG+bPxRfiCYEXAMPLE0123456";
const TOKEN: &str = "IQoJb3JpZ2luX2VjE2E//////////wEaCXVzLWVhc3QtMSJHMEUCIQ==";
const PLACEHOLDER: &str = "bedrock-api-key-placeholder-for-credential-isolation";
const PROVIDER: &str = "bedrock-runtime.us-east-1.amazonaws.com";

/// Asks in each of the four ways, and says how it is authorised.
const SCRIPT: &str = r#"
import boto3, json, os, sys
sent = []
client = boto3.client('bedrock-runtime', **json.loads(os.environ.get('MORE', '{}')))
client.meta.events.register('before-send.*', lambda request, **_: sent.append(request.headers['Authorization']))
model = 'anthropic.claude-3-5-sonnet-20241022-v2:0'
ask = [{'role': 'user', 'content': [{'text': 'hi'}]}]
body = json.dumps({'anthropic_version': 'bedrock-2023-05-31', 'max_tokens': 9, 'messages': []})
print(client.converse(modelId=model, messages=ask)['output']['message']['content'][0]['text'])
events = client.converse_stream(modelId=model, messages=ask)['stream']
print(''.join(e['contentBlockDelta']['delta']['text'] for e in events if 'contentBlockDelta' in e))
print(json.loads(client.invoke_model(modelId=model, body=body)['body'].read())['content'][0]['text'])
chunks = client.invoke_model_with_response_stream(modelId=model, body=body)['body']
chunks = [json.loads(e['chunk']['bytes']) for e in chunks]
print(''.join(c['delta']['text'] for c in chunks if c['type'] == 'content_block_delta'))
print(sorted({(s if isinstance(s, str) else s.decode()).split(',')[0].split('/')[0] for s in sent}))
"#;

const ANSWER: &str = "Hello from the emulator.\n";

/// The library from PyPI, kept under `target/clients` from then on. Call it where the network is.
fn ensure() -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients");
    fs::create_dir_all(&clients).unwrap();
    let directory = clients.canonicalize().unwrap().join("boto3");
    if !directory.exists() {
        // Under another name until it is whole: an interrupted installation is not to be taken for one.
        let partial = directory.with_extension("partial");
        let mut pip = Command::new("/usr/bin/pip3");
        pip.args([
            "install",
            "--quiet",
            "--no-compile",
            "--upgrade",
            "--target",
        ]);
        succeed(pip.arg(&partial).arg("boto3"));
        fs::rename(&partial, &directory).unwrap();
    }
    directory
}

/// Where the workload's user can reach it, wherever the workspace is.
fn copied(host: &Host, library: &Path) -> PathBuf {
    let shown = host.scratch().join("library");
    succeed(Command::new("cp").arg("-r").arg(library).arg(&shown));
    shown
}

fn emulator(host: &Host) -> Handle {
    let key = AccessKey {
        id: ID.to_owned(),
        secret: SECRET.to_owned(),
        token: Some(TOKEN.to_owned()),
    };
    let emulator = Emulator::start(Options {
        access_key: Some(key),
        ..Options::new("none", "none")
    });
    let emulator = emulator.unwrap();
    fs::write(host.scratch().join("ca.pem"), emulator.ca_pem()).unwrap();
    emulator
}

/// The library without keyward: the emulator takes what it signs with the real key, and nothing else.
fn alone(host: &Host, emulator: &Handle, library: &Path, secret: &str) -> Output {
    // By the provider's name, for which the certificate is, at the emulator's port.
    let script = format!(
        "import socket\nown = socket.getaddrinfo\n\
         socket.getaddrinfo = lambda host, *a, **k: own('127.0.0.1' if host == '{PROVIDER}' else host, *a, **k)\n{SCRIPT}"
    );
    let more = format!(
        r#"{{"endpoint_url": "https://{PROVIDER}:{}", "verify": "ca.pem"}}"#,
        emulator.addr().port()
    );
    let mut command = Command::new("python3");
    command
        .current_dir(host.scratch())
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("PYTHONPATH", library)
        .env("AWS_REGION", "us-east-1")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_MAX_ATTEMPTS", "1")
        .env("AWS_ACCESS_KEY_ID", ID)
        .env("AWS_SECRET_ACCESS_KEY", secret)
        .env("AWS_SESSION_TOKEN", TOKEN)
        .env("MORE", more);
    command.args(["-c", &script]).output().unwrap()
}

/// The library behind keyward, in whose environment the real key is.
fn confined(host: &Host, emulator: &Handle, library: &Path) -> Output {
    let mut command = host.run();
    command
        .env_remove("OPENAI_API_KEY")
        .env("AWS_ACCESS_KEY_ID", ID)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("AWS_SESSION_TOKEN", TOKEN)
        .args(["--upstream-ca", "ca.pem", "--resolve"])
        .arg(format!("{PROVIDER}={}", emulator.addr()))
        .args(["--env", &format!("PYTHONPATH={}", library.display())]);
    let script =
        "env | grep ^AWS_ | sort; cat /proc/*/environ | tr '\\0' '\\n'; exec python3 ask.py";
    fs::write(host.scratch().join("ask.py"), SCRIPT).unwrap();
    command.args(["--", "sh", "-c", script]).output().unwrap()
}

#[test]
fn boto3_signs_with_a_placeholder_and_the_proxy_with_the_key() {
    let library = ensure();
    on_a_host(move |host| {
        let library = copied(host, &library);
        let emulator = emulator(host);
        // The control: with the key it works without keyward, and with another it does not.
        let output = alone(host, &emulator, &library, SECRET);
        let expected = format!("{}['AWS4-HMAC-SHA256 Credential={ID}']\n", ANSWER.repeat(4));
        assert_eq!(stdout(&output), expected, "{}", stderr(&output));
        let output = alone(host, &emulator, &library, "another");
        assert!(
            stderr(&output).contains("does not match"),
            "{}",
            stderr(&output)
        );

        let before = emulator.records().len();
        let output = confined(host, &emulator, &library);
        let text = stdout(&output);
        let expected = format!(
            "{}['AWS4-HMAC-SHA256 Credential={PLACEHOLDER}']\n",
            ANSWER.repeat(4)
        );
        assert!(text.ends_with(&expected), "{text} {}", stderr(&output));
        assert!(
            text.contains(&format!("AWS_SECRET_ACCESS_KEY={PLACEHOLDER}\n")),
            "{text}"
        );
        for secret in [ID, SECRET, TOKEN] {
            assert!(!text.contains(secret), "{text}");
        }
        let records = emulator.records().split_off(before);
        assert_eq!(records.len(), 4);
        for record in &records {
            assert_eq!((record.status, record.host.as_str()), (200, PROVIDER));
            assert!(!record.mentions(PLACEHOLDER), "{record:?}");
            assert_eq!(
                record.header("x-amz-security-token").collect::<Vec<_>>(),
                [TOKEN]
            );
            let signed: Vec<_> = record.header("authorization").collect();
            assert!(
                signed.len() == 1 && signed[0].contains(&format!("Credential={ID}/")),
                "{signed:?}"
            );
        }
        // What each of them cost was read from the answer, streamed or not.
        let log = host.log("token-usage");
        assert_eq!(log.len(), 4, "{log:?}");
        assert!(log.iter().all(|it| it["output_tokens"] == 4), "{log:?}");
        for name in ["audit", "requests", "proxy", "token-usage"] {
            let text = format!("{:?}", host.log(name));
            assert!(
                ![SECRET, TOKEN, ID].iter().any(|it| text.contains(it)),
                "{name}: {text}"
            );
        }
    });
}

#[test]
fn a_key_for_another_host_stops_the_run_and_both_places_are_named() {
    on_a_host(|host| {
        let run = |more: &[&str]| {
            let mut command = host.run();
            command
                .env("AWS_ACCESS_KEY_ID", ID)
                .env("AWS_SECRET_ACCESS_KEY", SECRET);
            let output = command.args(more).args(["--", "true"]).output().unwrap();
            assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
            assert!(!stderr(&output).contains(SECRET), "{}", stderr(&output));
            stderr(&output)
        };
        let text = run(&["--bedrock-api-target", "gw.corp.test"]);
        assert!(
            text.contains("AWS_SECRET_ACCESS_KEY: it is an AWS access key"),
            "{text}"
        );
        assert!(
            text.contains("the target of bedrock is set by --bedrock-api-target"),
            "{text}"
        );
        let policy = "[provider.bedrock]\ntarget = \"gw.corp.test\"\n\
                      credential = { access-key-id = \"env:AWS_ACCESS_KEY_ID\", secret-access-key = \"env:AWS_SECRET_ACCESS_KEY\" }\n";
        fs::write(host.scratch().join("policy.toml"), policy).unwrap();
        let text = run(&["--config", "policy.toml"]);
        assert!(text.contains("policy.toml:3:"), "{text}");
        assert!(
            text.contains("is set by policy.toml:2:11") || text.contains("/policy.toml:2:11"),
            "{text}"
        );
    });
}
