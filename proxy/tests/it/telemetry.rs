// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a collector is told, over real TLS; and that nobody waits for it.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::timeout};

use crate::support::{
    ANTHROPIC_KEY, Ca, Gateway, OPENAI_KEY, PATIENCE, Seen, Speaks, Upstream, ask, text,
};

const TOKEN: &str = "collector-token-0123456789";
const HEADER: &str = "collector-header-0123456789";

/// A provider whose answers cost something.
async fn provider() -> Upstream {
    Upstream::answering(Speaks::Http2, |_| async {
        let events = "data: {\"model\":\"gpt-x\",\"choices\":[{\"delta\":\"a secret answer\"}]}\n\n\
             data: {\"model\":\"gpt-x\",\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":5}}\n\n";
        let body = Full::new(Bytes::from(events)).boxed();
        let answer = Response::builder().header("content-type", "text/event-stream");
        answer.body(body).unwrap()
    })
    .await
}

/// Settings with which telemetry goes to `collector`, whose certificate `ca` made.
fn settings(provider: &Upstream, collector: std::net::SocketAddr, ca: &Ca, more: &str) -> String {
    format!(
        "run = 'a1b2'\n[upstream]\nca-pem = ['''{}''']\nresolve = ['api.openai.com={}', 'gw.corp.test={collector}']\n\
         [telemetry]\notlp = 'https://gw.corp.test:4318/otlp'\n{more}\n",
        ca.pem, provider.address
    )
}

/// A gateway that has something to say to a collector.
fn gateway(provider: &Upstream, settings: &str) -> Gateway {
    let keys = [
        ("openai", OPENAI_KEY),
        ("anthropic", ANTHROPIC_KEY),
        ("telemetry:", TOKEN),
        ("telemetry:x-team", HEADER),
    ];
    Gateway::serving(provider.address, &provider.ca, settings, &keys)
}

async fn one_request(gateway: &Gateway) {
    let body = "{\"messages\":\"a secret question\"}";
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nx-request-id: r-1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(ask(gateway.openai, request).await.status, 200);
    let refused = "GET /v1/files HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_eq!(ask(gateway.openai, refused).await.status, 403);
}

fn metric<'a>(seen: &'a Value, name: &str) -> Option<&'a Value> {
    let all = seen["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].as_array()?;
    all.iter().find(|it| it["name"] == name)
}

/// The last of each kind, once metrics say that a request is over.
fn last(seen: &[Seen]) -> Option<(Value, Option<Value>)> {
    let of = |path: &str| {
        let it = seen.iter().rfind(|it| it.uri == path)?;
        serde_json::from_slice::<Value>(&it.body).ok()
    };
    let metrics = of("/otlp/v1/metrics")?;
    metric(&metrics, "gen_ai.client.token.usage")?;
    Some((metrics, of("/otlp/v1/traces")))
}

#[tokio::test]
async fn a_collector_is_told_what_happened_and_nothing_of_what_was_said() {
    let provider = provider().await;
    let collector = Upstream::answering(Speaks::Http1, |_| async { text(200, "{}") }).await;
    let more = "traces = true\ninterval-seconds = 0.1";
    let settings = settings(&provider, collector.address, &collector.ca, more);
    let mut gateway = gateway(&provider, &settings);
    one_request(&gateway).await;
    gateway.log(2).await;
    // The end of the run is the last time.
    gateway.drain();
    timeout(PATIENCE, &mut gateway.task).await.unwrap().unwrap();
    let seen = collector.seen();
    let (metrics, _) = last(&seen).expect("metrics");
    let traces = seen.iter().find(|it| it.uri == "/otlp/v1/traces").unwrap();
    let spans: Value = serde_json::from_slice(&traces.body).unwrap();

    let points = &metric(&metrics, "gen_ai.client.token.usage").unwrap()["histogram"]["dataPoints"];
    let sums: Vec<_> = points
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["sum"])
        .collect();
    assert_eq!(sums, [&json!(7.0), &json!(5.0)]);
    for name in [
        "gen_ai.client.operation.duration",
        "gen_ai.client.operation.time_to_first_chunk",
    ] {
        let points = &metric(&metrics, name).expect(name)["histogram"]["dataPoints"];
        assert_eq!(points[0]["count"], "1", "{name}");
    }
    let requests = &metric(&metrics, "keyward.requests").unwrap()["sum"]["dataPoints"];
    assert!(
        requests.to_string().contains("path_not_allowed"),
        "{requests}"
    );
    let span = &spans["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(span["name"], "chat gpt-x");

    for it in &seen {
        assert_eq!(
            it.headers["authorization"],
            format!("Bearer {TOKEN}").as_str()
        );
        assert_eq!(it.headers["x-team"], HEADER);
        assert_eq!(it.headers["content-type"], "application/json");
        let body = String::from_utf8_lossy(&it.body);
        for secret in [
            "secret",
            OPENAI_KEY,
            ANTHROPIC_KEY,
            TOKEN,
            HEADER,
            "/v1/chat",
        ] {
            assert!(!body.contains(secret), "{secret}: {body}");
        }
    }
    let text = gateway.log_text();
    assert!(!text.contains(TOKEN) && !text.contains(HEADER));
}

