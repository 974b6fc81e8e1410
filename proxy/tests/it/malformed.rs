// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests that are malformed, ambiguous or oversized, byte by byte over a raw socket: each is
//! answered with its own reason, the connection is closed, nothing reaches the upstream, and the next
//! ordinary request still works.

use std::time::Duration;

use crate::support::{Gateway, Raw, Reply, Speaks, Upstream, ask};

const GOOD: &str = "POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";

fn with(header: &str) -> String {
    format!("POST /v1/responses HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\nhello")
}

fn line(line: &str) -> String {
    format!("{line}\r\nHost: x\r\n\r\n")
}

fn chunked(body: &str) -> String {
    format!("POST /v1/responses HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
}

/// Request, status, reason.
fn cases() -> Vec<(String, u16, &'static str)> {
    let many = "A: b\r\n".repeat(200);
    let smuggled = "GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n";
    vec![
        // Two lengths.
        (
            with("Content-Length: 5\r\nTransfer-Encoding: chunked"),
            400,
            "length_and_transfer_encoding",
        ),
        (
            with("Transfer-Encoding: chunked\r\nContent-Length: 5"),
            400,
            "length_and_transfer_encoding",
        ),
        (
            with("Content-Length: 5\r\nContent-Length: 6"),
            400,
            "duplicate_content_length",
        ),
        (
            with("Content-Length: 5\r\nContent-Length: 5"),
            400,
            "duplicate_content_length",
        ),
        (
            with("content-length: 5\r\nCONTENT-LENGTH: 0"),
            400,
            "duplicate_content_length",
        ),
        // One length that is none.
        (with("Content-Length: +5"), 400, "bad_content_length"),
        (with("Content-Length: -1"), 400, "bad_content_length"),
        (with("Content-Length: 5,5"), 400, "bad_content_length"),
        (with("Content-Length: 5, 6"), 400, "bad_content_length"),
        (with("Content-Length: 0x5"), 400, "bad_content_length"),
        (with("Content-Length: 5 6"), 400, "bad_content_length"),
        (
            with("Content-Length: 18446744073709551617"),
            400,
            "bad_content_length",
        ),
        (with("Content-Length: "), 400, "bad_content_length"),
        (with("Content-Length: five"), 400, "bad_content_length"),
        // Transfer codings.
        (
            with("Transfer-Encoding: xchunked"),
            400,
            "bad_transfer_encoding",
        ),
        (
            with("Transfer-Encoding: chunked, chunked"),
            400,
            "bad_transfer_encoding",
        ),
        (
            with("Transfer-Encoding: gzip, chunked"),
            400,
            "bad_transfer_encoding",
        ),
        (
            with("Transfer-Encoding: chunked, identity"),
            400,
            "bad_transfer_encoding",
        ),
        (
            with("Transfer-Encoding: identity"),
            400,
            "bad_transfer_encoding",
        ),
        (
            with("Transfer-Encoding:\tchunked, identity"),
            400,
            "bad_transfer_encoding",
        ),
        (
            with("Transfer-Encoding: chunked\r\nTransfer-Encoding: x"),
            400,
            "bad_transfer_encoding",
        ),
        (
            with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
            400,
            "bad_transfer_encoding",
        ),
        (
            with("Transfer-Encoding: chunked;q=1"),
            400,
            "bad_transfer_encoding",
        ),
        (with("Transfer-Encoding : chunked"), 400, "bad_header_name"),
        (with("Transfer-Encoding\t: chunked"), 400, "bad_header_name"),
        (
            with("Transfer\u{0b}-Encoding: chunked"),
            400,
            "control_character",
        ),
        // Lines.
        (with("A: b\r\n folded"), 400, "folded_header"),
        (with("A: b\r\n\tfolded"), 400, "folded_header"),
        (with(" A: b"), 400, "folded_header"),
        (with("A: b\nB: c"), 400, "bare_line_feed"),
        (with("A: b\rB: c"), 400, "bare_carriage_return"),
        (with("A: b\0c"), 400, "control_character"),
        (with("A\0: b"), 400, "control_character"),
        (with("A: b\u{7f}"), 400, "control_character"),
        (with("no colon"), 400, "bad_header_name"),
        (with(": empty"), 400, "bad_header_name"),
        (with("(A): b"), 400, "bad_header_name"),
        (
            "GET /v1/models HTTP/1.1\nHost: x\n\n".to_owned(),
            400,
            "bare_line_feed",
        ),
        (
            "\r\nGET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            400,
            "bad_request_line",
        ),
        // Request lines.
        (line("GET  /v1/models HTTP/1.1"), 400, "bad_request_line"),
        (line("GET /v1/models  HTTP/1.1"), 400, "bad_request_line"),
        (line("GET /v1/models HTTP/1.1 x"), 400, "bad_request_line"),
        (line("GET\t/v1/models HTTP/1.1"), 400, "bad_request_line"),
        (line("GET /v1/models"), 400, "bad_request_line"),
        (
            line("GET /v1/models HTTP/1.0"),
            505,
            "http_version_not_supported",
        ),
        (
            line("GET /v1/models HTTP/3"),
            505,
            "http_version_not_supported",
        ),
        (line("GET /v1/mod\"els HTTP/1.1"), 400, "bad_path"),
        (line("GET /v1/mod\u{e9}ls HTTP/1.1"), 400, "bad_path"),
        (line("GET /v1/models\\x HTTP/1.1"), 400, "bad_path"),
        (
            line("GET http://api.openai.com/v1/models HTTP/1.1"),
            400,
            "not_a_relative_path",
        ),
        (
            line("GET //api.openai.com/v1/models HTTP/1.1"),
            400,
            "not_a_relative_path",
        ),
        (
            line("GET https:/v1/models HTTP/1.1"),
            400,
            "not_a_relative_path",
        ),
        (line("OPTIONS * HTTP/1.1"), 400, "not_a_relative_path"),
        (
            line("GET api.openai.com HTTP/1.1"),
            400,
            "not_a_relative_path",
        ),
        (
            line("GET /.//api.evil.test/ HTTP/1.1"),
            400,
            "not_a_relative_path",
        ),
        (
            line("CONNECT api.openai.com:443 HTTP/1.1"),
            405,
            "method_not_allowed",
        ),
        (line("TRACE /v1/models HTTP/1.1"), 405, "method_not_allowed"),
        // HTTP/2 by both ways in.
        (
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
            400,
            "http2_prior_knowledge",
        ),
        (
            with(
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
            ),
            400,
            "http2_upgrade",
        ),
        // TLS on a plain port.
        (
            "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0".to_owned(),
            400,
            "control_character",
        ),
        // Host.
        (
            "GET /v1/models HTTP/1.1\r\n\r\n".to_owned(),
            400,
            "missing_host",
        ),
        (with("Host: y"), 400, "duplicate_host"),
        (with("hOsT: x"), 400, "duplicate_host"),
        (
            "GET /v1/models HTTP/1.1\r\nHost: a/b\r\n\r\n".to_owned(),
            400,
            "bad_host",
        ),
        (
            "GET /v1/models HTTP/1.1\r\nHost: a@b\r\n\r\n".to_owned(),
            400,
            "bad_host",
        ),
        (
            "GET /v1/models HTTP/1.1\r\nHost:\r\n\r\n".to_owned(),
            400,
            "bad_host",
        ),
        // Sizes.
        (
            with(&format!("A: {}", "b".repeat(20 * 1024))),
            431,
            "head_too_large",
        ),
        (
            format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(20 * 1024)),
            431,
            "head_too_large",
        ),
        (
            format!("GET /{}", "a".repeat(20 * 1024)),
            431,
            "head_too_large",
        ),
        (with(many.trim_end()), 431, "too_many_headers"),
        (with("Content-Length: 10485761"), 413, "body_too_large"),
        (with("Content-Length: 999999999999"), 413, "body_too_large"),
        // Bodies in chunks.
        (chunked("\r\nhello"), 400, "bad_chunk"),
        (chunked("5;ext=1\r\nhello\r\n0\r\n\r\n"), 400, "bad_chunk"),
        (chunked("5 \r\nhello\r\n0\r\n\r\n"), 400, "bad_chunk"),
        (chunked(" 5\r\nhello\r\n0\r\n\r\n"), 400, "bad_chunk"),
        (chunked("0x5\r\nhello\r\n0\r\n\r\n"), 400, "bad_chunk"),
        (chunked("+5\r\nhello\r\n0\r\n\r\n"), 400, "bad_chunk"),
        (chunked("-5\r\nhello\r\n0\r\n\r\n"), 400, "bad_chunk"),
        (chunked("5\nhello\r\n0\r\n\r\n"), 400, "bad_chunk"),
        (chunked("fffffffffffffffff\r\n"), 400, "bad_chunk"),
        (chunked("10000000000000000\r\n"), 400, "bad_chunk"),
        (chunked(smuggled), 400, "bad_chunk"),
        // Upgrades.
        (
            line("GET /v1/responses HTTP/1.1\r\nUpgrade: websocket"),
            400,
            "bad_upgrade",
        ),
        (
            with("Upgrade: websocket\r\nConnection: upgrade"),
            400,
            "bad_upgrade",
        ),
        (with("Upgrade: TLS/1.0"), 400, "bad_upgrade"),
        (with("Expect: 200-maybe"), 417, "bad_expectation"),
        // Paths that are read in two ways.
        (
            line("GET /v1/models/..%2f..%2ffiles HTTP/1.1"),
            400,
            "bad_path",
        ),
        (
            line("GET /v1/models/..%5c..%5cfiles HTTP/1.1"),
            400,
            "bad_path",
        ),
        (
            line("GET /v1/models/%252e%252e/files HTTP/1.1"),
            400,
            "bad_path",
        ),
        (line("GET /v1/models/..;/files HTTP/1.1"), 400, "bad_path"),
        (line("GET /v1/models/%00 HTTP/1.1"), 400, "bad_path"),
        (
            line("GET /v1/models/%0d%0aX:%20y HTTP/1.1"),
            400,
            "bad_path",
        ),
        (line("GET /v1/models/% HTTP/1.1"), 400, "bad_path"),
    ]
}

