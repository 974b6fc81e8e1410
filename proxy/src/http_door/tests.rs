// SPDX-License-Identifier: MIT OR Apache-2.0
//! What only shows from inside: redirected connections, and policies that change under what is open.

use std::{net::Ipv4Addr, time::Duration};

use keyward_policy::{Answers, Entry, Policy, RawPolicy};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::timeout,
};

use super::*;
use crate::{
    egress::{Dialler, Names, Resolver},
    peers::Peers,
    request_log::RequestLog,
    settings::{Limits, RawSettings, Settings},
};

const PATIENCE: Duration = Duration::from_secs(10);

fn policy(rules: &[&str]) -> Policy {
    let entry = |rule: &&str| Entry {
        rule: (*rule).to_owned(),
        ..Entry::default()
    };
    Policy::new(&RawPolicy {
        allow: rules.iter().map(entry).collect(),
        ..RawPolicy::default()
    })
    .unwrap()
}

/// A host that answers each head with the beginning of an answer without an end.
async fn site() -> std::net::SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut chunk = [0; 4096];
                while let Ok(1..) = stream.read(&mut chunk).await {
                    let part = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n";
                    drop(stream.write_all(part.as_bytes()).await);
                }
            });
        }
    });
    address
}

async fn egress(rules: &[&str]) -> Arc<Egress> {
    let site = site().await;
    let toml = format!("upstream.resolve = ['a.test={site}', 'b.test={site}']");
    let raw: RawSettings = toml::from_str(&toml).unwrap();
    let settings = Settings::try_from(raw).unwrap();
    let upstream = Arc::new(settings.upstream);
    Arc::new(Egress::new(
        None,
        Limits::default(),
        Arc::new(Peers::unknown()),
        RequestLog::none(),
        Names::new(Answers::Synthetic),
        Dialler::new(upstream, Resolver::default(), None, PATIENCE),
        policy(rules),
    ))
}

/// A redirected connection behind whose address these hosts are.
async fn redirected(egress: &Arc<Egress>, hosts: &[&str]) -> TcpStream {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let (client, accepted) = tokio::join!(client, listener.accept());
    let arrived = Arrived {
        stream: accepted.unwrap().0,
        read: BytesMut::from("GET / HTTP"),
        peer: None,
    };
    let hosts = hosts.iter().map(|it| it.parse().unwrap()).collect();
    let (sender, draining) = watch::channel(false);
    let egress = Arc::clone(egress);
    tokio::spawn(async move {
        serve_transparent(egress, arrived, hosts, 80, draining).await;
        drop(sender);
    });
    client.unwrap()
}

/// Everything that comes, until `end`, or to the end of the connection.
async fn read(client: &mut TcpStream, end: &str) -> String {
    let mut all = Vec::new();
    let mut chunk = [0; 4096];
    while !String::from_utf8_lossy(&all).contains(end) {
        match timeout(PATIENCE, client.read(&mut chunk)).await.unwrap() {
            Ok(0) | Err(_) => break,
            Ok(count) => all.extend_from_slice(&chunk[..count]),
        }
    }
    String::from_utf8(all).unwrap()
}

#[tokio::test]
async fn the_host_is_one_of_those_behind_the_address() {
    let egress = egress(&["a.test", "b.test"]).await;
    for (host, hosts, status) in [
        ("a.test", &["a.test"][..], "200"),
        ("A.test.:80", &["a.test"], "200"),
        ("b.test", &["a.test", "b.test"], "200"),
        ("b.test", &["a.test"], "403"),
        ("a.test:81", &["a.test"], "403"),
        ("a.test", &["192.0.2.1"], "403"),
    ] {
        let mut client = redirected(&egress, hosts).await;
        // The beginning was read before it was handed on.
        let rest = format!("/1.1\r\nHost: {host}\r\n\r\n");
        client.write_all(rest.as_bytes()).await.unwrap();
        let answer = read(&mut client, "\r\n\r\n").await;
        assert!(answer.contains(status), "{host}: {answer}");
        let mismatch = answer.contains("x-keyward-reason: name_mismatch");
        assert_eq!(mismatch, status == "403", "{host}: {answer}");
    }
}

#[tokio::test]
async fn a_new_policy_ends_what_it_does_not_allow_and_nothing_else() {
    let egress = egress(&["a.test", "b.test"]).await;
    let mut clients = Vec::new();
    for host in ["a.test", "b.test"] {
        let mut client = redirected(&egress, &[host]).await;
        let rest = format!("/1.1\r\nHost: {host}\r\n\r\n");
        client.write_all(rest.as_bytes()).await.unwrap();
        assert!(read(&mut client, "1\r\nx\r\n").await.contains("200"));
        clients.push(client);
    }
    assert_eq!(egress.open().now().len(), 2);
    assert_eq!(egress.replace_policy(policy(&["b.test"])), 1);
    // The answer breaks off: no last chunk.
    assert_eq!(read(&mut clients[0], "0\r\n\r\n").await, "");
    assert_eq!(egress.open().now().len(), 1);
    let open = timeout(Duration::from_millis(50), clients[1].read_u8()).await;
    assert!(open.is_err(), "{open:?}");
}
