// SPDX-License-Identifier: MIT OR Apache-2.0
//! What answers cost: read as they pass, in logs and metrics, and nothing waits for it.

use std::{
    io::Write as _,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::Response;
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Full};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
};

use crate::support::{Ca, Gateway, Raw, Speaks, Upstream, ask, raw_upstream};

const EVENTS: [&str; 3] = [
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-x\",\"usage\":{\"input_tokens\":25,\"cache_read_input_tokens\":3,\"cache_creation_input_tokens\":7,\"output_tokens\":1}}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"hello\"}}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":15}}\n\n",
];

struct Events(mpsc::Receiver<Bytes>);

impl Body for Events {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let next = self.get_mut().0.poll_recv(cx);
        next.map(|it| it.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// The events, each in the pieces that a server would flush.
fn pieces(coding: &str) -> Vec<Bytes> {
    match coding {
        "gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            let mut all = Vec::new();
            for event in EVENTS {
                encoder.write_all(event.as_bytes()).unwrap();
                encoder.flush().unwrap();
                all.push(Bytes::from(std::mem::take(encoder.get_mut())));
            }
            all.push(Bytes::from(encoder.finish().unwrap()));
            all
        }
        "br" => {
            let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
            let mut all = Vec::new();
            for event in EVENTS {
                encoder.write_all(event.as_bytes()).unwrap();
                encoder.flush().unwrap();
                all.push(Bytes::from(std::mem::take(encoder.get_mut())));
            }
            all.push(Bytes::from(encoder.into_inner()));
            all
        }
        "zstd" => {
            let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
            let mut all = Vec::new();
            for event in EVENTS {
                encoder.write_all(event.as_bytes()).unwrap();
                encoder.flush().unwrap();
                all.push(Bytes::from(std::mem::take(encoder.get_mut())));
            }
            all.push(Bytes::from(encoder.finish().unwrap()));
            all
        }
        _ => EVENTS.map(Bytes::from).to_vec(),
    }
}

#[tokio::test]
async fn a_stream_is_read_and_no_event_waits_for_the_next() {
    for coding in ["identity", "gzip", "br", "zstd"] {
        let (sender, receiver) = mpsc::channel(1);
        let receiver = Mutex::new(Some(receiver));
        let upstream = Upstream::answering(Speaks::Http2, move |_| {
            let events = Events(receiver.lock().unwrap().take().unwrap());
            async move {
                Response::builder()
                    .header("content-type", "text/event-stream; charset=utf-8")
                    .header("content-encoding", coding)
                    .body(events.boxed())
                    .unwrap()
            }
        })
        .await;
        let mut gateway = Gateway::new(upstream.address, &upstream.ca);
        let mut raw = Raw::connect(gateway.anthropic).await;
        let body = "POST /v1/messages?beta=true HTTP/1.1\r\nHost: x\r\nx-request-id: r-1\r\nContent-Length: 2\r\n\r\n{}";
        raw.send(body).await;
        raw.head().await.unwrap();
        let pieces = pieces(coding);
        let length: usize = pieces.iter().map(Bytes::len).sum();
        for piece in pieces.into_iter().filter(|it| !it.is_empty()) {
            sender.send(piece.clone()).await.unwrap();
            // Nothing else was sent by now: a piece that was held back would never come.
            assert_eq!(raw.chunk().await.unwrap(), piece, "{coding}");
        }
        drop(sender);
        assert_eq!(raw.chunk().await, None);

        let line = gateway.log(1).await.remove(0);
        for (field, value) in [
            ("model", json!("claude-x")),
            ("input_tokens", json!(25)),
            ("output_tokens", json!(15)),
            ("cache_read_tokens", json!(3)),
            ("cache_write_tokens", json!(7)),
            ("reasoning_tokens", json!(0)),
        ] {
            assert_eq!(line[field], value, "{coding}: {line}");
        }
        let [mut account]: [_; 1] = gateway.tokens().try_into().unwrap();
        let account = account.as_object_mut().unwrap();
        assert!(
            account
                .remove("timestamp")
                .unwrap()
                .as_str()
                .unwrap()
                .ends_with('Z')
        );
        assert!(account.remove("duration_ms").unwrap().is_u64());
        let expected = json!({
            "event": "token_usage", "request_id": "r-1", "provider": "anthropic",
            "model": "claude-x", "path": "/v1/messages", "status": 200, "streaming": true,
            "input_tokens": 25, "output_tokens": 15, "cache_read_tokens": 3,
            "cache_write_tokens": 7, "reasoning_tokens": 0, "response_bytes": length,
        });
        assert_eq!(&json!(account), &expected, "{coding}");
        let metrics = ask(gateway.openai, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let metrics = String::from_utf8(metrics.body).unwrap();
        let counted = "keyward_tokens_total{provider=\"anthropic\",kind=\"output\"} 15\n";
        assert!(metrics.contains(counted), "{metrics}");
    }
}

#[tokio::test]
async fn an_answer_without_an_account_has_none() {
    let upstream = Upstream::answering(Speaks::Http1, |seen| async move {
        let body = match seen.uri.contains("models") {
            true => "{\"data\":[]}",
            false => {
                "{\"model\":\"gpt-x\",\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":2}}"
            }
        };
        Response::builder()
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)).boxed())
            .unwrap()
    })
    .await;
    let mut gateway = Gateway::new(upstream.address, &upstream.ca);
    ask(gateway.openai, "GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let request = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
    ask(gateway.openai, request).await;
    let lines = gateway.log(2).await;
    assert!(lines[0].get("input_tokens").is_none(), "{}", lines[0]);
    assert_eq!(lines[1]["input_tokens"], 4);
    let [account]: [_; 1] = gateway.tokens().try_into().unwrap();
    assert_eq!(
        (&account["model"], &account["streaming"]),
        (&json!("gpt-x"), &json!(false))
    );
}