fn reason(reply: &Reply) -> String {
    reply.json()["reason"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test]
async fn each_is_refused_for_its_own_reason_and_nothing_is_forwarded() {
    let upstream = Upstream::hello(Speaks::Http1).await;
    let mut gateway = Gateway::new(upstream.address, &upstream.ca);
    // The control: the same bytes without the fault get through.
    assert_eq!(ask(gateway.openai, GOOD).await.status, 200);
    assert_eq!(
        ask(gateway.openai, chunked("5\r\nhello\r\n0\r\n\r\n"))
            .await
            .status,
        200
    );
    assert_eq!(upstream.seen().len(), 2);

    let cases = cases();
    for (request, status, expected) in &cases {
        let mut raw = Raw::connect(gateway.openai).await;
        raw.send(request).await;
        let reply = raw
            .reply()
            .await
            .unwrap_or_else(|| panic!("no answer to {request:?}"));
        assert_eq!(
            (reply.status, reason(&reply).as_str()),
            (*status, *expected),
            "{request:?}"
        );
        assert_eq!(reply.header("connection"), Some("close"), "{request:?}");
        // What is sent behind it reaches nobody.
        raw.send(GOOD).await;
        assert!(raw.is_closed().await, "{request:?}");
    }
    assert_eq!(upstream.seen().len(), 2, "{:#?}", upstream.seen());
    assert_eq!(ask(gateway.openai, GOOD).await.status, 200);

    let lines = gateway.log(cases.len() + 3).await;
    let denied: Vec<_> = lines
        .iter()
        .filter(|it| it["decision"] == "denied")
        .collect();
    assert_eq!(denied.len(), cases.len());
    for (line, (_, status, expected)) in denied.iter().zip(&cases) {
        assert_eq!(
            (line["status"].as_u64(), line["reason"].as_str()),
            (Some(u64::from(*status)), Some(*expected))
        );
    }
}

#[tokio::test]
async fn the_same_holds_byte_by_byte_and_behind_a_good_request() {
    let upstream = Upstream::hello(Speaks::Http2).await;
    let gateway = Gateway::new(upstream.address, &upstream.ca);
    let short = cases().into_iter().filter(|it| it.0.len() < 200);
    for (request, status, expected) in short {
        let before = upstream.seen().len();
        // Behind a good request in one segment: answered in its turn.
        let mut raw = Raw::connect(gateway.openai).await;
        raw.send(format!("{GOOD}{request}")).await;
        assert_eq!(raw.reply().await.unwrap().status, 200, "{request:?}");
        let reply = raw.reply().await.unwrap();
        assert_eq!(
            (reply.status, reason(&reply).as_str()),
            (status, expected),
            "{request:?}"
        );
        assert!(raw.is_closed().await);
        assert_eq!(upstream.seen().len(), before + 1, "{request:?}");

        // Byte by byte.
        let mut raw = Raw::connect(gateway.openai).await;
        for byte in request.as_bytes() {
            raw.send([*byte]).await;
            tokio::task::yield_now().await;
        }
        let reply = raw.reply().await.unwrap();
        assert_eq!(
            (reply.status, reason(&reply).as_str()),
            (status, expected),
            "{request:?}"
        );
    }
}

#[tokio::test]
async fn a_body_that_goes_bad_later_is_broken_off_and_never_completed() {
    for speaks in [Speaks::Http1, Speaks::Http2] {
        let upstream = Upstream::hello(speaks).await;
        let gateway = Gateway::new(upstream.address, &upstream.ca);
        for bad in [
            "zz\r\n",
            "5\r\nhelloXX",
            "5\r\nhello\r\n5;x\r\n",
            "0\r\nA : b\r\n\r\n",
        ] {
            let mut raw = Raw::connect(gateway.openai).await;
            raw.send(chunked("5\r\nhello\r\n")).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            raw.send(bad).await;
            let reply = raw.reply().await.unwrap();
            assert_eq!(reply.status, 400, "{bad:?}");
            assert!(raw.is_closed().await);
        }
        // The upstream records a request only when its body came to its end.
        assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());
    }
}

