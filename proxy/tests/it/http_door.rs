// SPDX-License-Identifier: MIT OR Apache-2.0
//! Plain HTTP through the doors: framing, keep-alive, bodies, upgrades.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    doors::{Doors, Record, Site},
    explicit::{OK, ask, text},
};

fn get(host: &str, path: &str) -> String {
    format!("GET http://{host}{path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

/// A request with further lines and a body.
fn post(lines: &str, body: &str) -> String {
    format!("POST http://example.com/ HTTP/1.1\r\nHost: example.com\r\n{lines}\r\n{body}")
}

#[tokio::test]
async fn what_has_two_readings_goes_nowhere() {
    let site = Site::answering(OK).await;
    let doors = Doors::new(&["example.com"], &[("example.com", site.address)]);
    let large = format!("X: {}\r\n", "x".repeat(20_000));
    for (lines, body, status) in [
        ("Content-Length: 5\r\nContent-Length: 6\r\n", "hello", 400),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", "hello", 400),
        ("Content-Length: +5\r\n", "hello", 400),
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
            400,
        ),
        ("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n", 400),
        ("Transfer-Encoding : chunked\r\n", "0\r\n\r\n", 400),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
            "0\r\n\r\n",
            400,
        ),
        (
            "Transfer-Encoding: chunked\r\n",
            "1;a=b\r\nx\r\n0\r\n\r\n",
            400,
        ),
        ("Transfer-Encoding: chunked\r\n", "x\r\n", 400),
        ("A: b\r\n c\r\n", "", 400),
        ("A: b\n", "", 400),
        ("A: b\0c\r\n", "", 400),
        ("A: b\rc\r\n", "", 400),
        ("Host: example.com\r\n", "", 400),
        ("Expect: 200-ok\r\n", "", 417),
        (&large, "", 431),
    ] {
        let reply = ask(&doors, post(lines, body)).await;
        assert_eq!(reply.status, status, "{lines:?}");
        assert_eq!(
            reply.header("x-keyward-reason"),
            Some("bad_request"),
            "{lines:?}"
        );
        assert_eq!(reply.header("connection"), Some("close"));
        assert!(!text(&reply).contains('\0'));
    }
    assert_eq!(site.seen(), Vec::<String>::new());
    for (lines, body) in [
        ("Content-Length: 5\r\n", "hello"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ] {
        assert_eq!(
            ask(&doors, post(lines, body)).await.status,
            200,
            "{lines:?}"
        );
    }
}

#[tokio::test]
async fn every_request_of_a_connection_is_judged() {
    let site = Site::answering(OK).await;
    let other = Site::answering(OK).await;
    let mut doors = Doors::new(
        &["example.com", "other.example"],
        &[
            ("example.com", site.address),
            ("other.example", other.address),
            ("evil.example", site.address),
        ],
    );
    let mut raw = doors.raw().await;
    // All at once, as if there were no answers in between.
    let all = [
        get("example.com", "/1"),
        get("evil.example", "/2"),
        get("example.com", "/3"),
        get("other.example", "/4"),
        get("example.com", "/5"),
    ];
    raw.send(all.concat()).await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(raw.reply().await.unwrap().status);
    }
    assert_eq!(statuses, [200, 403, 200, 200, 200]);
    assert!(
        site.seen()
            .iter()
            .all(|it| !it.contains("evil") && !it.contains("/2"))
    );
    // The upstream connection was kept where it led to the same host.
    assert_eq!(site.seen().len(), 2);
    assert!(site.seen()[0].contains("/1") && site.seen()[0].contains("/3"));
    assert_eq!(other.seen().len(), 1);
    insta::assert_debug_snapshot!(doors.verdicts(5).await, @r#"
    [
        "allow http example.com 80 GET /1 200",
        "deny http evil.example 80 GET /2 host_not_allowed",
        "allow http example.com 80 GET /3 200",
        "allow http other.example 80 GET /4 200",
        "allow http example.com 80 GET /5 200",
    ]
    "#);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_leads_nowhere_by_itself() {
    let site = Site::answering(
        "HTTP/1.1 302 Found\r\nLocation: http://evil.example/\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    let evil = Site::answering(OK).await;
    let doors = Doors::new(
        &["example.com"],
        &[
            ("example.com", site.address),
            ("evil.example", evil.address),
        ],
    );
    let mut raw = doors.raw().await;
    raw.send(get("example.com", "/")).await;
    let reply = raw.reply().await.unwrap();
    assert_eq!(reply.header("location"), Some("http://evil.example/"));
    raw.send(get("evil.example", "/")).await;
    assert_eq!(raw.reply().await.unwrap().status, 403);
    assert_eq!(evil.seen(), Vec::<String>::new());
}

#[tokio::test]
async fn what_belongs_to_one_hop_goes_no_further() {
    let site = Site::answering(
        "HTTP/1.1 200 OK\r\nConnection: X-Own\r\nX-Own: 1\r\nAlt-Svc: h3=\":443\"\r\n\
         Proxy-Authenticate: Basic\r\nX-Kept: 1\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    let doors = Doors::new(&["example.com"], &[("example.com", site.address)]);
    let reply = ask(
        &doors,
        "GET http://example.com/ HTTP/1.1\r\nHost: EXAMPLE.com:80\r\nProxy-Connection: keep-alive\r\n\
         Proxy-Authorization: Basic eDp5\r\nConnection: close, X-Mine, Host\r\nX-Mine: 1\r\n\
         X-Kept: 1\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nAuthorization: Bearer mine\r\n\r\n",
    )
    .await;
    let seen = site.seen().concat();
    insta::assert_snapshot!(seen.replace('\r', ""), @r#"
    GET / HTTP/1.1
    Host: example.com
    X-Kept: 1
    Authorization: Bearer mine
    "#);
    assert_eq!(
        (reply.header("x-kept"), reply.header("x-own")),
        (Some("1"), None)
    );
    assert_eq!(
        (reply.header("alt-svc"), reply.header("proxy-authenticate")),
        (None, None)
    );
}

#[tokio::test]
async fn bodies_stream_both_ways_with_their_trailers() {
    // Echoes a chunked body as it comes, trailers and all.
    let site = Site::talking(|mut stream: TcpStream, seen: Record| async move {
        let mut bytes = Vec::new();
        let mut chunk = vec![0; 16 * 1024];
        let mut answered = false;
        let mut gone = 0;
        while let Ok(count @ 1..) = stream.read(&mut chunk).await {
            seen.add(&chunk[..count]);
            bytes.extend_from_slice(&chunk[..count]);
            if !answered && let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
                answered = true;
                gone = end + 4;
                let head =
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n";
                stream.write_all(head.as_bytes()).await.unwrap();
            }
            if answered {
                stream.write_all(&bytes[gone..]).await.unwrap();
                gone = bytes.len();
            }
        }
    })
    .await;
    let mut doors = Doors::new(&["example.com"], &[("example.com", site.address)]);
    let mut raw = doors.raw().await;
    raw.send(post(
        "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\nTE: trailers\r\n",
        "",
    ))
    .await;
    raw.send("5\r\nfirst\r\n").await;
    let head = raw.head().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    // The answer begins while the request goes on.
    assert_eq!(raw.chunk().await.unwrap(), b"first");
    let piece = "x".repeat(64 * 1024);
    let mut received = 0;
    for _ in 0..16 {
        raw.send(format!("10000\r\n{piece}\r\n")).await;
        while received < 64 * 1024 {
            received += raw.chunk().await.unwrap().len();
        }
        received -= 64 * 1024;
    }
    raw.send("0\r\nX-Sum: 7\r\nX-Other: 8\r\n\r\n").await;
    assert_eq!(raw.chunk().await, None);
    while !raw.buffer.ends_with(b"\r\n\r\n") {
        assert!(raw.fill().await > 0);
    }
    // Two bytes of it went with the last chunk.
    let rest = String::from_utf8_lossy(&raw.buffer).to_ascii_lowercase();
    assert_eq!(rest, "sum: 7\r\n\r\n");
    drop(raw);
    let line = &doors.audit(1).await[0];
    assert_eq!(line["bytes_up"], 5 + 16 * 64 * 1024);
    assert_eq!(line["bytes_down"], 5 + 16 * 64 * 1024);
}

#[tokio::test]
async fn a_client_that_waits_is_told_to_go_on() {
    let site = Site::answering(OK).await;
    let doors = Doors::new(&["example.com"], &[("example.com", site.address)]);
    let mut raw = doors.raw().await;
    raw.send(post("Content-Length: 5\r\nExpect: 100-continue\r\n", ""))
        .await;
    assert_eq!(raw.head().await.unwrap(), "HTTP/1.1 100 Continue");
    raw.send("hello").await;
    assert_eq!(raw.reply().await.unwrap().status, 200);
    // Whoever is denied is told so in place of it.
    let mut raw = doors.raw().await;
    let denied = post("Content-Length: 5\r\nExpect: 100-continue\r\n", "");
    raw.send(denied.replace("example.com", "example.org")).await;
    assert_eq!(raw.reply().await.unwrap().status, 403);
}

#[tokio::test]
async fn answers_without_a_body_have_none() {
    for (status, line) in [
        ("204 No Content", ""),
        ("304 Not Modified", "Content-Length: 5\r\n"),
        ("200 OK", "Content-Length: 5\r\n"),
    ] {
        let answer: &'static str =
            Box::leak(format!("HTTP/1.1 {status}\r\n{line}ETag: x\r\n\r\n").into_boxed_str());
        let site = Site::answering(answer).await;
        let doors = Doors::new(&["example.com"], &[("example.com", site.address)]);
        let mut raw = doors.raw().await;
        let head = get("example.com", "/").replace("GET", "HEAD");
        raw.send(format!("{head}{head}")).await;
        for _ in 0..2 {
            let head = raw.head().await.unwrap();
            assert!(head.contains(&status[..3]), "{head}");
        }
        assert_eq!(site.seen().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_websocket_is_carried_if_the_upstream_accepts_it() {
    let site = Site::talking(|mut stream: TcpStream, seen: Record| async move {
        let mut chunk = vec![0; 16 * 1024];
        let count = stream.read(&mut chunk).await.unwrap();
        seen.add(&chunk[..count]);
        let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nfrom the server";
        stream.write_all(head.as_bytes()).await.unwrap();
        while let Ok(count @ 1..) = stream.read(&mut chunk).await {
            seen.add(&chunk[..count]);
            stream.write_all(&chunk[..count]).await.unwrap();
        }
    })
    .await;
    let plain = Site::answering(OK).await;
    let mut doors = Doors::new(
        &["example.com", "plain.example"],
        &[
            ("example.com", site.address),
            ("plain.example", plain.address),
        ],
    );
    let ask = |host: &str| {
        format!(
            "GET http://{host}/socket HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
    };
    let mut raw = doors.raw().await;
    raw.send(ask("example.com")).await;
    let head = raw.head().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    raw.send("and back").await;
    while raw.buffer.len() < 23 {
        assert!(raw.fill().await > 0);
    }
    assert_eq!(raw.buffer, b"from the serverand back");
    drop(raw);
    // Whoever does not accept it answers once; what was sent behind the handshake reaches nobody.
    let mut raw = doors.raw().await;
    raw.send(format!(
        "{}GET /smuggled HTTP/1.1\r\n\r\n",
        ask("plain.example")
    ))
    .await;
    assert_eq!(raw.reply().await.unwrap().status, 200);
    assert!(raw.is_closed().await);
    assert!(!plain.seen().concat().contains("smuggled"));
    let mut raw = doors.raw().await;
    raw.send(ask("evil.example")).await;
    assert_eq!(raw.reply().await.unwrap().status, 403);
    let mut lines = doors.verdicts(3).await;
    lines.sort();
    insta::assert_debug_snapshot!(lines, @r#"
    [
        "allow http example.com 80 GET /socket 101",
        "allow http plain.example 80 GET /socket 200",
        "deny http evil.example 80 GET /socket host_not_allowed",
    ]
    "#);
}

#[tokio::test]
async fn an_upstream_that_breaks_off_does_not_look_whole() {
    let site = Site::talking(|mut stream: TcpStream, _seen: Record| async move {
        let mut chunk = vec![0; 1024];
        if stream.read(&mut chunk).await.unwrap() > 0 {
            let part = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";
            stream.write_all(part.as_bytes()).await.unwrap();
        }
    })
    .await;
    let silent = Site::talking(|mut stream: TcpStream, _seen: Record| async move {
        drop(stream.read(&mut [0; 1024]).await);
    })
    .await;
    let mut doors = Doors::new(
        &["example.com", "silent.example"],
        &[
            ("example.com", site.address),
            ("silent.example", silent.address),
        ],
    );
    let reply = ask(&doors, get("example.com", "/")).await;
    assert_eq!((reply.status, reply.body.len()), (200, 5));
    let reply = ask(&doors, get("silent.example", "/")).await;
    assert_eq!(
        (reply.status, reply.header("x-keyward-reason")),
        (502, Some("unreachable"))
    );
    insta::assert_debug_snapshot!(doors.verdicts(2).await, @r#"
    [
        "allow http example.com 80 GET / 200 unreachable",
        "allow http silent.example 80 GET / unreachable",
    ]
    "#);
}

#[tokio::test]
async fn a_kept_connection_that_died_is_made_anew() {
    let site = Site::talking(|mut stream: TcpStream, seen: Record| async move {
        let mut chunk = vec![0; 1024];
        let count = stream.read(&mut chunk).await.unwrap();
        seen.add(&chunk[..count]);
        stream.write_all(OK.as_bytes()).await.unwrap();
    })
    .await;
    let doors = Doors::new(&["example.com"], &[("example.com", site.address)]);
    let mut raw = doors.raw().await;
    for at in 1..=3 {
        raw.send(get("example.com", "/")).await;
        assert_eq!(raw.reply().await.unwrap().status, 200);
        assert_eq!(site.seen().len(), at);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_long_path_goes_on_whole_and_is_not_written_down_whole() {
    let site = Site::answering(OK).await;
    let mut doors = Doors::new(&["example.com"], &[("example.com", site.address)]);
    let path = format!("/{}", "a".repeat(8000));
    assert_eq!(ask(&doors, get("example.com", &path)).await.status, 200);
    assert!(site.seen().concat().contains(&path));
    let line = &doors.audit(1).await[0];
    assert_eq!(line["path"].as_str(), path.get(..512));
}

/// With both, the length means nothing (RFC 9112, section 6.3); passed on, it would cut the answer off.
#[tokio::test]
async fn an_answer_with_chunks_beside_a_length_is_whole() {
    const BOTH: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n\
                        9\r\nall of it\r\n0\r\n\r\n";
    let site = Site::answering(BOTH).await;
    let doors = Doors::new(&["example.com"], &[("example.com", site.address)]);
    let reply = ask(&doors, get("example.com", "/")).await;
    assert_eq!((reply.status, text(&reply)), (200, "all of it"));
    assert_eq!(reply.header("content-length"), None);
}
