// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a run may spend, and which models it may use, from outside.

use std::{io::Write as _, sync::Arc, time::Duration};

use crate::support::{Gateway, Raw, Reply, Seen, Speaks, Upstream, ask, text};

fn post(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

fn model(name: &str) -> Vec<u8> {
    post(
        "/v1/responses",
        "",
        format!(r#"{{"model":"{name}","input":"hi"}}"#).as_bytes(),
    )
}

fn kind(reply: &Reply) -> (u16, String) {
    let kind = reply.json()["error"]["type"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    (reply.status, kind)
}

/// Many at once, each on a connection of its own.
async fn flood(gateway: &Gateway, count: usize) -> Vec<Reply> {
    let address = gateway.openai;
    let all: Vec<_> = (0..count)
        .map(|_| tokio::spawn(async move { ask(address, model("gpt-5")).await }))
        .collect();
    let mut replies = Vec::new();
    for one in all {
        replies.push(one.await.unwrap());
    }
    replies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_five_hundred_at_once_exactly_as_many_pass_as_the_limit_says() {
    let upstream = Upstream::answering(Speaks::Http2, |_| async {
        // Long enough that all of them are there before the first is answered.
        tokio::time::sleep(Duration::from_secs(3)).await;
        text(200, "hello")
    })
    .await;
    for (limit, window) in [
        ("requests-per-minute = 100", Some("per_minute")),
        ("concurrent-requests = 100", Some("concurrent")),
        ("runs = 100", None),
    ] {
        let before = upstream.seen().len();
        let gateway = Gateway::with(upstream.address, &upstream.ca, &format!("[spend]\n{limit}"));
        let replies = flood(&gateway, 500).await;
        let passed = replies.iter().filter(|it| it.status == 200).count();
        assert_eq!(
            (passed, upstream.seen().len() - before),
            (100, 100),
            "{limit}"
        );
        for refused in replies.iter().filter(|it| it.status != 200) {
            let error = &refused.json()["error"];
            match window {
                Some(window) => {
                    assert_eq!(kind(refused), (429, "rate_limit_error".to_owned()));
                    assert_eq!(
                        (error["window"].as_str(), error["limit"].as_u64()),
                        (Some(window), Some(100))
                    );
                }
                None => assert_eq!(kind(refused), (429, "max_runs_exceeded".to_owned())),
            }
        }
        // A place is free again when an answer is over; what was counted is not.
        let again = ask(gateway.openai, model("gpt-5")).await.status;
        assert_eq!(
            again,
            if window == Some("concurrent") {
                200
            } else {
                429
            }
        );
    }
}

#[tokio::test]
async fn a_rate_limit_says_when_to_come_again() {
    let upstream = Upstream::hello(Speaks::Http1).await;
    let toml = "[spend]\nrequests-per-minute = 1\nrequests-per-hour = 5";
    let mut gateway = Gateway::with(upstream.address, &upstream.ca, toml);
    assert_eq!(ask(gateway.openai, model("gpt-5")).await.status, 200);
    let reply = ask(gateway.openai, model("gpt-5")).await;
    let error = reply.json()["error"].clone();
    assert_eq!(kind(&reply), (429, "rate_limit_error".to_owned()));
    assert_eq!(
        (error["provider"].as_str(), error["window"].as_str()),
        (Some("openai"), Some("per_minute"))
    );
    let number = |name: &str| reply.header(name).unwrap().parse::<u64>().unwrap();
    let wait = number("retry-after");
    assert!(
        (59..=61).contains(&wait) && error["retry_after"] == wait,
        "{wait}"
    );
    assert_eq!(
        (number("x-ratelimit-limit"), number("x-ratelimit-remaining")),
        (1, 0)
    );
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    assert!(number("x-ratelimit-reset").abs_diff(now + wait) <= 2);

    // What is no inference neither counts nor is limited.
    let list = ask(gateway.openai, "GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let count = ask(
        gateway.anthropic,
        post("/v1/messages/count_tokens", "", b"{}"),
    )
    .await;
    let health = ask(gateway.openai, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!((list.status, count.status, health.status), (200, 200, 200));
    let limits = health.json()["rate_limits"].clone();
    assert_eq!(
        (
            &limits["requests_per_minute"]["remaining"],
            &limits["requests_per_hour"]["used"]
        ),
        (&0.into(), &1.into())
    );
    let log = gateway.log(4).await;
    assert!(
        log.iter()
            .any(|it| it["reason"] == "rate_limit_error" && it["decision"] == "denied"),
        "{log:?}"
    );
}

#[tokio::test]
async fn budgets_of_tokens_and_dollars_end_a_run() {
    let upstream =
        Upstream::answering(Speaks::Http1, |_| async { text(200, &"x".repeat(4000)) }).await;
    for (toml, reason) in [
        ("[spend]\ntokens = 1000", "effective_tokens_limit_exceeded"),
        ("[spend]\ndollars = 0.01\n", "dollar_limit_exceeded"),
    ] {
        let mut gateway = Gateway::with(upstream.address, &upstream.ca, toml);
        assert_eq!(ask(gateway.openai, model("gpt-5")).await.status, 200);
        let reply = loop {
            let reply = ask(gateway.openai, model("gpt-5")).await;
            if reply.status != 200 {
                break reply;
            }
        };
        assert_eq!(
            kind(&reply),
            (403, "effective_tokens_limit_exceeded".to_owned())
        );
        assert_eq!(reply.json()["error"]["reason"], reason);
        let message = reply.json()["error"]["message"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(
            message.contains("used") && message.contains("in flight"),
            "{message}"
        );
        assert!(
            gateway
                .log_text()
                .contains(&format!("\"reason\":\"{reason}\""))
        );
    }
    let unpriced = Gateway::with(upstream.address, &upstream.ca, "[spend]\ndollars = 100");
    let reply = ask(unpriced.openai, model("my-own")).await;
    assert_eq!(kind(&reply), (403, "model_policy_violation".to_owned()));
    assert_eq!(reply.json()["error"]["reason"], "model_not_priced");
    let toml = "[spend]\ndollars = 100\nunknown-model = \"dearest\"";
    let dearest = Gateway::with(upstream.address, &upstream.ca, toml);
    assert_eq!(ask(dearest.openai, model("my-own")).await.status, 200);
    let toml = "[spend]\ndollars = 100\nprices = { my-own = { input = 1, output = 2 } }";
    let priced = Gateway::with(upstream.address, &upstream.ca, toml);
    assert_eq!(ask(priced.openai, model("my-own")).await.status, 200);
}

#[tokio::test]
async fn an_upstream_that_refuses_costs_nothing() {
    let upstream =
        Upstream::answering(Speaks::Http1, |_| async { text(500, &"x".repeat(4000)) }).await;
    let gateway = Gateway::with(upstream.address, &upstream.ca, "[spend]\ntokens = 10");
    for _ in 0..3 {
        assert_eq!(ask(gateway.openai, model("gpt-5")).await.status, 500);
    }
}

#[tokio::test]
async fn models_are_judged_by_body_and_alias() {
    let upstream = Upstream::hello(Speaks::Http1).await;
    let toml =
        "[models]\nallow = [\"gpt-5*\"]\ndeny = [\"*-pro\"]\naliases = { fast = \"gpt-5-mini\" }";
    let gateway = Gateway::with(upstream.address, &upstream.ca, toml);
    for name in ["gpt-5", "GPT-5-mini", "openai/gpt-5"] {
        assert_eq!(ask(gateway.openai, model(name)).await.status, 200, "{name}");
    }
    for body in [
        r#"{"model":"gpt-4o"}"#,
        r#"{"model":"gpt-5-pro"}"#,
        r#"{"model":"gpt-5","model":"gpt-4o"}"#,
        r#"{"model":"gpt-5","mod\u0065l":"gpt-4o"}"#,
        r#"{"model":"gpt-5","Model":"gpt-4o"}"#,
        r#"{"model":"gpt-5","models":["gpt-4o"]}"#,
        r#"{"input":"hi"}"#,
        r#"{"model":["gpt-5"]}"#,
        "model=gpt-5",
        "",
    ] {
        let reply = ask(
            gateway.openai,
            post("/v1/chat/completions", "", body.as_bytes()),
        )
        .await;
        assert_eq!(
            kind(&reply),
            (403, "model_policy_violation".to_owned()),
            "{body}"
        );
    }
    let deep = format!(r#"{{"model":"gpt-5","x":{}"#, "[".repeat(2_000_000));
    let reply = ask(gateway.openai, post("/v1/responses", "", deep.as_bytes())).await;
    assert_eq!(reply.status, 403);
    // What has no model is not judged.
    let list = ask(gateway.openai, "GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(list.status, 200);
    assert_eq!(upstream.seen().len(), 4);

    let body = br#"{ "input": "model" , "model" : "Fast" }"#;
    let expected = br#"{ "input": "model" , "model" : "gpt-5-mini" }"#;
    let length = expected.len().to_string();
    let chunked = b"POST /v1/responses HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
        a\r\n{ \"input\":\r\n1d\r\n \"model\" , \"model\" : \"Fast\" }\r\n0\r\n\r\n";
    for request in [post("/v1/responses", "", body), chunked.to_vec()] {
        assert_eq!(ask(gateway.openai, request).await.status, 200);
        let seen: Seen = upstream.seen().pop().unwrap();
        assert_eq!(
            (
                &seen.body[..],
                seen.headers["content-length"].to_str().unwrap()
            ),
            (&expected[..], &*length)
        );
        assert!(!seen.headers.contains_key("transfer-encoding"));
    }
    // The connection is good for more.
    let mut raw = Raw::connect(gateway.openai).await;
    for (name, status) in [
        ("gpt-4o", 403),
        ("fast", 200),
        ("gpt-4o", 403),
        ("gpt-5", 200),
    ] {
        raw.send(model(name)).await;
        assert_eq!(raw.reply().await.unwrap().status, status, "{name}");
    }
}

#[tokio::test]
async fn compressed_bodies_are_read_and_sent_as_they_came() {
    let upstream = Upstream::hello(Speaks::Http1).await;
    let toml = "[models]\nallow = [\"gpt-5*\"]\naliases = { fast = \"gpt-5-mini\" }\n[limits]\nbody = 100000";
    let gateway = Gateway::with(upstream.address, &upstream.ca, toml);
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let send = |encoding: &str, body: Vec<u8>| {
        let request = post(
            "/v1/responses",
            &format!("Content-Encoding: {encoding}\r\n"),
            &body,
        );
        ask(gateway.openai, request)
    };
    let body = gzip(r#"{"model":"gpt-5"}"#);
    assert_eq!(send("gzip", body.clone()).await.status, 200);
    assert_eq!(
        (
            &upstream.seen()[0].body[..],
            &upstream.seen()[0].headers["content-encoding"]
        ),
        (&body[..], &"gzip".parse::<http::HeaderValue>().unwrap())
    );
    assert_eq!(
        send("gzip", gzip(r#"{"model":"gpt-4o"}"#)).await.status,
        403
    );
    assert_eq!(send("rot13", body).await.status, 403);
    let bomb = format!(r#"{{"model":"gpt-5","x":"{}"}}"#, "x".repeat(1_000_000));
    assert_eq!(send("gzip", gzip(&bomb)).await.status, 413);
    assert_eq!(send("gzip", gzip(r#"{"model":"fast"}"#)).await.status, 200);
    let seen = upstream.seen().pop().unwrap();
    assert_eq!(seen.body, r#"{"model":"gpt-5-mini"}"#);
    assert!(!seen.headers.contains_key("content-encoding"));
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test]
async fn models_are_judged_by_path() {
    let upstream = Upstream::hello(Speaks::Http1).await;
    // Gemini's paths on a port that has a credential.
    let toml = "[models]\nallow = [\"gemini-*-flash\"]\naliases = { fast = \"gemini-3-flash\" }\n\
        [provider.openai]\ndialect = \"gemini\"\nbase-path = \"\"\n\
        versions = { known = [\"/v1beta\"], default = \"/v1beta\", always = true }\n\
        routes = [\"POST /models/*:generateContent\"]";
    let gateway = Gateway::with(upstream.address, &upstream.ca, toml);
    // The body is not even JSON: nobody looks.
    let send = |name: &str| {
        let path = format!("/v1beta/models/{name}:generateContent?alt=sse");
        ask(gateway.openai, post(&path, "", b"[not json"))
    };
    assert_eq!(send("gemini-2.5-flash").await.status, 200);
    assert_eq!(
        kind(&send("gemini-2.5-pro").await),
        (403, "model_policy_violation".to_owned())
    );
    assert_eq!(send("fast").await.status, 200);
    let seen = upstream.seen();
    assert_eq!(
        (seen.len(), &*seen[1].uri),
        (2, "/v1beta/models/gemini-3-flash:generateContent?alt=sse")
    );
    assert_eq!(seen[1].body, "[not json");
}

#[tokio::test]
async fn without_a_rule_nothing_is_read_and_nothing_waits() {
    // The upstream has the first piece before the workload has sent the second.
    let upstream = Upstream::hello(Speaks::Http1).await;
    for toml in ["", "[spend]\nruns = 5\nbytes-per-minute = 1000"] {
        let gateway = Gateway::with(upstream.address, &upstream.ca, toml);
        let body = br#"{"model":"a","model":"b"} and no JSON"#;
        let request = post("/v1/responses", "Content-Encoding: rot13\r\n", body);
        assert_eq!(ask(gateway.openai, request).await.status, 200);
        assert_eq!(upstream.seen().pop().unwrap().body, &body[..]);
    }
    let gateway = Gateway::with(upstream.address, &upstream.ca, "");
    let health = ask(gateway.openai, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(health.json()["rate_limits"], serde_json::json!({}));
}

#[tokio::test]
async fn a_websocket_is_a_request_for_its_life() {
    let answered = Arc::new(tokio::sync::Notify::new());
    let wait = Arc::clone(&answered);
    let upstream = Upstream::answering(Speaks::Http1, move |_| {
        let wait = Arc::clone(&wait);
        async move {
            wait.notified().await;
            text(403, "no socket")
        }
    })
    .await;
    let gateway = Gateway::with(
        upstream.address,
        &upstream.ca,
        "[spend]\nconcurrent-requests = 1",
    );
    let handshake = "GET /v1/responses HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut first = Raw::connect(gateway.openai).await;
    first.send(handshake).await;
    while upstream.seen().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(
        kind(&ask(gateway.openai, handshake).await),
        (429, "rate_limit_error".to_owned())
    );
    assert_eq!(ask(gateway.openai, model("gpt-5")).await.status, 429);
    answered.notify_one();
    assert_eq!(first.reply().await.unwrap().status, 403);
    assert!(first.is_closed().await);
    answered.notify_one();
    assert_eq!(ask(gateway.openai, model("gpt-5")).await.status, 403);
    let toml = "[models]\nallow = [\"gpt-5*\"]";
    let gateway = Gateway::with(upstream.address, &upstream.ca, toml);
    let asked = handshake.replace("/v1/responses", "/v1/responses?model=gpt-4o");
    assert_eq!(
        kind(&ask(gateway.openai, asked).await),
        (403, "model_policy_violation".to_owned())
    );
}
