// SPDX-License-Identifier: MIT OR Apache-2.0
//! WebSocket: the tunnel opens after the right 101 and under no other circumstances.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::server::TlsStream;

use crate::support::{
    Ca, Gateway, OPENAI_KEY, OPENAI_PLACEHOLDER, PATIENCE, Raw, Speaks, Upstream, raw_upstream,
};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

pub(crate) fn handshake(more: &str) -> String {
    format!(
        "GET /v1/responses HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\
         Authorization: Bearer {OPENAI_PLACEHOLDER}\r\n{more}\r\n"
    )
}

/// What the workload tries to smuggle in behind a handshake that was not accepted.
pub(crate) const SMUGGLED: &str = "POST /v1/files HTTP/1.1\r\nHost: api.openai.com\r\n\
                        Authorization: Bearer sk-own\r\nContent-Length: 5\r\n\r\nhello";

/// Reads one head, without its empty line.
pub(crate) async fn head<S: tokio::io::AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a whole head"));
    }
    String::from_utf8(head).unwrap().trim_end().to_owned()
}

pub(crate) fn accept(head: &str) -> String {
    let key = head
        .lines()
        .find_map(|it| it.strip_prefix("sec-websocket-key: "))
        .unwrap();
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest::digest(
        &digest::SHA1_FOR_LEGACY_USE_ONLY,
        text.as_bytes(),
    ))
}

/// An upstream that answers the first head with `answer` and records every byte behind it.
pub(crate) async fn recording(
    ca: &Ca,
    answer: fn(&str) -> String,
) -> (
    std::net::SocketAddr,
    Arc<Mutex<Vec<String>>>,
    Arc<Mutex<Vec<u8>>>,
) {
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let rest: Arc<Mutex<Vec<u8>>> = Arc::default();
    let (record_head, record_rest) = (Arc::clone(&heads), Arc::clone(&rest));
    let script = move |mut stream: TlsStream<TcpStream>| {
        let (heads, rest) = (Arc::clone(&record_head), Arc::clone(&record_rest));
        async move {
            let head = head(&mut stream).await;
            stream.write_all(answer(&head).as_bytes()).await.unwrap();
            heads.lock().unwrap().push(head);
            let mut buffer = [0; 1024];
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                rest.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        }
    };
    let (address, _task) = raw_upstream(ca, script).await;
    (address, heads, rest)
}

#[tokio::test]
async fn an_accepted_tunnel_carries_bytes_both_ways() {
    let ca = Ca::new();
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let record = Arc::clone(&heads);
    let (address, _task) = raw_upstream(&ca, move |mut stream| {
        let record = Arc::clone(&record);
        async move {
            let head = head(&mut stream).await;
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {}\r\nX-Upstream: 1\r\n\r\nfirst",
                accept(&head)
            );
            record.lock().unwrap().push(head);
            stream.write_all(answer.as_bytes()).await.unwrap();
            let (mut from, mut to) = tokio::io::split(stream);
            drop(tokio::io::copy(&mut from, &mut to).await);
            drop(to.shutdown().await);
        }
    })
    .await;
    let mut gateway = Gateway::new(address, &ca);
    let mut raw = Raw::connect(gateway.openai).await;
    // Frames right behind the handshake are the workload's risk; they wait for the answer.
    raw.send(handshake("Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.sk-placeholder-for-api-proxy\r\n") + "early").await;
    let head = raw.head().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.to_lowercase().contains("x-upstream: 1"), "{head}");
    let mut expected = b"firstearly".to_vec();
    for at in 0..50_u32 {
        let message = vec![u8::try_from(at).unwrap(); 7000];
        raw.send(&message).await;
        expected.extend(message);
        let mut buffer = [0; 64 * 1024];
        while raw.buffer.len() < expected.len() {
            let count = timeout(PATIENCE, raw.stream.read(&mut buffer))
                .await
                .unwrap()
                .unwrap();
            assert!(count > 0);
            raw.buffer.extend_from_slice(&buffer[..count]);
        }
    }
    assert!(raw.buffer == expected);
    raw.buffer.clear();
    raw.stream.shutdown().await.unwrap();
    assert!(raw.is_closed().await);

    let heads = heads.lock().unwrap().clone();
    let sent = heads[0].to_lowercase();
    assert!(
        sent.contains(&format!("authorization: bearer {OPENAI_KEY}")),
        "{sent}"
    );
    assert!(sent.contains("host: api.openai.com"), "{sent}");
    assert!(
        sent.contains("sec-websocket-protocol: realtime\r\n"),
        "{sent}"
    );
    assert!(!sent.contains(OPENAI_PLACEHOLDER), "{sent}");
    let [line]: [_; 1] = gateway.log(1).await.try_into().unwrap();
    assert_eq!(
        (line["status"].as_u64(), line["decision"].as_str()),
        (Some(101), Some("forwarded"))
    );
    assert_eq!(
        (
            line["request_bytes"].as_u64(),
            line["response_bytes"].as_u64()
        ),
        (Some(350_005), Some(350_010))
    );
}

