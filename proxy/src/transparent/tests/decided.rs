// SPDX-License-Identifier: MIT OR Apache-2.0
//! What gets through and what does not. Each denial stands beside the same bytes under a policy, or for a name, with
//! which they get through.

use std::{sync::Arc, time::Duration};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::world::{World, expect, extended, hello, records, rest, send};

/// An alert: fatal, in a record of TLS 1.2.
fn alert(code: u8) -> (Vec<u8>, bool) {
    (vec![21, 3, 3, 0, 2, 2, code], false)
}

const RESET: (Vec<u8>, bool) = (Vec::new(), true);

/// Sends `bytes` to a host; they arrive as they are.
async fn passes(world: &World, hosts: &[&str], port: u16, bytes: &[u8]) {
    let mut client = world.connect(hosts, port).await;
    send(&mut client.stream, bytes).await;
    let mut upstream = world.arrived().await;
    expect(&mut upstream, bytes).await;
    drop((client.stream, upstream));
    client.served.await.unwrap();
}

/// Sends `bytes` to a host; nothing is dialled. What the client gets, and the line: host and reason.
async fn denied(
    world: &mut World,
    hosts: &[&str],
    port: u16,
    bytes: &[u8],
) -> ((Vec<u8>, bool), String, String) {
    let before = world.lines().len();
    let mut client = world.connect(hosts, port).await;
    // It may have been reset by now.
    drop(client.stream.write_all(bytes).await);
    let got = client.rest().await;
    drop(client.stream);
    client.served.await.unwrap();
    assert!(world.nothing_arrived().await);
    let lines = world.lines().split_off(before);
    let [line] = lines.as_slice() else {
        panic!("{lines:#?}");
    };
    assert_eq!(
        (&line["verdict"], &line["door"]),
        (&"deny".into(), &"transparent".into())
    );
    let field = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
    (got, field("host"), field("reason"))
}

fn expected(got: (Vec<u8>, bool), host: &str, reason: &str) -> ((Vec<u8>, bool), String, String) {
    (got, host.to_owned(), reason.to_owned())
}

#[tokio::test]
async fn tls_passes_end_to_end_and_its_certificate_is_the_clients_to_check() {
    let mut world = World::new(&["allowed.test"]).await;
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["allowed.test".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();

    let connection = world.connect(&["allowed.test"], 443).await;
    let name = ServerName::try_from("allowed.test").unwrap();
    let connector = TlsConnector::from(Arc::new(client));
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (client, server) = tokio::join!(connector.connect(name, connection.stream), async {
        acceptor.accept(world.arrived().await).await
    });
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    client.write_all(b"ping").await.unwrap();
    let mut word = [0; 4];
    server.read_exact(&mut word).await.unwrap();
    server.write_all(b"pong").await.unwrap();
    client.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"pong");
    client.shutdown().await.unwrap();
    server.shutdown().await.unwrap();
    drop((client, server));
    connection.served.await.unwrap();
    let lines = world.lines();
    assert_eq!((lines.len(), &lines[0]["verdict"]), (1, &"allow".into()));
    assert_eq!(
        (&lines[0]["host"], &lines[0]["scheme"]),
        (&"allowed.test".into(), &"tls".into())
    );
    assert!(lines[0]["bytes_up"].as_u64().unwrap() > 200);
    assert!(lines[0]["reason"].is_null(), "{:#}", lines[0]);
}

#[tokio::test]
async fn a_name_that_is_not_allowed_is_reset_before_it_says_anything() {
    let mut world = World::new(&["allowed.test"]).await;
    let bytes = hello(Some("other.test"));
    assert_eq!(
        denied(&mut world, &["other.test"], 443, &bytes).await,
        expected(RESET, "other.test", "host_not_allowed")
    );
    // Not for want of a port either.
    let (got, _, reason) = denied(&mut world, &["allowed.test"], 22, b"SSH-2.0-x\r\n").await;
    assert_eq!((got, reason.as_str()), (RESET, "port_not_allowed"));
    world.reload(&["other.test"]);
    passes(&world, &["other.test"], 443, &bytes).await;
}

#[tokio::test]
async fn a_server_name_has_to_be_the_name_that_the_address_was_given_to() {
    let mut world = World::new(&["allowed.test", "other.test"]).await;
    let bytes = hello(Some("other.test"));
    // Allowed itself, and yet.
    assert_eq!(
        denied(&mut world, &["allowed.test"], 443, &bytes).await,
        expected(alert(112), "allowed.test", "name_mismatch")
    );
    passes(&world, &["other.test"], 443, &bytes).await;
    // By real answers an address has several names.
    passes(
        &world,
        &["allowed.test", "other.test", "192.0.2.7"],
        443,
        &bytes,
    )
    .await;
    assert_eq!(
        denied(
            &mut world,
            &["allowed.test", "third.test", "192.0.2.7"],
            443,
            &bytes
        )
        .await,
        expected(alert(112), "allowed.test", "name_mismatch")
    );
}

