// SPDX-License-Identifier: MIT OR Apache-2.0
//! Everything through an upstream proxy: what it is asked, and what comes of what it says.

use std::sync::Arc;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    doors::{Doors, Record, Site},
    explicit::{OK, all, ask, connect, text, tls, tls_site, tunnel},
    support::{self, Ca, Gateway, Speaks, Upstream, raw_upstream},
};

/// An upstream proxy that writes down heads, and carries to `site` if it is asked by the right user.
async fn proxy<S>(mut stream: S, seen: Option<Record>, site: Option<std::net::SocketAddr>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else {
            return;
        };
        head.push(byte);
    }
    if let Some(seen) = seen {
        seen.add(&head);
    }
    let head = String::from_utf8(head).unwrap();
    if !head
        .to_ascii_lowercase()
        .contains("proxy-authorization: basic dtpw")
    {
        let no = "HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(no.as_bytes()).await.unwrap();
        return;
    }
    if !head.starts_with("CONNECT ") {
        stream.write_all(OK.as_bytes()).await.unwrap();
        return;
    }
    let Some(site) = site else {
        let no = "HTTP/1.1 403 No\r\n\r\n";
        stream.write_all(no.as_bytes()).await.unwrap();
        return;
    };
    let mut up = TcpStream::connect(site).await.unwrap();
    // The server's first words may come with the answer.
    stream
        .write_all(b"HTTP/1.1 200 Yes\r\nX: y\r\n\r\n")
        .await
        .unwrap();
    drop(tokio::io::copy_bidirectional(&mut stream, &mut up).await);
}

async fn http_proxy(site: Option<std::net::SocketAddr>) -> Site {
    Site::talking(move |stream, seen| proxy(stream, Some(seen), site)).await
}

fn settings(url: &str, no_proxy: &str) -> String {
    format!("[upstream-proxy]\nurl = '{url}'\nno-proxy = ['{no_proxy}']\n")
}

const GET: &str = "GET http://example.com/a HTTP/1.1\r\nHost: example.com\r\n\r\n";

