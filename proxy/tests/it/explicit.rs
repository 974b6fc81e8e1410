// SPDX-License-Identifier: MIT OR Apache-2.0
//! The explicit door: what gets through, what does not, and what the client is told.

use std::{net::SocketAddr, sync::Arc};

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    doors::{Doors, Site},
    support::{Ca, Nobody, Raw, Reply, raw_upstream},
};

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

pub(crate) async fn ask(doors: &Doors, request: impl AsRef<[u8]>) -> Reply {
    let mut raw = doors.raw().await;
    raw.send(request).await;
    raw.reply().await.expect("an answer")
}

pub(crate) fn text(reply: &Reply) -> &str {
    std::str::from_utf8(&reply.body).unwrap()
}

pub(crate) fn connect(target: &str) -> String {
    format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")
}

/// A tunnel that was granted.
pub(crate) async fn tunnel(doors: &Doors, target: &str) -> Raw {
    let mut raw = doors.raw().await;
    raw.send(connect(target)).await;
    let head = raw.head().await.expect("an answer");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    raw
}

/// TLS for `name` in a tunnel.
pub(crate) async fn tls(
    raw: Raw,
    ca: &Ca,
    name: &'static str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca.pem.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.enable_sni = name.parse::<std::net::IpAddr>().is_err();
    let name = ServerName::try_from(name).unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, raw.stream)
        .await
}

/// A host that answers `hello` in TLS.
pub(crate) async fn tls_site(ca: &Ca) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    raw_upstream(ca, |mut stream| async move {
        stream.write_all(b"hello").await.unwrap();
        stream.shutdown().await.unwrap();
    })
    .await
}

pub(crate) async fn all(mut stream: TlsStream<TcpStream>) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
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
    // In any spelling, and with what follows it at once.
    for target in ["example.com:7000", "EXAMPLE.com.:7000"] {
        let mut raw = doors.raw().await;
        raw.send(format!("{}what is said", connect(target))).await;
        let head = raw.head().await.unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        while raw.buffer.len() < 12 {
            assert!(raw.fill().await > 0);
        }
        assert_eq!(raw.buffer, b"what is said");
    }
    doors.audit(2).await;
    for (target, reason) in [
        ("example.com:7001", "port_not_allowed"),
        ("example.org:443", "host_not_allowed"),
        // An address is another thing than the name that it belongs to.
        (&site.address.to_string(), "address_not_allowed"),
        ("[::1]:443", "address_not_allowed"),
    ] {
        let reply = ask(&doors, connect(target)).await;
        assert_eq!(reply.status, 403, "{target}");
        assert_eq!(reply.header("x-keyward-reason"), Some(reason), "{target}");
        assert_eq!(reply.header("connection"), Some("close"));
    }
    assert_eq!(site.seen().len(), 2);
    let lines = doors.verdicts(6).await;
    insta::assert_debug_snapshot!(lines.iter().filter(|it| !it.contains("127.0.0.1")).collect::<Vec<_>>(), @r#"
    [
        "allow tcp example.com 7000",
        "allow tcp example.com 7000",
        "deny tls example.com 7001 port_not_allowed",
        "deny tls example.org 443 host_not_allowed",
        "deny tls ::1 443 address_not_allowed",
    ]
    "#);
}

#[tokio::test]
async fn old_clients_ask_in_http_1_0_and_without_a_host() {
    let site = Site::echo().await;
    let doors = Doors::new(
        &["tcp://example.com:7000"],
        &[("example.com", site.address)],
    );
    for request in [
        "CONNECT example.com:7000 HTTP/1.0\r\n\r\n",
        "CONNECT example.com:7000 HTTP/1.1\r\nProxy-Authorization: Basic eDp5\r\n\r\n",
        "CONNECT example.com:7000 HTTP/1.1\r\nHost: example.com\r\n\r\n",
    ] {
        let mut raw = doors.raw().await;
        raw.send(request).await;
        let head = raw.head().await.unwrap();
        assert!(head.contains(" 200 "), "{head}");
        raw.send("x").await;
        raw.fill().await;
        assert_eq!(raw.buffer, b"x", "{request}");
    }
    let reply = ask(&doors, "CONNECT example.org:7000 HTTP/1.0\r\n\r\n").await;
    assert_eq!(reply.status, 403);
}