#[tokio::test]
async fn a_server_name_does_not_make_an_address_an_allowed_host() {
    let mut world = World::new(&["allowed.test"]).await;
    let address = world.address();
    let (host, port) = (address.ip().to_string(), address.port());
    let bytes = hello(Some("allowed.test"));
    assert_eq!(
        denied(&mut world, &[&host], port, &bytes).await,
        expected(RESET, &host, "address_not_allowed")
    );
    world.reload(&[&format!("127.0.0.0/8:{port}")]);
    passes(&world, &[&host], port, &bytes).await;
    passes(&world, &[&host], port, b"anything").await;
}

#[tokio::test]
async fn without_a_server_name_it_is_the_name_behind_the_address() {
    let mut world = World::new(&["allowed.test"]).await;
    let bytes = hello(None);
    passes(&world, &["allowed.test"], 443, &bytes).await;
    passes(
        &world,
        &["other.test", "allowed.test", "192.0.2.7"],
        443,
        &bytes,
    )
    .await;
    let (_, host, reason) = denied(&mut world, &["other.test"], 443, &bytes).await;
    assert_eq!(
        (host.as_str(), reason.as_str()),
        ("other.test", "host_not_allowed")
    );
}

#[tokio::test]
async fn what_is_blocked_is_not_carried_as_anything() {
    let anything = "allowed.test:8443";
    let mut world = World::new(&[anything, "block https://allowed.test"]).await;
    for bytes in [hello(Some("allowed.test")), hello(None)] {
        let (_, host, reason) = denied(&mut world, &["allowed.test"], 8443, &bytes).await;
        assert_eq!(
            (host.as_str(), reason.as_str()),
            ("allowed.test", "host_blocked")
        );
        passes(&world, &["allowed.test"], 8443, b"anything else").await;
        world.lines();
        world.reload(&[anything]);
        passes(&world, &["allowed.test"], 8443, &bytes).await;
        world.reload(&[anything, "block https://allowed.test"]);
    }
    // Also when it is spoken after the upstream was dialled, because nobody spoke for a while.
    let before = world.lines().len();
    let mut client = world.connect(&["allowed.test"], 8443).await;
    let mut upstream = world.arrived().await;
    send(&mut client.stream, &hello(Some("allowed.test"))).await;
    assert_eq!(rest(&mut upstream).await, RESET);
    client.over().await;
    let lines = world.lines().split_off(before);
    let reasons: Vec<_> = lines.iter().map(|it| it["reason"].as_str()).collect();
    assert_eq!(reasons, [Some("host_blocked"); 2], "{lines:#?}");

    let request = b"GET / HTTP/1.1\r\nHost: allowed.test:8080\r\nConnection: close\r\n\r\n";
    let anything = "allowed.test:8080";
    for block in [
        "block http://allowed.test:8080",
        "block http://allowed.test",
    ] {
        world.reload(&[anything, block]);
        let before = world.lines().len();
        let mut client = world.connect(&["allowed.test"], 8080).await;
        send(&mut client.stream, request).await;
        let (said, _) = client.rest().await;
        assert!(said.starts_with(b"HTTP/1.1 403 "), "{block}");
        drop(client.stream);
        client.served.await.unwrap();
        assert!(world.nothing_arrived().await, "{block}");
        let lines = world.lines().split_off(before);
        assert_eq!(lines[0]["reason"], "host_blocked", "{block}");
    }
    // A rule that names the port is not passed by in pieces either.
    world.reload(&[anything, "block http://allowed.test:8080/admin"]);
    let mut client = world.connect(&["allowed.test"], 8080).await;
    send(&mut client.stream, b"GET ").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    send(
        &mut client.stream,
        b"/admin HTTP/1.1\r\nHost: allowed.test:8080\r\nConnection: close\r\n\r\n",
    )
    .await;
    let (said, _) = client.rest().await;
    assert!(said.starts_with(b"HTTP/1.1 403 "));
    assert!(world.nothing_arrived().await);
}

#[tokio::test]
async fn an_encrypted_client_hello_is_refused() {
    let mut world = World::new(&["allowed.test"]).await;
    let plain = hello(Some("allowed.test"));
    for kind in [0xfe0d, 0xffce] {
        let bytes = extended(&plain, kind, &[0; 64]);
        assert_eq!(
            denied(&mut world, &["allowed.test"], 443, &bytes).await,
            expected(alert(49), "allowed.test", "encrypted_client_hello")
        );
    }
    passes(
        &world,
        &["allowed.test"],
        443,
        &extended(&plain, 0xfe00, &[0; 64]),
    )
    .await;
}