/// Who ended a tunnel that was not closed: without a goodbye, either side's going breaks it.
#[tokio::test]
async fn a_workload_that_leaves_is_told_from_a_provider_that_breaks_off() {
    for settings in ["", "models.deny = ['x']"] {
        for (workload_leaves, unread, expected) in [
            // Its connection is reset, as it had not read all.
            (true, true, "workload_gone"),
            // It ends, and the upstream goes without a word when it notices.
            (true, false, "workload_gone"),
            (false, false, "upstream_body_broken"),
        ] {
            let ca = Ca::new();
            let (address, _task) = raw_upstream(&ca, move |mut stream| async move {
                let head = head(&mut stream).await;
                let answer = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Accept: {}\r\n\r\n",
                    accept(&head)
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
                // The beginning of a text of 2 MiB: more than fits anywhere, or little.
                let text = vec![b'x'; if unread { 1 << 20 } else { 2 }];
                let frame = [b"\x81\x7f\0\0\0\0\0\x20\0\0", &text[..]].concat();
                drop(stream.write_all(&frame).await);
                while workload_leaves && stream.read(&mut [0; 64]).await.is_ok_and(|it| it > 0) {}
                // No goodbye of TLS's.
            })
            .await;
            let mut gateway = Gateway::with(address, &ca, settings);
            let mut raw = Raw::connect(gateway.openai).await;
            raw.send(handshake("")).await;
            let first = raw.head().await.unwrap();
            assert!(first.starts_with("HTTP/1.1 101 "), "{first}");
            while raw.buffer.len() < 12 {
                assert!(raw.fill().await > 0);
            }
            if workload_leaves {
                drop(raw);
            } else {
                assert_eq!(raw.fill().await, 0);
            }
            let line = gateway.log(1).await.remove(0);
            assert_eq!(
                (line["reason"].as_str(), line["complete"].as_bool()),
                (Some(expected), Some(false)),
                "{settings:?} {workload_leaves} {unread}: {line}"
            );
        }
    }
}

/// Its control is among the holes (`holes.rs`): through a pipe in place of the gateway they arrive.
#[tokio::test]
async fn any_other_answer_is_relayed_once_and_later_bytes_reach_nobody() {
    let refused = |status: &'static str| -> fn(&str) -> String {
        match status {
            "404" => |_| {
                "HTTP/1.1 404 Not Found\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\nnope"
                    .to_owned()
            },
            "426" => {
                |_| "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 4\r\n\r\nnope".to_owned()
            }
            _ => |_| {
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nnope\r\n0\r\n\r\n"
                    .to_owned()
            },
        }
    };
    for status in ["404", "426", "200"] {
        // Both orders: the bytes behind the answer, and together with the handshake.
        for eager in [false, true] {
            let ca = Ca::new();
            let (address, heads, rest) = recording(&ca, refused(status)).await;
            let gateway = Gateway::new(address, &ca);
            let mut raw = Raw::connect(gateway.openai).await;
            let smuggled = if eager { SMUGGLED } else { "" };
            raw.send(handshake("") + smuggled).await;
            let reply = raw.reply().await.unwrap();
            assert_eq!(
                (reply.status.to_string().as_str(), reply.body.as_slice()),
                (status, &b"nope"[..])
            );
            assert_eq!(reply.header("connection"), Some("close"));
            raw.send(SMUGGLED).await;
            assert!(raw.is_closed().await, "{status}");
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert_eq!(heads.lock().unwrap().len(), 1);
            assert!(
                rest.lock().unwrap().is_empty(),
                "{:?}",
                rest.lock().unwrap()
            );
        }
    }
}

#[tokio::test]
async fn a_101_that_proves_nothing_opens_nothing() {
    let answers: [fn(&str) -> String; 3] = [
        |_| {
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
                .to_owned()
        },
        |_| {
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n"
                .to_owned()
        },
        |head| {
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
                accept(head)
            )
        },
    ];
    for answer in answers {
        let ca = Ca::new();
        let (address, _heads, rest) = recording(&ca, answer).await;
        let gateway = Gateway::new(address, &ca);
        let mut raw = Raw::connect(gateway.openai).await;
        raw.send(handshake("") + SMUGGLED).await;
        let reply = raw.reply().await.unwrap();
        assert_eq!(
            (reply.status, reply.json()["error"]["reason"].as_str()),
            (502, Some("upstream_bad_handshake"))
        );
        raw.send(SMUGGLED).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(rest.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn handshakes_that_are_refused_here_are_refused_fast() {
    let upstream = Upstream::hello(Speaks::Http1).await;
    let gateway = Gateway::new(upstream.address, &upstream.ca);
    let with = |from: &str, to: &str| handshake("").replace(from, to);
    for (request, status, kind) in [
        (with("13\r\n", "8\r\n"), 400, "bad_upgrade"),
        (with(KEY, "short"), 400, "bad_upgrade"),
        (
            with("keep-alive, Upgrade", "keep-alive"),
            400,
            "bad_upgrade",
        ),
        (with("GET", "POST"), 400, "bad_upgrade"),
        (
            with("/v1/responses", "/v1/realtime"),
            403,
            "path_not_allowed",
        ),
        (
            with("/v1/responses", "/v1/chat/completions"),
            426,
            "websocket_not_carried",
        ),
        (
            with(OPENAI_PLACEHOLDER, "sk-own"),
            403,
            "foreign_credential",
        ),
        (
            handshake("Sec-WebSocket-Protocol: openai-insecure-api-key.sk-own\r\n"),
            403,
            "foreign_credential",
        ),
    ] {
        let started = std::time::Instant::now();
        let mut raw = Raw::connect(gateway.openai).await;
        raw.send(&request).await;
        let reply = raw.reply().await.unwrap();
        let body = reply.json();
        let found = body["reason"].as_str().or(body["error"]["type"].as_str());
        assert_eq!((reply.status, found), (status, Some(kind)), "{request}");
        raw.send(SMUGGLED).await;
        assert!(raw.is_closed().await, "{request}");
        assert!(started.elapsed() < Duration::from_secs(1));
    }
    let mut raw = Raw::connect(gateway.gemini).await;
    raw.send(handshake("")).await;
    assert_eq!(raw.reply().await.unwrap().status, 503);
    assert!(upstream.seen().is_empty());
}
