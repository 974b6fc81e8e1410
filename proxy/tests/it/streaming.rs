// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bodies stream both ways: an event arrives when it was sent, a slow reader slows the sender, and what
//! broke off is never made to look whole.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
    time::timeout,
};

use crate::support::{Ca, Gateway, PATIENCE, Raw, Speaks, Upstream, raw_upstream};

/// A body that is whatever is put into a channel.
struct Events(mpsc::Receiver<Bytes>);

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.get_mut()
            .0
            .poll_recv(cx)
            .map(|it| it.map(|bytes| Ok(Frame::data(bytes))))
    }
}

const ASK: &str = "POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";

#[tokio::test]
async fn an_event_arrives_when_it_was_sent() {
    for speaks in [Speaks::Http1, Speaks::Http2] {
        let (sender, receiver) = mpsc::channel(1);
        let receiver = Arc::new(std::sync::Mutex::new(Some(receiver)));
        let upstream = Upstream::answering(speaks, move |_| {
            let events = Events(receiver.lock().unwrap().take().unwrap());
            async move {
                Response::builder()
                    .header("content-type", "text/event-stream")
                    .body(events.boxed())
                    .unwrap()
            }
        })
        .await;
        let mut gateway = Gateway::new(upstream.address, &upstream.ca);
        let mut raw = Raw::connect(gateway.openai).await;
        raw.send(ASK).await;
        let head = raw.head().await.unwrap();
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        let mut slowest = Duration::ZERO;
        for at in 0..100 {
            let event = Bytes::from(format!("data: {at}\n\n"));
            let sent = Instant::now();
            sender.send(event.clone()).await.unwrap();
            // Nothing else is on its way: if this event were held back for another, it would not come.
            assert_eq!(raw.chunk().await.unwrap(), event);
            slowest = slowest.max(sent.elapsed());
        }
        assert!(slowest < Duration::from_millis(500), "{slowest:?}");
        drop(sender);
        assert_eq!(raw.chunk().await, None);
        let line = gateway.log(1).await.remove(0);
        assert_eq!(line["complete"], true);
        assert!(line["first_byte_ms"].as_f64() < line["duration_ms"].as_f64());
    }
}

