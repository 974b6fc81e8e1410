// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is carried, and how a tunnel ends.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::world::{Client, World, expect, rest, send};

const ANY: &[&str] = &["tcp://allowed.test:7000", "tcp://other.test:7000"];

/// An open tunnel: both ends.
async fn tunnel(world: &World) -> (Client, TcpStream) {
    tunnel_to(world, "allowed.test").await
}

async fn tunnel_to(world: &World, host: &str) -> (Client, TcpStream) {
    let mut client = world.connect(&[host], 7000).await;
    send(&mut client.stream, b"\0first").await;
    let mut upstream = world.arrived().await;
    expect(&mut upstream, b"\0first").await;
    (client, upstream)
}

#[tokio::test]
async fn whoever_speaks_first_is_heard() {
    let mut world = World::new(ANY).await;
    let (mut client, mut upstream) = tunnel(&world).await;
    send(&mut upstream, b"second").await;
    expect(&mut client.stream, b"second").await;
    // The server first.
    let mut client = world.connect(&["allowed.test"], 7000).await;
    let mut upstream = world.arrived().await;
    send(&mut upstream, b"220 hello\r\n").await;
    expect(&mut client.stream, b"220 hello\r\n").await;
    send(&mut client.stream, b"EHLO x\r\n").await;
    expect(&mut upstream, b"EHLO x\r\n").await;
    client.stream.shutdown().await.unwrap();
    upstream.shutdown().await.unwrap();
    client.over().await;
    let (verdict, host, reason) = {
        let lines = world.lines();
        assert_eq!(lines[0]["bytes_up"], 8);
        assert_eq!(lines[0]["bytes_down"], 11);
        world.line()
    };
    assert_eq!(
        (verdict.as_str(), host.as_str(), reason.as_str()),
        ("allow", "allowed.test", "")
    );
}

#[tokio::test]
async fn one_direction_may_end_before_the_other() {
    let world = World::new(ANY).await;
    let (mut client, mut upstream) = tunnel(&world).await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut upstream).await, (Vec::new(), false));
    send(&mut upstream, b"answer").await;
    expect(&mut client.stream, b"answer").await;
    drop(upstream);
    assert_eq!(client.rest().await, (Vec::new(), false));
    client.over().await;

    let (mut client, mut upstream) = tunnel(&world).await;
    upstream.shutdown().await.unwrap();
    assert_eq!(client.rest().await, (Vec::new(), false));
    send(&mut client.stream, b"more").await;
    expect(&mut upstream, b"more").await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut upstream).await, (Vec::new(), false));
    client.over().await;
}

#[tokio::test]
async fn a_reset_is_a_reset_on_the_other_side() {
    let world = World::new(ANY).await;
    let (client, mut upstream) = tunnel(&world).await;
    client.stream.set_zero_linger().unwrap();
    drop(client.stream);
    assert!(rest(&mut upstream).await.1);

    let (mut client, upstream) = tunnel(&world).await;
    upstream.set_zero_linger().unwrap();
    drop(upstream);
    assert!(client.rest().await.1);
    client.over().await;

    // After the end of one direction.
    let (mut client, mut upstream) = tunnel(&world).await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut upstream).await, (Vec::new(), false));
    client.stream.set_zero_linger().unwrap();
    drop(client.stream);
    client.served.await.unwrap();
    let error = upstream.ready(tokio::io::Interest::ERROR).await;
    assert!(error.unwrap().is_error());

    // What was said before it still arrives.
    let (mut client, mut upstream) = tunnel(&world).await;
    send(&mut client.stream, &[1; 50_000]).await;
    expect(&mut upstream, &[1; 1000]).await;
    send(&mut upstream, b"no more").await;
    // With bytes unread: a reset.
    drop(upstream);
    assert_eq!(client.rest().await, (b"no more".to_vec(), true));
    client.over().await;
}

