// SPDX-License-Identifier: MIT OR Apache-2.0
//! Credentials that change: replaced, fetched, expired, and never seen by the workload.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use keyward_proxy::credential::{Credential, NotReplaced};
use tokio::time::{sleep, timeout};

use crate::support::{Gateway, OPENAI_KEY, PATIENCE, Reply, Seen, Speaks, Upstream, ask, text};

const MODELS: &str = "GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n";
const WEBSOCKET: &str = "GET /v1/responses HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Tokens for openai come from a path of another host.
const OAUTH: &str = "[provider.openai.credential]\nkind = 'oauth'\nclient-id = 'client-1'\n\
    token-url = 'https://api.anthropic.com/token'";

const REFRESH: &str = "refresh-token-0123456789";

fn secret(text: &str) -> Credential {
    Credential::new(text.as_bytes().to_vec()).unwrap()
}

/// A request as often as it takes until the answer has this status.
async fn until(gateway: &Gateway, status: u16) -> Reply {
    let asking = async {
        loop {
            let reply = ask(gateway.openai, MODELS).await;
            if reply.status == status {
                return reply;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, asking)
        .await
        .expect("that status in time")
}

fn models(seen: &[Seen]) -> Vec<&Seen> {
    seen.iter().filter(|it| it.uri == "/v1/models").collect()
}

fn is_not_ready(reply: &Reply) {
    assert_eq!(reply.status, 503);
    let error = &reply.json()["error"];
    assert_eq!(error["type"], "credential_not_ready");
    assert_eq!(error["provider"], "openai");
    assert_eq!(error["port"], 10000);
    assert_eq!(error["retryable"], true);
}

#[tokio::test]
async fn a_replaced_key_is_used_by_the_next_request() {
    let upstream = Upstream::hello(Speaks::Http2).await;
    let mut gateway = Gateway::new(upstream.address, &upstream.ca);
    assert_eq!(ask(gateway.openai, MODELS).await.status, 200);
    let rotated = "sk-rotated-9876543210";
    gateway
        .rotation
        .replace("openai", &secret(rotated))
        .unwrap();
    assert_eq!(ask(gateway.openai, MODELS).await.status, 200);
    let seen = upstream.seen();
    let used: Vec<_> = seen.iter().map(|it| &it.headers["authorization"]).collect();
    assert_eq!(
        used,
        [
            &format!("Bearer {OPENAI_KEY}"),
            &format!("Bearer {rotated}")
        ]
    );
    // What it was not started with, it does not serve; and then nothing of the rest is replaced either.
    let stray = Err(NotReplaced::NoSuchSlot("gemini".to_owned()));
    assert_eq!(gateway.rotation.replace("gemini", &secret("x")), stray);
    assert_eq!(
        ask(gateway.gemini, MODELS).await.json()["error"]["type"],
        "provider_not_configured"
    );
    assert!(!gateway.log_text().contains("9876543210"));
}

#[tokio::test]
async fn until_the_first_token_everybody_is_told_to_come_again() {
    let upstream = Upstream::answering(Speaks::Http1, |seen| async move {
        match seen.uri.as_str() {
            "/token" => text(
                200,
                r#"{"access_token":"fetched-token-1","token_type":"bearer","expires_in":3600}"#,
            ),
            _ => text(200, "hello"),
        }
    })
    .await;
    let mut gateway = Gateway::with(upstream.address, &upstream.ca, OAUTH);
    is_not_ready(&ask(gateway.openai, MODELS).await);
    is_not_ready(&ask(gateway.openai, WEBSOCKET).await);
    let health = ask(gateway.openai, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(
        (health.status, &health.json()["status"]),
        (503, &"credential_not_ready".into())
    );
    // What the token is fetched for is not what is put into its slot by hand.
    assert!(gateway.rotation.replace("openai", &secret("x")).is_err());
    // Nothing has left, least of all the static key.
    assert_eq!(upstream.seen().len(), 0);

    gateway
        .rotation
        .replace("openai.refresh-token", &secret(REFRESH))
        .unwrap();
    let reply = until(&gateway, 200).await;
    assert_eq!(reply.body, b"hello");
    let seen = upstream.seen();
    assert_eq!(
        models(&seen)[0].headers["authorization"],
        "Bearer fetched-token-1"
    );
    let asked = seen.iter().find(|it| it.uri == "/token").unwrap();
    assert_eq!(asked.method, "POST");
    assert_eq!(asked.headers["host"], "api.anthropic.com");
    let form = format!("grant_type=refresh_token&refresh_token={REFRESH}&client_id=client-1");
    assert_eq!(asked.body, form);
    assert!(!asked.headers.contains_key("authorization"));
    let log = gateway.log_text();
    assert!(log.contains("credential_not_ready"));
    assert!(
        !log.contains("fetched-token") && !log.contains(REFRESH),
        "{log}"
    );
}

#[tokio::test]
async fn an_expired_token_is_not_used_and_a_renewed_refresh_token_is() {
    let tokens = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&tokens);
    let upstream = Upstream::answering(Speaks::Http1, move |seen| {
        let count = Arc::clone(&count);
        async move {
            match seen.uri.as_str() {
                "/token" if count.fetch_add(1, Ordering::Relaxed) == 0 => text(
                    200,
                    r#"{"access_token":"short-token","expires_in":1,"refresh_token":"second-refresh"}"#,
                ),
                "/token" => text(400, r#"{"error":"invalid_grant","error_description":"short-token"}"#),
                _ => text(200, "hello"),
            }
        }
    })
    .await;
    let gateway = Gateway::with(upstream.address, &upstream.ca, OAUTH);
    gateway
        .rotation
        .replace("openai.refresh-token", &secret(REFRESH))
        .unwrap();
    until(&gateway, 200).await;
    let reply = until(&gateway, 503).await;
    is_not_ready(&reply);
    let there = |it: &&Seen| it.uri == "/token";
    let asked = async {
        while upstream.seen().iter().filter(there).count() < 2 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, asked).await.unwrap();
    let seen = upstream.seen();
    let second = seen.iter().filter(there).nth(1).unwrap();
    assert!(String::from_utf8_lossy(&second.body).contains("refresh_token=second-refresh"));
    // And it stays so: nothing is sent without a token, whatever was there before.
    let before = models(&seen).len();
    is_not_ready(&ask(gateway.openai, MODELS).await);
    assert_eq!(models(&upstream.seen()).len(), before);
}

#[tokio::test]
async fn a_token_host_that_answers_garbage_gives_no_token() {
    let answers = [
        (200, "not json".to_owned()),
        (
            200,
            r#"{"access_token":"a b\r\nx: y","expires_in":3600}"#.to_owned(),
        ),
        (200, r#"{"access_token":"","expires_in":3600}"#.to_owned()),
        (200, r#"{"access_token":"t","expires_in":0}"#.to_owned()),
        (
            200,
            r#"{"access_token":"t","token_type":"mac","expires_in":9}"#.to_owned(),
        ),
        (200, r#"{"expires_in":3600}"#.to_owned()),
        (
            200,
            format!(
                r#"{{"access_token":"t","expires_in":9,"x":"{}"}}"#,
                "x".repeat(70_000)
            ),
        ),
        (302, r#"{"access_token":"t","expires_in":3600}"#.to_owned()),
    ];
    let number = answers.len();
    let given = Arc::new(AtomicUsize::new(0));
    let (count, answers) = (Arc::clone(&given), Arc::new(answers));
    let upstream = Upstream::answering(Speaks::Http1, move |seen| {
        let (count, answers) = (Arc::clone(&count), Arc::clone(&answers));
        async move {
            if seen.uri != "/token" {
                return text(200, "hello");
            }
            match answers.get(count.fetch_add(1, Ordering::SeqCst)) {
                Some((status, body)) => text(*status, body),
                // The positive: the first sensible answer is taken.
                None => text(200, r#"{"access_token":"good","expires_in":3600}"#),
            }
        }
    })
    .await;
    let gateway = Gateway::with(upstream.address, &upstream.ca, OAUTH);
    for turn in 1..=number + 1 {
        // What it fetches with is new: it asks at once.
        let refresh = secret(&format!("refresh-{turn}"));
        gateway
            .rotation
            .replace("openai.refresh-token", &refresh)
            .unwrap();
        let asked = async {
            while given.load(Ordering::SeqCst) < turn {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, asked).await.unwrap();
        if given.load(Ordering::SeqCst) < number {
            is_not_ready(&ask(gateway.openai, MODELS).await);
        }
    }
    until(&gateway, 200).await;
    let seen = upstream.seen();
    assert!(
        models(&seen)
            .iter()
            .all(|it| it.headers["authorization"] == "Bearer good")
    );
}

#[tokio::test]
async fn a_jobs_identity_becomes_a_token() {
    let upstream = Upstream::answering(Speaks::Http1, |seen| async move {
        match seen.uri.as_str() {
            "/identity?v=1&audience=https%3A%2F%2Fapi.anthropic.com" => {
                text(200, r#"{"value":"header.identity.signature"}"#)
            }
            "/v1/oauth/token" => text(
                200,
                r#"{"access_token":"sk-ant-oat01-fetched","token_type":"Bearer","expires_in":600}"#,
            ),
            _ => text(200, "hello"),
        }
    })
    .await;
    let gateway = Gateway::with(
        upstream.address,
        &upstream.ca,
        "[provider.anthropic.credential]\nkind = 'github-oidc'\nexchange = 'anthropic'\n\
         federation-rule-id = 'fdrl_1'\norganization-id = 'o-1'\nservice-account-id = 'svac_1'\n\
         request-url = 'https://api.openai.com/identity?v=1'",
    );
    gateway
        .rotation
        .replace("anthropic.oidc-token", &secret("request-token"))
        .unwrap();
    let served = async {
        while ask(gateway.anthropic, MODELS).await.status != 200 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, served).await.unwrap();
    let seen = upstream.seen();
    let [identity, exchange, served] = seen.as_slice() else {
        unreachable!("{seen:?}")
    };
    assert_eq!(
        (identity.method.as_str(), &identity.headers["host"]),
        ("GET", &"api.openai.com".parse().unwrap())
    );
    assert_eq!(identity.headers["authorization"], "Bearer request-token");
    assert!(!exchange.headers.contains_key("authorization"));
    let body: serde_json::Value = serde_json::from_slice(&exchange.body).unwrap();
    assert_eq!(
        body,
        serde_json::json!({
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "assertion": "header.identity.signature",
            "federation_rule_id": "fdrl_1",
            "organization_id": "o-1",
            "service_account_id": "svac_1",
        })
    );
    assert_eq!(
        served.headers["authorization"],
        "Bearer sk-ant-oat01-fetched"
    );
    assert_eq!(served.headers["anthropic-beta"], "oauth-2025-04-20");
    assert!(!served.headers.contains_key("x-api-key"));
}

/// A standalone proxy as a process: it looks at files and runs commands, under its own seccomp filter.
#[tokio::test]
async fn a_standalone_proxy_follows_files_and_commands() {
    let upstream = Upstream::hello(Speaks::Http1).await;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("ca.pem"), &upstream.ca.pem).unwrap();
    std::fs::write(path("key"), "key-one\n").unwrap();
    let config = format!(
        "[provider.openai]\nport = 10041\ncredential = 'file:{key}'\n\
         [provider.anthropic]\nport = 10042\n\
         credential = {{ command = '/bin/date +key-%s', refresh-seconds = 1 }}\n\
         [provider.copilot]\nport = 10043\n[provider.gemini]\nport = 10044\n[provider.vertex]\nport = 10045\n\
         [upstream]\nsystem-roots = false\nca-files = ['{ca}']\n\
         resolve = ['api.openai.com={address}', 'api.anthropic.com={address}']\n[log]\nrequests = '/dev/null'\n",
        key = path("key").display(),
        ca = path("ca.pem").display(),
        address = upstream.address,
    );
    std::fs::write(path("proxy.toml"), config).unwrap();
    let mut proxy = Command::new(env!("CARGO_BIN_EXE_keyward-proxy"))
        .arg("--config")
        .arg(path("proxy.toml"))
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let keys = Arc::new(Mutex::new(Vec::new()));
    let following = async {
        let seen_at = |port: u16| {
            let keys = Arc::clone(&keys);
            let upstream = &upstream;
            async move {
                if tokio::net::TcpStream::connect(("127.0.0.1", port))
                    .await
                    .is_err()
                {
                    return None;
                }
                ask(([127, 0, 0, 1], port).into(), MODELS).await;
                let last = upstream.seen().pop()?;
                let key = last
                    .headers
                    .get("authorization")
                    .or(last.headers.get("x-api-key"));
                let key = key?.to_str().unwrap().to_owned();
                keys.lock().unwrap().push(key.clone());
                Some(key)
            }
        };
        let wait = || sleep(Duration::from_millis(50));
        while seen_at(10041).await.as_deref() != Some("Bearer key-one") {
            wait().await;
        }
        let mut new = tempfile::NamedTempFile::new_in(directory.path()).unwrap();
        new.write_all(b"key-two").unwrap();
        new.persist(path("key")).unwrap();
        while seen_at(10041).await.as_deref() != Some("Bearer key-two") {
            wait().await;
        }
        let first = seen_at(10042).await.unwrap();
        assert!(first.starts_with("key-1"), "{first}");
        while seen_at(10042).await.as_ref() == Some(&first) {
            wait().await;
        }
    };
    let followed = timeout(PATIENCE, following).await;
    proxy.kill().unwrap();
    proxy.wait().unwrap();
    assert!(followed.is_ok(), "{:?}", keys.lock().unwrap());
}
