// SPDX-License-Identifier: MIT OR Apache-2.0
//! Secrets in what the workload sends: stopped, noted, or, if nobody asked, not looked for.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use keyward_proxy::credential::Credential;

use crate::{
    doors::{Doors, Site},
    explicit::{OK, tunnel},
    support::{ANTHROPIC_KEY, Gateway, OPENAI_KEY, OPENAI_PLACEHOLDER, Raw, Speaks, Upstream, ask},
};

const BLOCK: &str = "scan.mode = 'block'";
const WARN: &str = "scan.mode = 'warn'";
const TOKEN: &str = "ghp_aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3";

fn post(target: &str, lines: &str, body: &str) -> String {
    format!(
        "POST {target} HTTP/1.1\r\nHost: example.com\r\nAuthorization: Bearer {OPENAI_PLACEHOLDER}\r\n\
         {lines}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Requests to the gateway that hold a secret, and which.
fn leaks() -> Vec<(String, &'static str)> {
    let encoded = STANDARD.encode(format!("user:{ANTHROPIC_KEY}"));
    let escaped: String = OPENAI_KEY.bytes().map(|it| format!("%{it:02x}")).collect();
    let path = "/v1/responses";
    vec![
        (
            post(path, "", &format!("{{\"input\":\"x\\n{TOKEN}\"}}")),
            "github-token",
        ),
        (
            post(path, "", &format!("{{\"input\":\"{OPENAI_KEY}\"}}")),
            "credential.openai",
        ),
        (
            post(path, "", &format!("{{\"input\":\"{encoded}\"}}")),
            "credential.anthropic",
        ),
        (
            post(path, &format!("X-Note: {ANTHROPIC_KEY}\r\n"), "{}"),
            "credential.anthropic",
        ),
        (
            post(path, &format!("X-Request-Id: {OPENAI_KEY}\r\n"), "{}"),
            "credential.openai",
        ),
        (
            post(&format!("{path}?a={escaped}"), "", "{}"),
            "credential.openai",
        ),
        (
            format!("GET /v1/models/{OPENAI_KEY} HTTP/1.1\r\nHost: x\r\n\r\n"),
            "credential.openai",
        ),
    ]
}

#[tokio::test]
async fn a_request_with_a_secret_is_stopped_and_its_name_is_said() {
    let upstream = Upstream::hello(Speaks::Http1).await;
    let mut gateway = Gateway::with(upstream.address, &upstream.ca, BLOCK);
    for (request, name) in leaks() {
        let reply = ask(gateway.openai, &request).await;
        assert_eq!(reply.status, 403, "{request}");
        let error = &reply.json()["error"];
        assert_eq!(error["type"], "secret_leak");
        assert_eq!(error["finding"], name, "{request}");
    }
    // And one without.
    let body = format!("{{\"input\":\"100% \\n {OPENAI_PLACEHOLDER} ghp_\"}}");
    let reply = ask(gateway.openai, post("/v1/responses", "", &body)).await;
    assert_eq!(reply.status, 200);
    let seen = upstream.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].body, body);

    let lines = gateway.log(leaks().len() + 1).await;
    for (line, (_, name)) in lines.iter().zip(leaks()) {
        assert_eq!(line["reason"], "secret_leak");
        assert_eq!(line["decision"], "denied");
        assert_eq!(line["finding"], name);
    }
    let text = gateway.log_text();
    for secret in [OPENAI_KEY, ANTHROPIC_KEY, TOKEN] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn a_warning_is_a_line_and_off_is_none() {
    for (settings, warned) in [(WARN, true), ("", false)] {
        let upstream = Upstream::hello(Speaks::Http2).await;
        let mut gateway = Gateway::with(upstream.address, &upstream.ca, settings);
        let leaks = leaks();
        for (request, _) in &leaks {
            assert_eq!(ask(gateway.openai, request).await.status, 200);
        }
        assert_eq!(upstream.seen().len(), leaks.len());
        assert!(
            upstream.seen()[0]
                .body
                .ends_with(format!("{TOKEN}\"}}").as_bytes())
        );
        for (line, (_, name)) in gateway.log(leaks.len()).await.iter().zip(&leaks) {
            assert_eq!(line["decision"], "forwarded");
            match warned {
                true => assert_eq!(
                    (&line["reason"], &line["finding"]),
                    (&"secret_leak".into(), &(*name).into())
                ),
                false => assert!(line.get("finding").is_none() && line.get("reason").is_none()),
            }
        }
    }
}

#[tokio::test]
async fn a_secret_in_mid_body_breaks_the_request_off() {
    let upstream = Upstream::hello(Speaks::Http1).await;
    let gateway = Gateway::with(upstream.address, &upstream.ca, BLOCK);
    for (secret, status) in [
        (OPENAI_KEY, 403),
        ("sk-real-openai-012345678 is no key", 200),
    ] {
        let length = 100_000 + secret.len();
        let mut raw = Raw::connect(gateway.openai).await;
        raw.send(format!(
            "POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{}",
            "x".repeat(90_000)
        ))
        .await;
        for byte in secret.as_bytes() {
            raw.send([*byte]).await;
            tokio::task::yield_now().await;
        }
        raw.send("x".repeat(10_000)).await;
        assert_eq!(raw.reply().await.map(|it| it.status), Some(status));
    }
    // Only the whole one arrived.
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn what_is_allowed_by_how_it_begins_passes() {
    let upstream = Upstream::hello(Speaks::Http1).await;
    let toml = format!("{BLOCK}\nscan.allow = ['ghp_aB3a', '{OPENAI_KEY}']");
    let gateway = Gateway::with(upstream.address, &upstream.ca, &toml);
    let reply = ask(gateway.openai, post("/v1/responses", "", TOKEN)).await;
    assert_eq!(reply.status, 200);
    // A credential is one whatever is allowed.
    let reply = ask(gateway.openai, post("/v1/responses", "", OPENAI_KEY)).await;
    assert_eq!(reply.status, 403);
}

fn url(target: &str, body: &str) -> String {
    post(&format!("http://example.com{target}"), "", body)
}

#[tokio::test]
async fn plain_http_by_host_name_is_looked_at_too() {
    for (toml, status) in [(BLOCK, 403), (WARN, 200), ("", 200)] {
        let site = Site::answering(OK).await;
        let mut doors = Doors::with(&["example.com"], &[("example.com", site.address)], toml);
        for request in [
            url(&format!("/?q={TOKEN}"), ""),
            url("/", &format!("{{\"a\":\"{TOKEN}\"}}")),
        ] {
            let mut raw = doors.raw().await;
            raw.send(request).await;
            let reply = raw.reply().await.expect("an answer");
            assert_eq!(reply.status, status, "{toml}");
            if status == 403 {
                assert_eq!(reply.header("x-keyward-reason"), Some("secret_leak"));
                let text = String::from_utf8(reply.body).unwrap();
                assert!(text.contains("github-token"), "{text}");
            }
        }
        let all = site.seen().concat();
        assert_eq!(all.contains(TOKEN), status == 200, "{all}");
        let lines = doors.audit(2).await;
        let found = lines
            .iter()
            .filter(|it| it["finding"] == "github-token")
            .count();
        assert_eq!(found, if toml.is_empty() { 0 } else { 2 }, "{lines:?}");
        if status == 403 {
            assert!(!format!("{lines:?}").contains(TOKEN));
        }
    }
}

#[tokio::test]
async fn a_tunnel_with_a_secret_is_reset() {
    for (toml, passes) in [(BLOCK, false), (WARN, true), ("", true)] {
        let site = Site::echo().await;
        let mut doors = Doors::with(
            &["tcp://example.com:5432"],
            &[("example.com", site.address)],
            toml,
        );
        let mut raw = tunnel(&doors, "example.com:5432").await;
        raw.send("\0hello\n").await;
        assert!(raw.fill().await > 0, "what is harmless passes");
        raw.send(TOKEN).await;
        raw.send("\n").await;
        let mut chunk = [0; 100];
        let read = tokio::io::AsyncReadExt::read(&mut raw.stream, &mut chunk).await;
        assert_eq!(read.is_ok_and(|it| it > 0), passes, "{toml}");
        drop(raw);
        let seen = site.seen().concat();
        assert_eq!(seen.contains(TOKEN), passes, "{seen}");
        let lines = doors.audit(1).await;
        let found = lines.iter().any(|it| it["finding"] == "github-token");
        assert_eq!(found, !toml.is_empty(), "{lines:?}");
    }
}

#[tokio::test]
async fn a_key_that_takes_anothers_place_is_stopped_from_then_on() {
    let upstream = Upstream::hello(Speaks::Http1).await;
    let gateway = Gateway::with(upstream.address, &upstream.ca, BLOCK);
    let next = "sk-next-openai-9876543210";
    let body = |key: &str| post("/v1/responses", "", &format!("{{\"input\":\"{key}\"}}"));
    // Before it is anybody's key it is a word like any other.
    assert_eq!(ask(gateway.openai, body(next)).await.status, 200);
    let key = Credential::new(next.as_bytes().to_vec()).unwrap();
    gateway.rotation.replace("openai", &key).unwrap();
    let encoded = STANDARD.encode(next);
    for sent in [next, &encoded, OPENAI_KEY] {
        let reply = ask(gateway.openai, body(sent)).await;
        assert_eq!(reply.status, 403, "{sent}");
        assert_eq!(reply.json()["error"]["finding"], "credential.openai");
    }
    assert_eq!(upstream.seen().len(), 1);
}