#[tokio::test]
async fn what_is_allowed_goes_through_it_and_nothing_else_does() {
    let ca = Ca::for_names(&["example.com"]);
    let (site, _task) = tls_site(&ca).await;
    let upstream = http_proxy(Some(site)).await;
    let toml = settings(&format!("http://u:p@{}", upstream.address), "");
    let mut doors = Doors::with(&["example.com"], &[], &toml);
    let open = tunnel(&doors, "example.com:443").await;
    assert_eq!(
        all(tls(open, &ca, "example.com").await.unwrap()).await,
        "hello"
    );
    let reply = ask(&doors, GET).await;
    assert_eq!((reply.status, text(&reply)), (200, "hello"));
    assert_eq!(
        ask(&doors, GET.replace("example.com", "evil.example"))
            .await
            .status,
        403
    );
    assert_eq!(ask(&doors, connect("evil.example:443")).await.status, 403);
    insta::assert_snapshot!(upstream.seen().concat().replace('\r', ""), @r#"
    CONNECT example.com:443 HTTP/1.1
    Host: example.com:443
    Proxy-Authorization: Basic dTpw

    GET http://example.com/a HTTP/1.1
    Host: example.com
    proxy-authorization: Basic dTpw
    "#);
    let lines = doors.audit(4).await;
    assert!(!format!("{lines:?}").contains("dTpw"));
}

#[tokio::test]
async fn what_is_asked_of_a_server_as_a_whole_has_a_url_too() {
    let upstream = http_proxy(None).await;
    let toml = settings(&format!("http://u:p@{}", upstream.address), "");
    let doors = Doors::with(&["example.com"], &[], &toml);
    let mut open = tunnel(&doors, "example.com:80").await;
    open.send("OPTIONS * HTTP/1.1\r\nHost: example.com\r\n\r\n")
        .await;
    assert_eq!(open.reply().await.unwrap().status, 200);
    let seen = upstream.seen().concat();
    assert!(
        seen.starts_with("OPTIONS http://example.com/ HTTP/1.1\r\n"),
        "{seen}"
    );
}

#[tokio::test]
async fn what_it_says_is_said() {
    let upstream = http_proxy(None).await;
    for (user, message) in [
        (
            "",
            "The upstream proxy answered 407: it wants a user and a password, or others than it was given.",
        ),
        ("u:p@", "The upstream proxy answered 403."),
    ] {
        let toml = settings(&format!("http://{user}{}", upstream.address), "");
        let doors = Doors::with(&["example.com"], &[], &toml);
        let reply = ask(&doors, connect("example.com:443")).await;
        assert_eq!(
            (reply.status, reply.header("x-keyward-reason")),
            (502, Some("unreachable"))
        );
        assert!(text(&reply).contains(message), "{}", text(&reply));
    }
    let toml = settings(&format!("http://{}", upstream.address), "");
    let doors = Doors::with(&["example.com"], &[], &toml);
    let reply = ask(&doors, GET).await;
    assert_eq!(reply.status, 502);
    assert!(text(&reply).contains("407"), "{}", text(&reply));
}

#[tokio::test]
async fn it_may_be_spoken_to_in_verified_tls() {
    let ca = Ca::for_names(&["127.0.0.1", "example.com"]);
    let (site, _task) = tls_site(&ca).await;
    let (address, _proxy) = raw_upstream(&ca, move |stream| proxy(stream, None, Some(site))).await;
    let toml = settings(&format!("https://u:p@{address}"), "");
    let trusting =
        |pem: &str| format!("{toml}[upstream]\nsystem-roots = false\nca-pem = ['''{pem}''']\n");
    let doors = Doors::with(&["example.com"], &[], &trusting(&ca.pem));
    let open = tunnel(&doors, "example.com:443").await;
    assert_eq!(
        all(tls(open, &ca, "example.com").await.unwrap()).await,
        "hello"
    );
    assert_eq!(ask(&doors, GET).await.status, 200);
    // Somebody else at its address is not given a password.
    let other = Ca::for_names(&["127.0.0.1"]);
    let doors = Doors::with(&["example.com"], &[], &trusting(&other.pem));
    let reply = ask(&doors, connect("example.com:443")).await;
    assert_eq!(reply.status, 502);
    assert!(text(&reply).contains("certificate"), "{}", text(&reply));
}

#[tokio::test]
async fn some_hosts_are_reached_without_it() {
    let site = Site::answering(OK).await;
    let upstream = http_proxy(None).await;
    let port = site.address.port();
    let get = format!("GET http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    let rule = format!("127.0.0.1:{port}");
    for (no_proxy, direct) in [("", false), ("127.0.0.0/8,other.lan", true), ("*", true)] {
        let toml = settings(&format!("http://u:p@{}", upstream.address), no_proxy);
        let doors = Doors::with(&[&rule], &[], &toml);
        let before = (site.seen().len(), upstream.seen().len());
        assert_eq!(ask(&doors, &get).await.status, 200, "{no_proxy}");
        let after = (site.seen().len(), upstream.seen().len());
        let expected = if direct { (1, 0) } else { (0, 1) };
        assert_eq!(
            (after.0 - before.0, after.1 - before.1),
            expected,
            "{no_proxy}"
        );
    }
}

#[tokio::test]
async fn a_server_behind_it_may_speak_first() {
    let greeting = Arc::new("SSH-2.0-x\r\n");
    let upstream = Site::talking(move |mut stream: TcpStream, _seen| {
        let greeting = Arc::clone(&greeting);
        async move {
            drop(stream.read(&mut [0; 1024]).await);
            let both = format!("HTTP/1.1 200 Yes\r\n\r\n{greeting}");
            stream.write_all(both.as_bytes()).await.unwrap();
            drop(stream.read(&mut [0; 1024]).await);
        }
    })
    .await;
    let toml = settings(&format!("http://{}", upstream.address), "");
    let doors = Doors::with(&["tcp://git.example:22"], &[], &toml);
    let mut open = tunnel(&doors, "git.example:22").await;
    while open.buffer.len() < 11 {
        assert!(open.fill().await > 0);
    }
    assert_eq!(open.buffer, b"SSH-2.0-x\r\n");
}

#[tokio::test]
async fn the_gateway_goes_through_it_too() {
    let upstream = Upstream::hello(Speaks::Http2).await;
    let corporate = http_proxy(Some(upstream.address)).await;
    let toml = settings(&format!("http://u:p@{}", corporate.address), "");
    // A fixed address of another host, so that none is given to the providers.
    let toml = format!("{toml}[upstream]\nresolve = ['x.test=127.0.0.1:1']\n");
    let mut gateway = Gateway::with(upstream.address, &upstream.ca, &toml);
    let post = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
    let reply = support::ask(gateway.openai, post).await;
    assert_eq!(reply.status, 200, "{}", gateway.log_text());
    assert!(corporate.seen()[0].starts_with("CONNECT api.openai.com:443 "));
    // The proxy sees the tunnel, and nothing of what is in it.
    assert!(!corporate.seen().concat().contains("sk-real"));
    assert!(format!("{:?}", upstream.seen()[0].headers).contains("authorization"));
}
