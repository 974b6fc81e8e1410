// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way to the provider: verified, shared, repeated only where nobody has seen the request.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Version;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Ca, Gateway, Nobody, Raw, Speaks, Upstream, ask, raw_upstream, text};

const ASK: &str = "GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n";

fn reason(reply: &crate::support::Reply) -> (u16, String) {
    let json = reply.json();
    assert_eq!(json["error"]["type"], "upstream_error");
    (
        reply.status,
        json["error"]["reason"].as_str().unwrap().to_owned(),
    )
}

#[tokio::test]
async fn a_certificate_that_is_not_the_hosts_gets_no_request() {
    let upstream = Upstream::hello(Speaks::Http1).await;
    // Signed by a root that is not trusted.
    let other = Ca::new();
    let gateway = Gateway::new(upstream.address, &other);
    assert_eq!(
        reason(&ask(gateway.openai, ASK).await),
        (502, "upstream_tls_failed".to_owned())
    );
    // Trusted, for another name.
    let target = format!(
        "[provider.openai]\ntarget = 'gw.test'\n[upstream]\nresolve = ['gw.test={}']",
        upstream.address
    );
    let gateway = Gateway::with(upstream.address, &upstream.ca, &target);
    assert_eq!(
        reason(&ask(gateway.openai, ASK).await),
        (502, "upstream_tls_failed".to_owned())
    );
    assert!(upstream.seen().is_empty());
    // The control.
    let gateway = Gateway::new(upstream.address, &upstream.ca);
    assert_eq!(ask(gateway.openai, ASK).await.status, 200);
}

#[tokio::test]
async fn what_cannot_be_reached_is_said_to_be_so() {
    let upstream = Upstream::hello(Speaks::Http1).await;
    let nobody = Nobody::here();
    let gateway = Gateway::new(nobody.address, &upstream.ca);
    assert_eq!(
        reason(&ask(gateway.openai, ASK).await),
        (502, "upstream_unreachable".to_owned())
    );

    // Accepts and says nothing: TLS never comes to an end.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let gateway = Gateway::with(address, &upstream.ca, "[limits]\nconnect-seconds = 0.2");
    assert_eq!(
        reason(&ask(gateway.openai, ASK).await),
        (504, "upstream_connect_timed_out".to_owned())
    );
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_replaced_without_a_fault() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let ca = Ca::new();
    let (address, _task) = raw_upstream(&ca, move |mut stream| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            // One answer that promises more, and then the end.
            drop(stream.read(&mut [0; 4096]).await);
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .await
                .unwrap();
            drop(stream.shutdown().await);
        }
    })
    .await;
    let gateway = Gateway::new(address, &ca);
    let mut raw = Raw::connect(gateway.openai).await;
    for _ in 0..20 {
        raw.send(ASK).await;
        let reply = raw.reply().await.unwrap();
        assert_eq!((reply.status, reply.body.as_slice()), (200, &b"ok"[..]));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(connections.load(Ordering::SeqCst), 20);
}

#[tokio::test]
async fn a_request_that_may_have_been_seen_is_not_repeated() {
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    let ca = Ca::new();
    let (address, _task) = raw_upstream(&ca, move |mut stream| {
        let count = Arc::clone(&count);
        async move {
            drop(stream.read(&mut [0; 4096]).await);
            count.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let gateway = Gateway::new(address, &ca);
    let request = "POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(
        reason(&ask(gateway.openai, request).await),
        (502, "upstream_reset".to_owned())
    );
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(requests.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn few_requests_have_a_connection_each_and_many_share() {
    for (speaks, alone, expected) in [
        // One for each hundred.
        (Speaks::Http2, 0, (0, 3)),
        (Speaks::Http2, 32, (32, 3)),
        (Speaks::OnlyHttp2, 32, (0, 3)),
        (Speaks::Http1, 32, (250, 0)),
    ] {
        // Nobody is answered before everybody is there.
        let all = Arc::new(tokio::sync::Barrier::new(250));
        let upstream = Upstream::answering(speaks, move |seen| {
            let all = Arc::clone(&all);
            async move {
                if seen.uri.contains("responses") {
                    all.wait().await;
                }
                text(200, seen.uri.rsplit('/').next().unwrap())
            }
        })
        .await;
        let toml = format!("[upstream]\nhttp1-connections = {alone}");
        let gateway = Gateway::with(upstream.address, &upstream.ca, &toml);
        let address = gateway.openai;
        let tasks: Vec<_> = (0..250)
            .map(|at| {
                tokio::spawn(async move {
                    let request = format!("GET /v1/responses/{at} HTTP/1.1\r\nHost: x\r\n\r\n");
                    let reply = ask(address, request).await;
                    assert_eq!(
                        (reply.status, reply.body),
                        (200, at.to_string().into_bytes())
                    );
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let seen = upstream.seen();
        let connections = |version| {
            let over = seen.iter().filter(|it| it.version == version);
            over.map(|it| it.connection).collect::<BTreeSet<_>>().len()
        };
        let found = (connections(Version::HTTP_11), connections(Version::HTTP_2));
        assert_eq!(found, expected, "{speaks:?}, {alone}");
        // What was used by one request is used by the next.
        assert_eq!(ask(address, ASK).await.status, 200);
        let last = upstream.seen().pop().unwrap();
        let before = |it: &crate::support::Seen| it.connection == last.connection;
        assert!(seen.iter().any(before), "{speaks:?}, {alone}");
    }
}

#[tokio::test]
async fn a_private_target_gets_its_own_path_and_header() {
    let upstream = Upstream::hello(Speaks::Http1).await;
    let target = format!(
        "[provider.openai]\ntarget = 'https://api.openai.com:8443/gw/v1'\nauth-header = 'X-Corp-Key'\n\
         [upstream]\nresolve = ['api.openai.com:8443={}']",
        upstream.address
    );
    let gateway = Gateway::with(upstream.address, &upstream.ca, &target);
    assert_eq!(ask(gateway.openai, ASK).await.status, 200);
    let seen = upstream.seen().remove(0);
    assert_eq!(
        (seen.uri.as_str(), seen.headers["host"].to_str().unwrap()),
        ("/gw/v1/models", "api.openai.com:8443")
    );
    assert_eq!(seen.headers["x-corp-key"], crate::support::OPENAI_KEY);
    assert!(!seen.headers.contains_key("authorization"));
}

#[tokio::test]
async fn a_drain_lets_what_runs_finish() {
    let upstream = Upstream::answering(Speaks::Http2, |_| async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        text(200, "late")
    })
    .await;
    let mut gateway = Gateway::new(upstream.address, &upstream.ca);
    let mut idle = Raw::connect(gateway.openai).await;
    let mut raw = Raw::connect(gateway.openai).await;
    raw.send(ASK).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    gateway.drain();
    assert_eq!(raw.reply().await.unwrap().body, b"late");
    assert!(raw.is_closed().await);
    assert!(idle.is_closed().await);
    tokio::time::timeout(crate::support::PATIENCE, &mut gateway.task)
        .await
        .unwrap()
        .unwrap();
    assert!(
        tokio::net::TcpStream::connect(gateway.openai)
            .await
            .is_err()
    );
}
