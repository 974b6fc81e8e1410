// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests that are changed on their way, and those that are not.

use std::{
    io::Write as _,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Full};

use crate::support::{Gateway, Seen, Speaks, Upstream, ask, text};

fn post(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

const JSON: &str = "Content-Type: application/json\r\n";
const ALL: &str = "[rewrite]\nanthropic-cache = true\nstrip-ansi = true\nremove-tools = ['bad']\ndrop-beta = ['x-1']";
const BODY: &str = r#"{ "max_tokens": 1.0, "system":"s", "tools":[{"name":"bad"}],
    "messages":[{"role":"user","content":"\u001b[31mred\u001b[0m"}] }"#;
const CHANGED: &str = r#"{"max_tokens":1.0,"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}],"messages":[{"role":"user","content":[{"type":"text","text":"red","cache_control":{"type":"ephemeral"}}]}]}"#;

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// What the upstream saw of one request to the Anthropic gateway.
async fn seen(toml: &str, speaks: Speaks, request: Vec<u8>) -> Seen {
    let upstream = Upstream::hello(speaks).await;
    let gateway = Gateway::with(upstream.address, &upstream.ca, toml);
    assert_eq!(ask(gateway.anthropic, request).await.status, 200);
    upstream.seen().remove(0)
}

#[tokio::test]
async fn the_upstream_sees_the_changed_body_with_its_length() {
    for speaks in [Speaks::Http1, Speaks::Http2] {
        let chunked = format!(
            "POST /v1/messages HTTP/1.1\r\nHost: x\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{BODY}\r\n0\r\n\r\n",
            BODY.len()
        );
        let encoded = format!("{JSON}Content-Encoding: gzip\r\n");
        for request in [
            post("/v1/messages", JSON, BODY.as_bytes()),
            post("/v1/messages", &encoded, &gzip(BODY.as_bytes())),
            chunked.into_bytes(),
        ] {
            let seen = seen(ALL, speaks, request).await;
            assert_eq!(seen.body, CHANGED);
            assert_eq!(
                seen.headers["content-length"],
                CHANGED.len().to_string().as_str()
            );
            assert!(!seen.headers.contains_key("content-encoding"));
        }
    }
}

#[tokio::test]
async fn without_a_rule_that_needs_it_a_body_keeps_its_bytes() {
    for (toml, path, headers, body) in [
        ("", "/v1/messages", JSON, BODY.as_bytes().to_vec()),
        (
            "[rewrite]\ndrop-beta = ['x-1']",
            "/v1/messages",
            JSON,
            BODY.as_bytes().to_vec(),
        ),
        (
            "[rewrite]\nanthropic-cache = true",
            "/v1/messages/count_tokens",
            JSON,
            BODY.as_bytes().to_vec(),
        ),
        (ALL, "/v1/messages", "", BODY.as_bytes().to_vec()),
        (ALL, "/v1/messages", JSON, b"{ no json".to_vec()),
        (
            ALL,
            "/v1/messages",
            "Content-Type: application/json\r\nContent-Encoding: own\r\n",
            BODY.as_bytes().to_vec(),
        ),
        (
            ALL,
            "/v1/messages",
            "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
            gzip(b"{ \"x\" : 1 }"),
        ),
    ] {
        let seen = seen(toml, Speaks::Http1, post(path, headers, &body)).await;
        assert_eq!(seen.body, body, "{toml} {headers}");
        let encoding = seen.headers.contains_key("content-encoding");
        assert_eq!(encoding, headers.contains("Encoding"));
    }
}

#[tokio::test]
async fn beta_values_of_the_workload_are_dropped() {
    let headers = format!("{JSON}anthropic-beta: x-1,y-1\r\nanthropic-beta: x-1\r\n");
    for (toml, expected) in [(ALL, vec!["y-1"]), ("", vec!["x-1,y-1", "x-1"])] {
        let seen = seen(
            toml,
            Speaks::Http1,
            post("/v1/messages", &headers, BODY.as_bytes()),
        )
        .await;
        let all: Vec<_> = seen.headers.get_all("anthropic-beta").iter().collect();
        assert_eq!(all, expected);
    }
}

