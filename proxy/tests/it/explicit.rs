// SPDX-License-Identifier: MIT OR Apache-2.0
//! The explicit door: what gets through, what does not, and what the client is told.

use std::net::SocketAddr;

use crate::{
    doors::{Doors, Site},
    support::{Raw, Reply},
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

async fn ask(doors: &Doors, request: impl AsRef<[u8]>) -> Reply {
    let mut raw = doors.raw().await;
    raw.send(request).await;
    raw.reply().await.expect("an answer")
}

fn text(reply: &Reply) -> &str {
    std::str::from_utf8(&reply.body).unwrap()
}

/// A tunnel that was granted.
async fn tunnel(doors: &Doors, target: &str) -> Raw {
    let mut raw = doors.raw().await;
    raw.send(format!(
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"
    ))
    .await;
    let head = raw.head().await.expect("an answer");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    raw
}

#[tokio::test]
async fn a_url_is_fetched_if_its_host_is_allowed() {
    let site = Site::answering(OK).await;
    let mut doors = Doors::new(&["example.com"], &[("example.com", site.address)]);
    let get = |host: &str| format!("GET http://{host}/a?b=c HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let reply = ask(&doors, get("example.com")).await;
    assert_eq!((reply.status, text(&reply)), (200, "hello"));
    assert_eq!(
        site.seen(),
        ["GET /a?b=c HTTP/1.1\r\nHost: example.com\r\n\r\n"]
    );
    let reply = ask(&doors, get("example.org")).await;
    assert_eq!(reply.status, 403);
    assert_eq!(reply.header("x-keyward-reason"), Some("host_not_allowed"));
    insta::assert_snapshot!(text(&reply), @r#"
    keyward blocked example.org:80 (host_not_allowed).
    No rule allows this host.
    To allow it: --allow-domains example.org, or in a policy: allow = ["example.org"]
    "#);
    let asking = get("example.org").replace("\r\n\r\n", "\r\nAccept: application/json\r\n\r\n");
    let reply = ask(&doors, asking).await;
    assert_eq!(reply.header("content-type"), Some("application/json"));
    insta::assert_snapshot!(text(&reply), @r#"{"error":{"allow":"--allow-domains example.org","host":"example.org","message":"No rule allows this host.","policy":"allow = [\"example.org\"]","port":80,"reason":"host_not_allowed"}}"#);
    assert_eq!(site.seen().len(), 1);
    insta::assert_debug_snapshot!(doors.verdicts(3).await, @r#"
    [
        "allow http example.com 80 GET /a 200",
        "deny http example.org 80 GET /a host_not_allowed",
        "deny http example.org 80 GET /a host_not_allowed",
    ]
    "#);
}

#[tokio::test]
async fn a_tunnel_leads_to_what_is_allowed() {
    let site = Site::echo().await;
    let mut doors = Doors::new(
        &["tcp://example.com:7000"],
        &[("example.com", site.address)],
    );
    let mut raw = tunnel(&doors, "example.com:7000").await;
    raw.send("what is said").await;
    while raw.buffer.len() < 12 {
        assert!(raw.fill().await > 0);
    }
    assert_eq!(raw.buffer, b"what is said");
    drop(raw);
    let denied = |target: &str| format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    let reply = ask(&doors, denied("example.com:7001")).await;
    assert_eq!(reply.status, 403);
    assert_eq!(reply.header("x-keyward-reason"), Some("port_not_allowed"));
    assert_eq!(reply.header("connection"), Some("close"));
    let reply = ask(&doors, denied("example.org:443")).await;
    assert_eq!(reply.header("x-keyward-reason"), Some("host_not_allowed"));
    insta::assert_debug_snapshot!(doors.verdicts(3).await, @"");
    let _: SocketAddr = site.address;
}
