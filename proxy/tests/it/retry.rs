// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is tried again, what is waited out, and what is given up.

use std::{
    convert::Infallible,
    io::Write as _,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use crate::support::{
    Ca, Gateway, Nobody, PATIENCE, Raw, Speaks, Upstream, ask, raw_upstream, text,
};

const ASK: &str = "GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n";
const POST: &str = "POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";

/// Stands between gateway and upstream: resets the first connections, and freezes all at a wish.
struct Relay {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    frozen: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Relay {
    async fn new(upstream: SocketAddr, resets: usize) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (accepted, frozen) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (count, stop) = (Arc::clone(&accepted), Arc::clone(&frozen));
        let task = tokio::spawn(async move {
            loop {
                let (from, _) = listener.accept().await.unwrap();
                if count.fetch_add(1, Ordering::SeqCst) < resets {
                    from.set_zero_linger().unwrap();
                    continue;
                }
                let to = TcpStream::connect(upstream).await.unwrap();
                let ((from_read, from_write), (to_read, to_write)) =
                    (from.into_split(), to.into_split());
                for (mut read, mut write) in [(from_read, to_write), (to_read, from_write)] {
                    // What is frozen stays so: only connections made later are carried.
                    let stop = Arc::clone(&stop);
                    tokio::spawn(async move {
                        let mut buffer = [0; 4096];
                        while let Ok(count) = read.read(&mut buffer).await {
                            if stop.load(Ordering::SeqCst) {
                                std::future::pending::<()>().await;
                            }
                            if count == 0 || write.write_all(&buffer[..count]).await.is_err() {
                                break;
                            }
                        }
                    });
                }
            }
        });
        Self {
            address,
            accepted,
            frozen,
            task,
        }
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers the first requests with `status` and `retry-after`, and the others with 200.
async fn busy(
    speaks: Speaks,
    times: usize,
    status: u16,
    retry_after: Option<&'static str>,
) -> Upstream {
    let asked = Arc::new(AtomicUsize::new(0));
    Upstream::answering(speaks, move |_| {
        let at = asked.fetch_add(1, Ordering::SeqCst);
        async move {
            if at >= times {
                return text(200, "done");
            }
            let mut answer = Response::builder().status(status);
            if let Some(value) = retry_after {
                answer = answer.header("retry-after", value);
            }
            answer
                .body(Full::new(Bytes::from_static(b"busy")).boxed())
                .unwrap()
        }
    })
    .await
}

#[tokio::test]
async fn a_connection_that_is_reset_before_it_carried_anything_is_made_again() {
    for speaks in [Speaks::Http1, Speaks::Http2] {
        let upstream = Upstream::hello(speaks).await;
        let relay = Relay::new(upstream.address, 2).await;
        let gateway = Gateway::new(relay.address, &upstream.ca);
        assert_eq!(ask(gateway.openai, POST).await.body, b"hello");
        assert_eq!((relay.accepted(), upstream.seen().len()), (3, 1));

        // Three times and no more.
        let relay = Relay::new(upstream.address, usize::MAX).await;
        let gateway = Gateway::new(relay.address, &upstream.ca);
        assert_eq!(ask(gateway.openai, POST).await.status, 502);
        assert_eq!(relay.accepted(), 3);
    }
}

#[tokio::test]
async fn a_server_that_refuses_for_a_moment_is_asked_again() {
    let upstream = Upstream::hello(Speaks::Http1).await;
    let nobody = Nobody::here();
    let gateway = Gateway::new(nobody.address, &upstream.ca);
    let asked = tokio::spawn(ask(gateway.openai, POST));
    tokio::time::sleep(Duration::from_millis(20)).await;
    let listener = nobody.listen();
    let carried = tokio::spawn(async move {
        let (mut from, _) = listener.accept().await.unwrap();
        let mut to = TcpStream::connect(upstream.address).await.unwrap();
        drop(tokio::io::copy_bidirectional(&mut from, &mut to).await);
    });
    assert_eq!(asked.await.unwrap().body, b"hello");
    carried.abort();
}

#[tokio::test]
async fn those_who_wait_for_one_connection_fail_together() {
    let upstream = Upstream::hello(Speaks::Http1).await;
    let relay = Relay::new(upstream.address, usize::MAX).await;
    let gateway = Gateway::new(relay.address, &upstream.ca);
    let before = Instant::now();
    let asked: Vec<_> = (0..50)
        .map(|_| tokio::spawn(ask(gateway.openai, POST)))
        .collect();
    for it in asked {
        assert_eq!(it.await.unwrap().status, 502);
    }
    // One by one it would be 50 times at least 150 ms.
    assert!(
        before.elapsed() < Duration::from_secs(5),
        "{:?}",
        before.elapsed()
    );
}

#[tokio::test]
async fn nothing_is_repeated_after_a_byte_of_it_was_read() {
    // The first connection dies with half of a body read; the second would be fine.
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let ca = Ca::new();
    let (address, _task) = raw_upstream(&ca, move |mut stream| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            drop(stream.read(&mut [0; 16]).await);
            stream.get_ref().0.set_zero_linger().unwrap();
        }
    })
    .await;
    // Not even where answers are waited out: this was none.
    for toml in ["", "[retry]\nstatuses = [429, 503, 529]"] {
        connections.store(0, Ordering::SeqCst);
        let gateway = Gateway::with(address, &ca, toml);
        let reply = ask(gateway.openai, POST).await;
        assert_eq!(
            (reply.status, reply.json()["error"]["reason"].as_str()),
            (502, Some("upstream_reset"))
        );
        assert_eq!(connections.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn an_answer_that_asks_for_patience_is_waited_out_only_if_that_is_set() {
    let on = "[retry]\nstatuses = [429, 503]\nattempts = 3\nmost-seconds = 5";
    for speaks in [Speaks::Http1, Speaks::Http2] {
        // Off: it is the workload's.
        let upstream = busy(speaks, 1, 429, Some("0")).await;
        let gateway = Gateway::new(upstream.address, &upstream.ca);
        let reply = ask(gateway.openai, POST).await;
        assert_eq!(
            (reply.status, reply.header("retry-after")),
            (429, Some("0"))
        );
        assert_eq!(upstream.seen().len(), 1);

        // On: the same request again, body, credential and all.
        let upstream = busy(speaks, 2, 503, Some("0")).await;
        let mut gateway = Gateway::with(upstream.address, &upstream.ca, on);
        assert_eq!(ask(gateway.openai, POST).await.body, b"done");
        let seen = upstream.seen();
        assert_eq!(seen.len(), 3);
        for it in &seen {
            assert_eq!((it.method.as_str(), it.body.as_ref()), ("POST", &b"{}"[..]));
            assert_eq!((&it.uri, &it.headers), (&seen[0].uri, &seen[0].headers));
        }
        let line = gateway.log(1).await.remove(0);
        assert_eq!(
            (line["retries"].as_u64(), line["status"].as_u64()),
            (Some(2), Some(200))
        );

        // A body of unknown length, and none.
        let chunked = "POST /v1/responses HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
                       3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        for (request, body) in [(chunked, &b"abcde"[..]), (ASK, b"")] {
            let upstream = busy(speaks, 1, 429, Some("0")).await;
            let gateway = Gateway::with(upstream.address, &upstream.ca, on);
            assert_eq!(ask(gateway.openai, request).await.body, b"done");
            assert!(upstream.seen().iter().all(|it| it.body == body));
        }

        // As often as is set, then the answer itself.
        let upstream = busy(speaks, 9, 429, Some("0")).await;
        let gateway = Gateway::with(upstream.address, &upstream.ca, on);
        let reply = ask(gateway.openai, POST).await;
        assert_eq!((reply.status, reply.body.as_slice()), (429, &b"busy"[..]));
        assert_eq!(upstream.seen().len(), 3);
    }
    // Not without a time, not with one that is too long, not another status, not a large body.
    let large = format!(
        "POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{}",
        300 * 1024,
        "x".repeat(300 * 1024)
    );
    for (status, after, request) in [
        (429, None, POST),
        (429, Some("6"), POST),
        (529, Some("0"), POST),
        (429, Some("0"), large.as_str()),
    ] {
        let upstream = busy(Speaks::Http1, 1, status, after).await;
        let gateway = Gateway::with(upstream.address, &upstream.ca, on);
        assert_eq!(ask(gateway.openai, request).await.status, status);
        assert_eq!(upstream.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_workload_that_goes_away_is_not_waited_for() {
    let on = "[retry]\nstatuses = [429]";
    let upstream = busy(Speaks::Http2, 1, 429, Some("1")).await;
    let mut gateway = Gateway::with(upstream.address, &upstream.ca, on);
    let mut raw = Raw::connect(gateway.openai).await;
    raw.send(POST).await;
    let asked = async {
        while upstream.seen().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, asked).await.unwrap();
    drop(raw);
    assert_eq!(gateway.log(1).await[0]["reason"], "workload_gone");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(upstream.seen().len(), 1);
    // The control.
    let upstream = busy(Speaks::Http2, 1, 429, Some("1")).await;
    let gateway = Gateway::with(upstream.address, &upstream.ca, on);
    let before = Instant::now();
    assert_eq!(ask(gateway.openai, POST).await.status, 200);
    assert!(before.elapsed() >= Duration::from_secs(1));
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test]
async fn a_dead_http2_connection_is_noticed_and_replaced() {
    let upstream = Upstream::answering(Speaks::Http2, |seen| async move {
        if seen.uri.ends_with("slow") {
            std::future::pending::<()>().await;
        }
        text(200, "hello")
    })
    .await;
    let relay = Relay::new(upstream.address, 0).await;
    let gateway = Gateway::with(
        relay.address,
        &upstream.ca,
        "[upstream]\nping-seconds = 0.3",
    );
    assert_eq!(ask(gateway.openai, ASK).await.status, 200);
    let slow = "GET /v1/responses/slow HTTP/1.1\r\nHost: x\r\n\r\n";
    let waiting = tokio::spawn(ask(gateway.openai, slow));
    // Alive: it is asked and answers, and the request goes on waiting.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert!(!waiting.is_finished());
    relay.frozen.store(true, Ordering::SeqCst);
    let reply = timeout(PATIENCE, waiting).await.unwrap().unwrap();
    assert_eq!(
        (reply.status, reply.json()["error"]["reason"].as_str()),
        (502, Some("upstream_reset"))
    );
    relay.frozen.store(false, Ordering::SeqCst);
    assert_eq!(ask(gateway.openai, ASK).await.status, 200);
    assert_eq!(relay.accepted(), 2);
}

#[tokio::test]
async fn a_server_that_says_goodbye_finishes_and_gets_nothing_new() {
    let (goodbye, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let ca = Ca::new();
    let acceptor = TlsAcceptor::from(ca.server());
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (leave, answer) = (Arc::clone(&goodbye), Arc::clone(&finish));
    let server = tokio::spawn(async move {
        for connection in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            let stream = acceptor.accept(stream).await.unwrap();
            let (leave, answer) = (Arc::clone(&leave), Arc::clone(&answer));
            tokio::spawn(async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let answer = Arc::clone(&answer);
                    async move {
                        if request.uri().path().ends_with("slow") {
                            answer.notified().await;
                        }
                        Ok::<_, Infallible>(text(200, &connection.to_string()))
                    }
                });
                let serving = http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service);
                let mut serving = std::pin::pin!(serving);
                tokio::select! {
                    ended = &mut serving => return drop(ended),
                    () = leave.notified() => serving.as_mut().graceful_shutdown(),
                }
                drop(serving.await);
            });
        }
    });
    let gateway = Gateway::new(address, &ca);
    assert_eq!(ask(gateway.openai, POST).await.body, b"0");
    let slow = "GET /v1/responses/slow HTTP/1.1\r\nHost: x\r\n\r\n";
    let waiting = tokio::spawn(ask(gateway.openai, slow));
    tokio::time::sleep(Duration::from_millis(100)).await;
    goodbye.notify_one();
    tokio::time::sleep(Duration::from_millis(100)).await;
    for _ in 0..3 {
        assert_eq!(ask(gateway.openai, POST).await.body, b"1");
    }
    finish.notify_one();
    assert_eq!(waiting.await.unwrap().body, b"0");
    server.abort();
}

#[tokio::test]
async fn an_exchange_has_an_end_however_lively_it_is() {
    let ca = Ca::new();
    let (address, _task) = raw_upstream(&ca, |mut stream| async move {
        drop(stream.read(&mut [0; 4096]).await);
        let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        drop(stream.write_all(head).await);
        while stream.write_all(b"3\r\n:\n\n\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let mut gateway = Gateway::with(address, &ca, "[limits]\ntotal-seconds = 0.5");
    let mut raw = Raw::connect(gateway.openai).await;
    raw.send(POST).await;
    let before = Instant::now();
    assert!(raw.head().await.unwrap().starts_with("HTTP/1.1 200"));
    while raw.chunk().await.is_some() {}
    assert!(
        before.elapsed() > Duration::from_millis(400),
        "{:?}",
        before.elapsed()
    );
    assert!(raw.buffer.is_empty(), "no last chunk");
    let line = gateway.log(1).await.remove(0);
    assert_eq!(
        (line["complete"].as_bool(), line["reason"].as_str()),
        (Some(false), Some("upstream_total_timed_out"))
    );

    // Before the head, too.
    let (address, _task) = raw_upstream(&ca, |stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let gateway = Gateway::with(address, &ca, "[limits]\ntotal-seconds = 0.3");
    let reply = ask(gateway.openai, POST).await;
    assert_eq!(
        (reply.status, reply.json()["error"]["reason"].as_str()),
        (504, Some("upstream_total_timed_out"))
    );
}

#[tokio::test]
async fn an_upstream_that_does_not_read_stops_the_workload() {
    let ca = Ca::new();
    let (address, _task) = raw_upstream(&ca, |stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let gateway = Gateway::with(address, &ca, "[limits]\nbody = 1073741824");
    let openai = gateway.openai;
    // A thread of its own: it blocks until the kernel takes no more.
    let sent = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(openai).unwrap();
        stream
            .set_write_timeout(Some(Duration::from_millis(700)))
            .unwrap();
        let head = "POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let piece = vec![b'x'; 64 * 1024];
        let mut sent = 0;
        while sent < 1 << 30 {
            match stream.write(&piece) {
                Ok(count) => sent += count,
                Err(_full) => break,
            }
        }
        sent
    });
    let sent = sent.await.unwrap();
    // Socket buffers of four ends, and little of ours.
    assert!(sent < 64 << 20, "{sent}");
}