/// A frame of a server's, with a short or a long text.
pub(crate) fn frame(text: &str) -> Vec<u8> {
    let mut bytes = vec![0x81];
    match u8::try_from(text.len()) {
        Ok(length @ ..126) => bytes.push(length),
        _ => {
            bytes.push(126);
            bytes.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
        }
    }
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

#[tokio::test]
async fn each_answer_in_a_tunnel_is_counted() {
    let ca = Ca::new();
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let record = Arc::clone(&heads);
    let completed = |input: u64| {
        let usage = json!({
            "input_tokens": input, "input_tokens_details": { "cached_tokens": 1 },
            "output_tokens": 9, "output_tokens_details": { "reasoning_tokens": 4 },
        });
        json!({ "type": "response.completed", "response": { "model": "gpt-y", "usage": usage } })
            .to_string()
    };
    let sent: Vec<u8> = [
        frame("{\"type\":\"response.created\",\"response\":{\"usage\":null}}"),
        frame(&completed(11)),
        vec![0x89, 0],
        frame(&completed(21)),
    ]
    .concat();
    let script = sent.clone();
    let (address, _task) = raw_upstream(&ca, move |mut stream| {
        let (record, sent) = (Arc::clone(&record), script.clone());
        async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            let key = head
                .lines()
                .find_map(|it| it.strip_prefix("sec-websocket-key: "));
            let text = format!("{}258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key.unwrap());
            let accept = aws_lc_rs::digest::digest(
                &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
                text.as_bytes(),
            );
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {}\r\n\r\n",
                STANDARD.encode(accept)
            );
            record.lock().unwrap().push(head);
            stream.write_all(answer.as_bytes()).await.unwrap();
            for piece in sent.chunks(50) {
                stream.write_all(piece).await.unwrap();
                stream.flush().await.unwrap();
            }
            let mut rest = Vec::new();
            drop(stream.read_to_end(&mut rest).await);
            drop(stream.shutdown().await);
        }
    })
    .await;
    let mut gateway = Gateway::new(address, &ca);
    let mut raw = Raw::connect(gateway.openai).await;
    raw.send(
        "GET /v1/responses HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
    )
    .await;
    raw.head().await.unwrap();
    while raw.buffer.len() < sent.len() {
        assert!(raw.fill().await > 0);
    }
    assert!(raw.buffer == sent);
    raw.buffer.clear();
    // Both are counted while the tunnel is open.
    let accounts = gateway.tokens();
    let inputs: Vec<_> = accounts
        .iter()
        .map(|it| it["input_tokens"].as_u64())
        .collect();
    assert_eq!(inputs, [Some(10), Some(20)]);
    assert_eq!(accounts[0]["model"], "gpt-y");
    assert_eq!(accounts[0]["status"], 101);
    raw.stream.shutdown().await.unwrap();
    assert!(raw.is_closed().await);
    let line = gateway.log(1).await.remove(0);
    assert_eq!(
        (&line["input_tokens"], &line["output_tokens"]),
        (&json!(30), &json!(10))
    );
    assert_eq!(
        (&line["cache_read_tokens"], &line["reasoning_tokens"]),
        (&json!(2), &json!(8))
    );
    let head = heads.lock().unwrap()[0].to_lowercase();
    assert!(!head.contains("sec-websocket-extensions"), "{head}");
}