/// What is admitted is what is sent: a model is looked for behind the rules.
#[tokio::test]
async fn rules_for_models_see_the_changed_body() {
    let upstream = Upstream::hello(Speaks::Http1).await;
    let toml = format!("{ALL}\n[models]\nallow = ['good']");
    let gateway = Gateway::with(upstream.address, &upstream.ca, &toml);
    let of = |model: &str| {
        let body = format!(r#"{{"model":"{model}","input":"\u001b[1mhi"}}"#);
        post("/v1/responses", JSON, body.as_bytes())
    };
    assert_eq!(ask(gateway.openai, of("good")).await.status, 200);
    assert_ne!(ask(gateway.openai, of("other")).await.status, 200);
    let seen = upstream.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].body, r#"{"model":"good","input":"hi"}"#);
}

const REFUSES: &str = "[rewrite]\ndrop-refused-beta = true";

/// A provider that takes no `old-1`, and says so like Anthropic.
async fn without_old(speaks: Speaks) -> Upstream {
    Upstream::answering(speaks, |seen| async move {
        let asked = seen.headers.get("anthropic-beta");
        let asked = asked.map(|it| it.to_str().unwrap()).unwrap_or_default();
        match asked.split(", ").find(|it| *it == "old-1") {
            Some(it) => text(
                400,
                &format!("{{\"error\":{{\"message\":\"Unexpected value(s) `{it}` for the `anthropic-beta` header.\"}}}}"),
            ),
            None => text(200, asked),
        }
    })
    .await
}

#[tokio::test]
async fn a_beta_that_is_refused_is_left_out_and_remembered() {
    for speaks in [Speaks::Http1, Speaks::Http2] {
        let upstream = without_old(speaks).await;
        let mut gateway = Gateway::with(upstream.address, &upstream.ca, REFUSES);
        let lines = "anthropic-beta: new-1, old-1\r\nanthropic-beta: other-1\r\n";
        for _ in 0..2 {
            let reply = ask(gateway.anthropic, post("/v1/messages", lines, b"{\"a\":1}")).await;
            assert_eq!(
                (reply.status, reply.body.as_slice()),
                (200, &b"new-1, other-1"[..])
            );
        }
        let seen = upstream.seen();
        // The second request did not ask for it at all.
        assert_eq!(seen.len(), 3);
        assert!(seen.iter().all(|it| it.body == "{\"a\":1}"));
        let lines = gateway.log(2).await;
        assert_eq!(lines[0]["retries"], 1);
        assert!(lines[1].get("retries").is_none());
    }
}

#[tokio::test]
async fn a_refusal_that_nothing_can_be_done_about_is_the_workloads_byte_for_byte() {
    let upstream = without_old(Speaks::Http1).await;
    let control = Gateway::new(upstream.address, &upstream.ca);
    let plain = ask(
        control.anthropic,
        post("/v1/messages", "anthropic-beta: old-1\r\n", b"{}"),
    )
    .await;
    assert_eq!(plain.status, 400);
    let gateway = Gateway::with(upstream.address, &upstream.ca, REFUSES);
    // Larger than what is kept to be sent again.
    let large = vec![b' '; 300 * 1024];
    let request = post("/v1/messages", "anthropic-beta: old-1\r\n", &large);
    let reply = ask(gateway.anthropic, request).await;
    assert_eq!((reply.status, reply.body), (400, plain.body));
    // Of another reason, short and long, with a length and without.
    for length in [0, 100, 64 * 1024, 200_000] {
        for chunked in [false, true] {
            let other = Upstream::answering(Speaks::Http1, move |_| async move {
                let body = Full::new(Bytes::from("x".repeat(length)));
                let body = match chunked {
                    false => body.boxed(),
                    true => StreamBody(Some(body)).boxed(),
                };
                Response::builder().status(400).body(body).unwrap()
            })
            .await;
            let gateway = Gateway::with(other.address, &other.ca, REFUSES);
            let request = post("/v1/messages", "anthropic-beta: old-1\r\n", b"{}");
            let reply = ask(gateway.anthropic, request).await;
            assert_eq!(reply.status, 400);
            assert!(reply.body == "x".repeat(length).as_bytes(), "{length}");
            assert_eq!(other.seen().len(), 1);
        }
    }
}

/// A body that does not say how long it is.
struct StreamBody(Option<Full<Bytes>>);

impl Body for StreamBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut self.get_mut().0 {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }
}