#[tokio::test]
async fn a_chunked_body_over_the_limit_is_broken_off() {
    for speaks in [Speaks::Http1, Speaks::Http2] {
        let upstream = Upstream::hello(speaks).await;
        let gateway = Gateway::with(upstream.address, &upstream.ca, "[limits]\nbody = 100000");
        let chunk = format!("2710\r\n{}\r\n", "x".repeat(10_000));
        let fits = chunked(&format!("{}0\r\n\r\n", chunk.repeat(10)));
        assert_eq!(ask(gateway.openai, fits).await.status, 200);
        assert_eq!(upstream.seen()[0].body.len(), 100_000);
        let over = chunked(&format!("{}1\r\nx\r\n0\r\n\r\n", chunk.repeat(10)));
        let reply = ask(gateway.openai, over).await;
        assert_eq!(
            (reply.status, reply.json()["error"].as_str()),
            (413, Some("Payload Too Large"))
        );
        assert_eq!(upstream.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_large_refused_upload_still_gets_its_answer() {
    let upstream = Upstream::hello(Speaks::Http1).await;
    let gateway = Gateway::with(upstream.address, &upstream.ca, "[limits]\nbody = 1000");
    let body = "x".repeat(2_000_000);
    let request = format!(
        "POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for _ in 0..20 {
        assert_eq!(ask(gateway.openai, &request).await.status, 413);
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn nothing_climbs_above_the_base_path_and_no_host_of_the_workload_counts() {
    let upstream = Upstream::hello(Speaks::Http1).await;
    let gateway = Gateway::new(upstream.address, &upstream.ca);
    for path in [
        "/v1/../files",
        "/v1/responses/../files",
        "/v1/responses/%2e%2e/files",
        "/v1/responses/.%2E/files",
        "/v1/responses/x/../../files",
        "/../../files",
        "/responses/../organization/users",
        "/v1/v1/../files",
    ] {
        let reply = ask(gateway.openai, line(&format!("GET {path} HTTP/1.1"))).await;
        assert_eq!(
            (reply.status, reply.json()["error"]["type"].as_str()),
            (403, Some("path_not_allowed")),
            "{path}"
        );
    }
    assert!(upstream.seen().is_empty());
    let request = "GET /v1/responses/../models HTTP/1.1\r\nHost: api.evil.test\r\n\
                   X-Forwarded-Host: api.evil.test\r\nX-Original-Host: api.evil.test\r\n\r\n";
    assert_eq!(ask(gateway.openai, request).await.status, 200);
    let [seen]: [_; 1] = upstream.seen().try_into().unwrap();
    assert_eq!(
        (seen.uri.as_str(), seen.headers["host"].to_str().unwrap()),
        ("/v1/models", "api.openai.com")
    );
    assert!(!format!("{:?}", seen.headers).contains("evil"));
}

#[tokio::test]
async fn slow_heads_and_bodies_are_given_up() {
    let upstream = Upstream::hello(Speaks::Http1).await;
    let limits = "[limits]\nhead-seconds = 0.2\nbody-idle-seconds = 0.2\nkeep-alive-seconds = 0.3";
    let gateway = Gateway::with(upstream.address, &upstream.ca, limits);
    // A byte every 50 ms does not buy time.
    let mut raw = Raw::connect(gateway.openai).await;
    for byte in b"GET /v1/mod" {
        raw.send([*byte]).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let reply = raw.reply().await.unwrap();
    assert_eq!(
        (reply.status, reason(&reply).as_str()),
        (408, "head_timed_out")
    );

    for request in [with("Content-Length: 50"), chunked("50\r\nhello")] {
        let mut raw = Raw::connect(gateway.openai).await;
        raw.send(request).await;
        let reply = raw.reply().await.unwrap();
        assert_eq!(
            (reply.status, reason(&reply).as_str()),
            (408, "body_timed_out")
        );
    }
    assert!(upstream.seen().is_empty());

    // An idle connection is closed without a word; before that it serves.
    let mut raw = Raw::connect(gateway.openai).await;
    raw.send(GOOD).await;
    assert_eq!(raw.reply().await.unwrap().status, 200);
    tokio::time::sleep(Duration::from_millis(150)).await;
    raw.send(GOOD).await;
    assert_eq!(raw.reply().await.unwrap().status, 200);
    assert!(raw.is_closed().await);
}