#[tokio::test]
async fn a_new_policy_ends_what_it_does_not_allow_and_nothing_else() {
    let mut world = World::new(ANY).await;
    let (mut denied, mut denied_upstream) = tunnel(&world).await;
    let (mut kept, mut kept_upstream) = tunnel_to(&world, "other.test").await;
    assert_eq!(world.reload(&["tcp://other.test:7000", "third.test"]), 1);
    assert!(denied.rest().await.1 && rest(&mut denied_upstream).await.1);
    denied.over().await;
    send(&mut kept.stream, b"still").await;
    expect(&mut kept_upstream, b"still").await;
    let (_, host, reason) = world.line();
    assert_eq!(
        (host.as_str(), reason.as_str()),
        ("allowed.test", "policy_changed")
    );
    assert!(world.connect(&["allowed.test"], 7000).await.rest().await.1);
}

#[tokio::test]
async fn silence_and_life_have_limits() {
    let world = World::with(ANY, "limits.tunnel-idle-seconds = 0.3").await;
    let (mut client, mut upstream) = tunnel(&world).await;
    let began = Instant::now();
    // A word from either side keeps it.
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        send(&mut upstream, b"x").await;
        expect(&mut client.stream, b"x").await;
    }
    assert!(client.rest().await.1 && rest(&mut upstream).await.1);
    assert!(began.elapsed() >= Duration::from_millis(700));
    client.over().await;

    let world = World::with(ANY, "limits.tunnel-total-seconds = 0.3").await;
    let (mut client, mut upstream) = tunnel(&world).await;
    let words = async {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if upstream.write_all(b"x").await.is_err() {
                break;
            }
        }
    };
    let (_, (bytes, reset)) = tokio::join!(words, client.rest());
    assert!(bytes.len() > 3 && reset);
}

/// Bytes that no shift, gap or repetition leaves as they are.
fn pattern(at: usize, into: &mut [u8]) {
    for (index, byte) in into.iter_mut().enumerate() {
        let position = u64::try_from(at + index).unwrap();
        *byte = position.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0];
    }
}

async fn write_pattern(stream: &mut (impl AsyncWriteExt + Unpin), length: usize, piece: usize) {
    let mut buffer = vec![0; piece];
    let mut at = 0;
    while at < length {
        let part = &mut buffer[..piece.min(length - at)];
        pattern(at, part);
        stream.write_all(part).await.unwrap();
        at += part.len();
    }
    stream.shutdown().await.unwrap();
}

async fn read_pattern(stream: &mut (impl AsyncReadExt + Unpin), length: usize) {
    let (mut found, mut expected) = (vec![0; 256 * 1024], vec![0; 256 * 1024]);
    let mut at = 0;
    loop {
        let count = stream.read(&mut found).await.unwrap();
        if count == 0 {
            break;
        }
        pattern(at, &mut expected[..count]);
        assert!(found[..count] == expected[..count], "at {at}");
        at += count;
    }
    assert_eq!(at, length);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_is_carried_both_ways_at_once_without_a_byte_changed() {
    const UP: usize = 48 * 1024 * 1024 + 17;
    const DOWN: usize = 32 * 1024 * 1024 + 1;
    let mut world = World::new(ANY).await;
    let (client, upstream) = tunnel(&world).await;
    let (mut client_read, mut client_write) = client.stream.into_split();
    let (mut upstream_read, mut upstream_write) = upstream.into_split();
    tokio::join!(
        write_pattern(&mut client_write, UP, 256 * 1024),
        read_pattern(&mut upstream_read, UP),
        write_pattern(&mut upstream_write, DOWN, 9_000),
        read_pattern(&mut client_read, DOWN),
    );
    client.served.await.unwrap();
    let lines = world.lines();
    assert_eq!(lines[0]["bytes_up"], UP + 6);
    assert_eq!(lines[0]["bytes_down"], DOWN);
}

#[tokio::test]
async fn a_thousand_tunnels_at_once() {
    let mut world = World::new(ANY).await;
    let mut tunnels = Vec::new();
    for _ in 0..1000 {
        tunnels.push(tunnel(&world).await);
    }
    assert_eq!(world.egress.open().now().len(), 1000);
    for (at, (client, upstream)) in tunnels.iter_mut().enumerate() {
        let word = at.to_string();
        send(&mut client.stream, word.as_bytes()).await;
        expect(upstream, word.as_bytes()).await;
    }
    for (client, upstream) in tunnels {
        drop((client.stream, upstream));
        client.served.await.unwrap();
    }
    assert_eq!(world.egress.open().now().len(), 0);
    assert_eq!(world.lines().len(), 1000);
}
