// SPDX-License-Identifier: MIT OR Apache-2.0
//! A provider that repeats the credential: in a header, within a coding, in a WebSocket. Bodies in plain are in
//! `data/orders.toml`.

use std::io::Write as _;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::Response;
use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    support::{Ca, Gateway, OPENAI_KEY, Raw, Reply, Speaks, Upstream, ask, raw_upstream},
    usage::frame,
    websocket::{accept, head},
};

const REQUEST: &str = "POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";

fn stars() -> String {
    "*".repeat(OPENAI_KEY.len())
}

#[tokio::test]
async fn a_header_that_repeats_it_is_covered_and_the_log_says_so() {
    let upstream = Upstream::answering(Speaks::Http1, |seen| async move {
        Response::builder()
            .header("x-asked", &seen.headers["authorization"])
            .body(Full::new(Bytes::from("whole")).boxed())
            .unwrap()
    })
    .await;
    let mut gateway = Gateway::new(upstream.address, &upstream.ca);
    let reply = ask(gateway.openai, REQUEST).await;
    let expected = format!("Bearer {}", stars());
    assert_eq!(reply.header("x-asked"), Some(expected.as_str()));
    assert_eq!(reply.body, b"whole");
    assert_eq!(gateway.log(1).await[0]["masked"], true);
}

#[tokio::test]
async fn within_a_coding_it_breaks_the_answer_off() {
    for (coding, repeats) in [
        ("gzip", true),
        ("gzip", false),
        ("br", true),
        ("deflate", true),
    ] {
        let upstream = Upstream::answering(Speaks::Http1, move |seen| async move {
            let said = if repeats { "authorization" } else { "host" };
            let said = seen.headers[said].to_str().unwrap();
            let text = format!("{} {said}", "0123456789abcdef".repeat(1000));
            Response::builder()
                .header("content-encoding", coding)
                .body(Full::new(encoded(coding, &text)).boxed())
                .unwrap()
        })
        .await;
        let mut gateway = Gateway::new(upstream.address, &upstream.ca);
        let mut raw = Raw::connect(gateway.openai).await;
        raw.send(REQUEST).await;
        // The head may be lost with what is broken off.
        let reply: Option<Reply> = raw.reply().await;
        let whole =
            reply.is_some_and(|it| it.header("content-length").is_some() && !it.body.is_empty());
        assert_eq!(whole, !repeats, "{coding}");
        let line = gateway.log(1).await.remove(0);
        assert_eq!(line["complete"], !repeats, "{line}");
        if repeats {
            assert_eq!(line["reason"], "upstream_credential_repeated", "{line}");
        }
    }
}

fn encoded(coding: &str, text: &str) -> Bytes {
    let text = text.as_bytes();
    match coding {
        "br" => {
            let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
            encoder.write_all(text).unwrap();
            Bytes::from(encoder.into_inner())
        }
        "deflate" => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(text).unwrap();
            Bytes::from(encoder.finish().unwrap())
        }
        _ => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(text).unwrap();
            Bytes::from(encoder.finish().unwrap())
        }
    }
}

#[tokio::test]
async fn messages_of_a_websocket_are_covered_wherever_they_are_cut() {
    let ca = Ca::new();
    let (address, _task) = raw_upstream(&ca, |mut stream| async move {
        let head = head(&mut stream).await;
        let asked = head
            .lines()
            .find_map(|it| it.strip_prefix("authorization: "))
            .unwrap();
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\nX-Asked: {asked}\r\n\r\n",
            accept(&head)
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        let messages = [
            frame("before"),
            frame(&format!("you sent {asked}")),
            frame("sk-"),
        ]
        .concat();
        for piece in messages.chunks(5) {
            stream.write_all(piece).await.unwrap();
            stream.flush().await.unwrap();
        }
        drop(stream.shutdown().await);
        drop(stream.read_to_end(&mut Vec::new()).await);
    })
    .await;
    let mut gateway = Gateway::new(address, &ca);
    let mut raw = Raw::connect(gateway.openai).await;
    raw.send(
        "GET /v1/responses HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .await;
    let answer = raw.head().await.unwrap();
    assert!(answer.contains(&format!("Bearer {}", stars())), "{answer}");
    while raw.fill().await > 0 {}
    let expected = [
        frame("before"),
        frame(&format!("you sent Bearer {}", stars())),
        // What began like it, and was the end.
        frame("sk-"),
    ]
    .concat();
    assert_eq!(
        String::from_utf8_lossy(&raw.buffer),
        String::from_utf8_lossy(&expected)
    );
    drop(raw);
    assert_eq!(gateway.log(1).await[0]["masked"], true);
}