#[tokio::test]
async fn a_request_body_arrives_before_it_is_whole() {
    let ca = Ca::new();
    let (address, _task) = raw_upstream(&ca, |mut stream| async move {
        let mut got = Vec::new();
        while !got.ends_with(b"first\r\n") {
            got.push(stream.read_u8().await.unwrap());
        }
        // Answered while the body is still coming.
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nseen")
            .await
            .unwrap();
        drop(stream.read(&mut [0; 1024]).await);
    })
    .await;
    let gateway = Gateway::new(address, &ca);
    let mut raw = Raw::connect(gateway.openai).await;
    raw.send("POST /v1/responses HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        .await;
    assert_eq!(raw.reply().await.unwrap().body, b"seen");
}

#[tokio::test]
async fn expect_continue_is_answered_here_and_not_sent_on() {
    let upstream = Upstream::hello(Speaks::Http1).await;
    let gateway = Gateway::new(upstream.address, &upstream.ca);
    let mut raw = Raw::connect(gateway.openai).await;
    raw.send("POST /v1/responses HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        .await;
    assert!(raw.head().await.unwrap().starts_with("HTTP/1.1 100 "));
    raw.send("{}").await;
    assert_eq!(raw.reply().await.unwrap().status, 200);
    assert_eq!(upstream.seen()[0].body, "{}");
    assert!(!upstream.seen()[0].headers.contains_key("expect"));
    // A refusal comes instead of the invitation.
    raw.send(
        "POST /v1/files HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
    )
    .await;
    assert_eq!(raw.reply().await.unwrap().status, 403);
}

#[tokio::test]
async fn an_answer_that_broke_off_is_broken_off() {
    let answers: [&[u8]; 3] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\nzz\r\n",
    ];
    for answer in answers {
        let ca = Ca::new();
        let (address, _task) = raw_upstream(&ca, move |mut stream| async move {
            drop(stream.read(&mut [0; 4096]).await);
            stream.write_all(answer).await.unwrap();
            drop(stream.shutdown().await);
        })
        .await;
        let mut gateway = Gateway::new(address, &ca);
        let mut raw = Raw::connect(gateway.openai).await;
        raw.send(ASK).await;
        assert!(raw.head().await.unwrap().starts_with("HTTP/1.1 200"));
        let mut rest = Vec::new();
        drop(
            timeout(PATIENCE, raw.stream.read_to_end(&mut rest))
                .await
                .unwrap(),
        );
        rest.splice(..0, raw.buffer);
        assert!(
            !rest.ends_with(b"0\r\n\r\n"),
            "{}",
            String::from_utf8_lossy(&rest)
        );
        let line = gateway.log(1).await.remove(0);
        assert_eq!(
            (line["complete"].as_bool(), line["reason"].as_str()),
            (Some(false), Some("upstream_body_broken"))
        );
    }
}

#[tokio::test]
async fn silence_is_given_up_before_and_after_the_head() {
    let limits = "[limits]\nfirst-byte-seconds = 0.2\nupstream-idle-seconds = 0.2";
    for speaks in [Speaks::Http1, Speaks::Http2] {
        let upstream = Upstream::answering(speaks, |_| async {
            std::future::pending::<()>().await;
            unreachable!()
        })
        .await;
        let gateway = Gateway::with(upstream.address, &upstream.ca, limits);
        let mut raw = Raw::connect(gateway.openai).await;
        raw.send(ASK).await;
        let reply = raw.reply().await.unwrap();
        assert_eq!(
            (reply.status, reply.json()["error"]["type"].as_str()),
            (504, Some("upstream_error"))
        );

        let held: Arc<std::sync::Mutex<Vec<mpsc::Sender<Bytes>>>> = Arc::default();
        let upstream = Upstream::answering(speaks, move |_| {
            let (sender, receiver) = mpsc::channel(1);
            sender.try_send(Bytes::from_static(b"data: 1\n\n")).unwrap();
            held.lock().unwrap().push(sender);
            async move { Response::new(Events(receiver).boxed()) }
        })
        .await;
        let mut gateway = Gateway::with(upstream.address, &upstream.ca, limits);
        let mut raw = Raw::connect(gateway.openai).await;
        raw.send(ASK).await;
        assert!(raw.head().await.unwrap().starts_with("HTTP/1.1 200"));
        assert_eq!(raw.chunk().await.unwrap(), b"data: 1\n\n");
        assert_eq!(raw.chunk().await, None);
        assert!(raw.buffer.is_empty(), "no last chunk");
        let line = gateway.log(1).await.remove(0);
        assert_eq!(line["reason"], "upstream_idle_timed_out");
    }
}

#[tokio::test]
async fn a_workload_that_goes_away_ends_the_upstreams_work() {
    for speaks in [Speaks::Http1, Speaks::Http2] {
        let alive = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&alive);
        let upstream = Upstream::answering(speaks, move |_| {
            let (sender, receiver) = mpsc::channel(1);
            let alive = Arc::clone(&count);
            alive.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                while sender
                    .send(Bytes::from_static(b"data: x\n\n"))
                    .await
                    .is_ok()
                {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                alive.fetch_sub(1, Ordering::SeqCst);
            });
            async move { Response::new(Events(receiver).boxed()) }
        })
        .await;
        let mut gateway = Gateway::new(upstream.address, &upstream.ca);
        let mut raw = Raw::connect(gateway.openai).await;
        raw.send(ASK).await;
        assert!(raw.head().await.unwrap().starts_with("HTTP/1.1 200"));
        drop(raw.chunk().await);
        assert_eq!(alive.load(Ordering::SeqCst), 1);
        drop(raw);
        let waited = async {
            while alive.load(Ordering::SeqCst) > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, waited)
            .await
            .expect("the upstream noticed");
        assert_eq!(gateway.log(1).await[0]["reason"], "workload_gone");
    }
}

#[tokio::test]
async fn a_reader_that_does_not_read_stops_its_own_stream_only() {
    for speaks in [Speaks::Http1, Speaks::Http2] {
        let produced = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&produced);
        let upstream = Upstream::answering(speaks, move |seen| {
            let (sender, receiver) = mpsc::channel(1);
            let count = Arc::clone(&count);
            if seen.uri.ends_with("endless") {
                tokio::spawn(async move {
                    let piece = Bytes::from(vec![b'x'; 64 * 1024]);
                    while sender.send(piece.clone()).await.is_ok() {
                        count.fetch_add(piece.len(), Ordering::SeqCst);
                    }
                });
            }
            async move { Response::new(Events(receiver).boxed()) }
        })
        .await;
        let gateway = Gateway::new(upstream.address, &upstream.ca);
        let mut stalled = Vec::new();
        for _ in 0..8 {
            let mut raw = Raw::connect(gateway.openai).await;
            raw.send("GET /v1/responses/endless HTTP/1.1\r\nHost: x\r\n\r\n")
                .await;
            assert!(raw.head().await.unwrap().starts_with("HTTP/1.1 200"));
            stalled.push(raw);
        }
        // It stops by itself: what is held is bounded by windows and socket buffers.
        let mut before = usize::MAX;
        let settled = async {
            while before != produced.load(Ordering::SeqCst) {
                before = produced.load(Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        };
        timeout(PATIENCE, settled).await.expect("backpressure");
        // And the others are served.
        let mut raw = Raw::connect(gateway.openai).await;
        raw.send("GET /v1/responses/short HTTP/1.1\r\nHost: x\r\n\r\n")
            .await;
        assert_eq!(raw.reply().await.unwrap().status, 200);
    }
}