#[tokio::test]
async fn a_collector_that_cannot_be_trusted_is_told_nothing() {
    let provider = provider().await;
    // Its certificate is of another authority than the one that is trusted.
    let collector = Upstream::answering(Speaks::Http1, |_| async { text(200, "{}") }).await;
    let settings = settings(
        &provider,
        collector.address,
        &Ca::new(),
        "interval-seconds = 0.1",
    );
    let mut gateway = gateway(&provider, &settings);
    one_request(&gateway).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    gateway.drain();
    timeout(PATIENCE, &mut gateway.task).await.unwrap().unwrap();
    assert!(collector.seen().is_empty());
}

#[tokio::test]
async fn nobody_waits_for_a_collector_that_does_not_answer() {
    let provider = provider().await;
    // It accepts, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let settings = settings(
        &provider,
        address,
        &provider.ca,
        "traces = true\ninterval-seconds = 0.1",
    );
    let mut gateway = gateway(&provider, &settings);
    let (mut held, _) = tokio::join!(
        async { timeout(PATIENCE, silent.accept()).await.unwrap().unwrap().0 },
        one_request(&gateway)
    );
    // The connection is there, and requests are served all the same.
    for _ in 0..20 {
        one_request(&gateway).await;
    }
    assert_eq!(gateway.log(42).await.len(), 42);
    gateway.drain();
    timeout(PATIENCE, &mut gateway.task).await.unwrap().unwrap();
    tokio::io::AsyncWriteExt::shutdown(&mut held).await.ok();
}

#[tokio::test]
async fn spans_that_are_not_taken_come_again() {
    let provider = provider().await;
    let busy = std::sync::atomic::AtomicBool::new(true);
    let collector = Upstream::answering(Speaks::Http1, move |seen| {
        let refuse =
            seen.uri.ends_with("/traces") && busy.swap(false, std::sync::atomic::Ordering::SeqCst);
        async move { text(if refuse { 503 } else { 200 }, "{}") }
    })
    .await;
    let more = "traces = true\ninterval-seconds = 0.1";
    let settings = settings(&provider, collector.address, &collector.ca, more);
    let gateway = gateway(&provider, &settings);
    one_request(&gateway).await;
    let twice = async {
        loop {
            let seen = collector.seen();
            let traces: Vec<_> = seen
                .iter()
                .filter(|it| it.uri.ends_with("/traces"))
                .collect();
            if let [first, second, ..] = traces.as_slice() {
                assert_eq!(first.body, second.body);
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, twice).await.unwrap();
}

#[tokio::test]
async fn without_being_asked_nobody_is_told_anything() {
    let provider = provider().await;
    let collector = Upstream::answering(Speaks::Http1, |_| async { text(200, "{}") }).await;
    let settings = settings(
        &provider,
        collector.address,
        &collector.ca,
        "interval-seconds = 0.1",
    );
    let settings = settings.split("[telemetry]").next().unwrap().to_owned();
    let mut gateway = gateway(&provider, &settings);
    one_request(&gateway).await;
    gateway.drain();
    timeout(PATIENCE, &mut gateway.task).await.unwrap().unwrap();
    assert!(collector.seen().is_empty());
}