#[tokio::test]
async fn pieces_make_no_difference() {
    let mut world = World::new(&["allowed.test"]).await;
    let whole = hello(Some("allowed.test"));
    let in_records = records(&whole[5..], 100);
    for bytes in [&whole, &in_records] {
        let mut client = world.connect(&["allowed.test"], 443).await;
        for byte in bytes {
            send(&mut client.stream, &[*byte]).await;
            tokio::task::yield_now().await;
        }
        expect(&mut world.arrived().await, bytes).await;
        drop(client.stream);
        client.served.await.unwrap();
    }
    world.lines();
    for bytes in [&whole, &in_records] {
        let mut client = world.connect(&["third.test", "192.0.2.7"], 443).await;
        for byte in bytes {
            if client.stream.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        client.rest().await;
        drop(client.stream);
        client.served.await.unwrap();
        assert!(world.nothing_arrived().await);
    }
}

#[tokio::test]
async fn a_client_hello_may_be_large_but_not_larger() {
    let mut world = World::new(&["allowed.test"]).await;
    let plain = hello(Some("allowed.test"));
    let room = 16 * 1024 - (plain.len() - 5) - 4;
    passes(
        &world,
        &["allowed.test"],
        443,
        &extended(&plain, 21, &vec![0; room]),
    )
    .await;
    for more in [1, 40_000 - room] {
        let bytes = extended(&plain, 21, &vec![0; room + more]);
        assert_eq!(
            denied(&mut world, &["allowed.test"], 443, &bytes).await,
            expected(alert(50), "allowed.test", "bad_client_hello")
        );
    }
}

#[tokio::test]
async fn whoever_does_not_say_whom_it_is_for_in_time_is_denied() {
    let mut world = World::with(&["allowed.test"], "limits.first-bytes-seconds = 0.2").await;
    let bytes = hello(Some("allowed.test"));
    let half = bytes.len() / 2;
    assert_eq!(
        denied(&mut world, &["allowed.test"], 443, &bytes[..half]).await,
        expected(alert(49), "allowed.test", "first_bytes_timed_out")
    );
    assert_eq!(
        denied(&mut world, &["allowed.test"], 443, b"").await,
        expected(RESET, "allowed.test", "first_bytes_timed_out")
    );
    let mut client = world.connect(&["allowed.test"], 443).await;
    send(&mut client.stream, &bytes[..half]).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    send(&mut client.stream, &bytes[half..]).await;
    expect(&mut world.arrived().await, &bytes).await;
}

#[tokio::test]
async fn what_is_not_tls_does_not_pass_where_only_tls_may() {
    let mut world = World::new(&["https://allowed.test"]).await;
    let others: [&[u8]; 4] = [
        b"SSH-2.0-OpenSSH_10.0\r\n",
        b"\x16\x02\x01\x00\x05hello",
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"\xff\xff\xff\xff",
    ];
    for bytes in others {
        let (got, _, reason) = denied(&mut world, &["allowed.test"], 443, bytes).await;
        assert_eq!(
            (got, reason.as_str()),
            (RESET, "scheme_not_allowed"),
            "{bytes:?}"
        );
    }
    // SSL 2 and SSL 3.
    let old: [&[u8]; 2] = [
        b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10",
        b"\x16\x03\x00\x00\x2d\x01\x00\x00\x29\x03\x00",
    ];
    for bytes in old {
        let (_, _, reason) = denied(&mut world, &["allowed.test"], 443, bytes).await;
        assert_eq!(reason, "bad_client_hello", "{bytes:?}");
    }
    world.reload(&["tcp://allowed.test:443"]);
    for bytes in others {
        passes(&world, &["allowed.test"], 443, bytes).await;
    }
}

#[tokio::test]
async fn http2_without_tls_is_refused_where_requests_are_judged() {
    let mut world = World::new(&["tcp://allowed.test:80"]).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    assert_eq!(
        denied(&mut world, &["allowed.test"], 80, preface).await,
        expected(RESET, "allowed.test", "http2_plaintext")
    );
    passes(
        &world,
        &["allowed.test"],
        80,
        b"PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n",
    )
    .await;
}

#[tokio::test]
async fn where_anything_may_be_spoken_a_server_name_still_has_to_agree() {
    let mut world = World::new(&["tcp://allowed.test:993"]).await;
    let bytes = hello(Some("other.test"));
    assert_eq!(
        denied(&mut world, &["allowed.test"], 993, &bytes).await,
        expected(alert(112), "allowed.test", "name_mismatch")
    );
    passes(&world, &["allowed.test"], 993, &hello(Some("ALLOWED.test"))).await;
    // Late, after the upstream was dialled.
    let mut client = world.connect(&["allowed.test"], 993).await;
    let mut upstream = world.arrived().await;
    send(&mut client.stream, &bytes).await;
    assert_eq!(client.rest().await, alert(112));
    drop(client.stream);
    client.served.await.unwrap();
    assert_eq!(rest(&mut upstream).await, RESET);
    let mut client = world.connect(&["allowed.test"], 993).await;
    let mut upstream = world.arrived().await;
    let bytes = hello(Some("allowed.test"));
    send(&mut client.stream, &bytes).await;
    expect(&mut upstream, &bytes).await;
}