#[tokio::test]
async fn targets_that_are_tricks() {
    let site = Site::answering(OK).await;
    let doors = Doors::new(
        &["example.com", "example.com:8080"],
        &[("example.com", site.address)],
    );
    let get = |target: &str, host: &str| format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for (request, status, reason) in [
        (connect("example.com"), 400, "bad_request"),
        (connect("u@example.com:443"), 400, "bad_request"),
        (connect("example.com:443@example.org:443"), 400, "bad_request"),
        (connect("example.com:0"), 400, "bad_request"),
        (connect("example.com:443:443"), 400, "bad_request"),
        (connect("example.com%00.example.org:443"), 400, "bad_request"),
        (connect("example.com\\.example.org:443"), 400, "bad_request"),
        (connect("0x7f.1:443"), 400, "bad_request"),
        (connect("2130706433:443"), 400, "bad_request"),
        (
            "CONNECT example.com:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n".to_owned(),
            403,
            "name_mismatch",
        ),
        (
            "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\nContent-Length: 1\r\n\r\n"
                .to_owned(),
            400,
            "bad_request",
        ),
        (get("http://example.com/", "example.org"), 403, "name_mismatch"),
        (get("http://example.org/", "example.com"), 403, "name_mismatch"),
        (get("http://example.com/", "example.com:8080"), 403, "name_mismatch"),
        (get("http://u:p@example.com/", "example.com"), 400, "bad_request"),
        (get("http://example.com@example.org/", "example.org"), 400, "bad_request"),
        (get("http://example.com#@example.org/", "example.com"), 400, "bad_request"),
        (get("http://example.com?@example.org/", "example.com"), 400, "bad_request"),
        (get("http://ex%61mple.com/", "example.com"), 400, "bad_request"),
        (get("http://b\u{fc}cher.example/", "example.com"), 400, "bad_request"),
        (get("http://example.com\u{3002}example.org/", "example.com"), 400, "bad_request"),
        (get("http:///", "example.com"), 400, "bad_request"),
        (get("ftp://example.com/", "example.com"), 400, "bad_request"),
        (get("ws://example.com/", "example.com"), 400, "bad_request"),
        (get("https://example.com/", "example.com"), 400, "bad_request"),
        (get("/", "example.com"), 400, "bad_request"),
        (get("example.com/", "example.com"), 400, "bad_request"),
        (get("*", "example.com"), 400, "bad_request"),
        ("TRACE http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n".to_owned(), 405, "bad_request"),
        ("GET http://example.com/ HTTP/1.1\r\n\r\n".to_owned(), 400, "bad_request"),
        ("GET http://example.com/ HTTP/1.0\r\nHost: example.com\r\n\r\n".to_owned(), 505, "bad_request"),
        ("GET http://example.com/\r\n\r\n".to_owned(), 400, "bad_request"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 400, "http2_plaintext"),
    ] {
        let reply = ask(&doors, &request).await;
        let found = (reply.status, reply.header("x-keyward-reason"));
        assert_eq!(found, (status, Some(reason)), "{request}");
        assert_eq!(reply.header("connection"), Some("close"), "{request}");
    }
    assert_eq!(site.seen(), Vec::<String>::new());
    // The same without the tricks.
    for (target, host) in [
        ("http://example.com/", "example.com"),
        ("HTTP://EXAMPLE.com./", "example.com"),
        ("http://example.com:80", "example.COM."),
        ("http://example.com:8080/", "example.com"),
    ] {
        assert_eq!(ask(&doors, get(target, host)).await.status, 200, "{target}");
    }
    for seen in site.seen() {
        assert!(
            seen.starts_with("GET / HTTP/1.1\r\nHost: example.com"),
            "{seen}"
        );
    }
}

#[tokio::test]
async fn punycode_is_the_name_that_it_is() {
    let site = Site::answering(OK).await;
    let doors = Doors::new(
        &["b\u{fc}cher.example"],
        &[("xn--bcher-kva.example", site.address)],
    );
    let get = |host: &str| format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
    assert_eq!(ask(&doors, get("XN--Bcher-KVA.example.")).await.status, 200);
    let look_alike = ask(&doors, get("xn--bcher-kvb.example")).await;
    assert!(matches!(look_alike.status, 400 | 403));
    assert_eq!(site.seen().len(), 1);
}

#[tokio::test]
async fn tls_in_a_tunnel_is_for_whom_the_tunnel_is() {
    let ca = Ca::for_names(&["example.com", "fronted.example"]);
    let (site, _task) = tls_site(&ca).await;
    let mut doors = Doors::new(&["example.com"], &[("example.com", site)]);
    let open = tunnel(&doors, "example.com:443").await;
    assert_eq!(
        all(tls(open, &ca, "example.com").await.unwrap()).await,
        "hello"
    );
    // Another name is another host, whoever would answer to it.
    let open = tunnel(&doors, "example.com:443").await;
    let error = tls(open, &ca, "fronted.example").await.unwrap_err();
    assert!(error.to_string().contains("UnrecognisedName"), "{error}");
    // What is no TLS is not carried where only TLS is allowed.
    let mut open = tunnel(&doors, "example.com:443").await;
    open.send("SSH-2.0-x\r\n").await;
    assert!(open.is_closed().await);
    let mut open = tunnel(&doors, "example.com:443").await;
    open.send("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
        .await;
    let reply = open.reply().await.unwrap();
    assert_eq!(reply.header("x-keyward-reason"), Some("scheme_not_allowed"));
    let mut open = tunnel(&doors, "example.com:443").await;
    open.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(open.is_closed().await);
    let mut lines = doors.verdicts(5).await;
    lines.sort();
    insta::assert_debug_snapshot!(lines, @r#"
    [
        "allow tls example.com 443",
        "deny http example.com 443 GET / scheme_not_allowed",
        "deny http example.com 443 http2_plaintext",
        "deny tcp example.com 443 scheme_not_allowed",
        "deny tls example.com 443 name_mismatch",
    ]
    "#);
}

#[tokio::test]
async fn http_in_a_tunnel_is_judged_request_by_request() {
    let site = Site::answering(OK).await;
    let mut doors = Doors::new(
        &["http://example.com/open/*"],
        &[("example.com", site.address)],
    );
    let get = |path: &str, host: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let mut open = tunnel(&doors, "example.com:80").await;
    open.send(get("/open/a", "example.com")).await;
    assert_eq!(open.reply().await.unwrap().status, 200);
    open.send(get("/shut/a", "example.com")).await;
    let reply = open.reply().await.unwrap();
    assert_eq!(
        reply.header("x-keyward-reason"),
        Some("request_not_allowed")
    );
    open.send(get("/open/../shut/a", "example.com")).await;
    let reply = open.reply().await.unwrap();
    assert_eq!(
        reply.header("x-keyward-reason"),
        Some("request_not_allowed")
    );
    // The connection is still good for what is allowed, but for no other host.
    open.send(get("/open/b", "example.com:80")).await;
    assert_eq!(open.reply().await.unwrap().status, 200);
    open.send(get("/open/c", "example.org")).await;
    let reply = open.reply().await.unwrap();
    assert_eq!(reply.header("x-keyward-reason"), Some("name_mismatch"));
    assert!(open.is_closed().await);
    let seen = site.seen().concat();
    assert_eq!(seen.matches("GET ").count(), 2, "{seen}");
    assert_eq!(seen.matches("GET /open/").count(), 2, "{seen}");
    doors.audit(5).await;
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard() {
    let site = Site::speaking("220 hello\r\n", "").await;
    let doors = Doors::new(
        &["tcp://mail.example:25"],
        &[("mail.example", site.address)],
    );
    let mut open = tunnel(&doors, "mail.example:25").await;
    while open.buffer.len() < 11 {
        assert!(open.fill().await > 0);
    }
    assert_eq!(open.buffer, b"220 hello\r\n");
}

#[tokio::test]
async fn what_cannot_be_reached_is_said_before_the_tunnel() {
    let nobody = Nobody::here();
    let mut doors = Doors::new(&["example.com"], &[("example.com", nobody.address)]);
    let reply = ask(&doors, connect("example.com:443")).await;
    assert_eq!(reply.status, 502);
    insta::assert_snapshot!(text(&reply), @"
    keyward could not reach example.com:443 (unreachable).
    It is allowed, but could not be reached.
    ");
    let reply = ask(
        &doors,
        "GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n",
    )
    .await;
    assert_eq!(reply.status, 502);
    let mut lines = doors.verdicts(2).await;
    lines.sort();
    insta::assert_debug_snapshot!(lines, @r#"
    [
        "allow http example.com 80 GET / unreachable",
        "allow tls example.com 443 unreachable",
    ]
    "#);
}

#[tokio::test]
async fn a_name_that_leads_to_a_private_address_is_not_dialled() {
    let site = Site::answering(OK).await;
    // `localhost` is looked up, and leads here.
    let port = site.address.port();
    let get = format!("GET http://localhost:{port}/ HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n");
    let rule = format!("localhost:{port}");
    let doors = Doors::new(&[&rule], &[]);
    let reply = ask(&doors, &get).await;
    assert_eq!(reply.header("x-keyward-reason"), Some("private_address"));
    assert!(
        text(&reply).contains(&format!(":{port}\"]")),
        "{}",
        text(&reply)
    );
    assert_eq!(site.seen(), Vec::<String>::new());
    let doors = Doors::new(&[&rule, "127.0.0.0/8"], &[]);
    assert_eq!(ask(&doors, &get).await.status, 200);
}
