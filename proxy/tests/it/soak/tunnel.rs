// SPDX-License-Identifier: MIT OR Apache-2.0
//! A worker's side of a tunnel: some questions one after the other, each with a tag of its own, and then an end.

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{
            Role,
            frame::{
                Frame,
                coding::{Data, OpCode},
            },
        },
    },
};

use super::{
    client::{connect, late, own},
    ledger::{End, Ledger},
    random::Random,
    stall::PATIENCE,
};
use crate::support::{OPENAI_PLACEHOLDER, Raw};

/// How a tunnel ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The worker closes it.
    None,
    /// The upstream does, after the last answer.
    Goodbye,
    /// The worker goes away in the middle of the last answer.
    Leave,
    /// In the middle of the last question's frame.
    HalfFrame,
    /// The upstream goes away in the middle of the last answer.
    Cut,
}

/// One tunnel, from its handshake to its end.
pub(super) async fn exchange(
    door: SocketAddr,
    id: usize,
    ledger: &Ledger,
    random: &mut Random,
) -> End {
    let fault = match random.below(100) {
        0..15 => Fault::Leave,
        15..20 => Fault::HalfFrame,
        20..35 => Fault::Cut,
        35..60 => Fault::Goodbye,
        _ => Fault::None,
    };
    let questions = 1 + random.below(5);
    let slow = random.one_in(10);
    let Some(mut socket) = open(door, id).await else {
        return End::Late;
    };
    for nth in 0..questions {
        let is_last = nth + 1 == questions;
        let tag = format!("tag-{id}-{nth}-{:x}.", random.below(u64::MAX));
        let padding = usize::try_from(random.below(4096)).unwrap();
        let question = json!({
            "type": "response.create", "model": "m", "id": id, "nth": nth, "tag": tag,
            "pieces": 1 + random.below(10), "pause_ms": random.below(60),
            "piece_padding": if slow { 32 * 1024 } else { random.below(300) },
            "cut": is_last && fault == Fault::Cut,
            "goodbye": is_last && fault == Fault::Goodbye,
            "padding": "x".repeat(padding),
        })
        .to_string();
        if is_last && fault == Fault::HalfFrame {
            // A text of 1000 bytes, of which there are few.
            let half = [
                &[0x81, 0xfe, 3, 232, 0, 0, 0, 0],
                &question.as_bytes()[..40],
            ];
            socket.get_mut().write_all(&half.concat()).await.unwrap();
            return End::Broken;
        }
        ask(&mut socket, &question, random).await;
        let leaves = (is_last && fault == Fault::Leave).then(|| random.below(4));
        let mut messages = 0;
        loop {
            if leaves == Some(messages) {
                return End::Broken;
            }
            if slow {
                sleep(Duration::from_millis(random.below(200))).await;
            }
            let Some(text) = next(&mut socket).await else {
                assert!(
                    is_last && fault == Fault::Cut,
                    "{id}: broken off without a reason"
                );
                return End::Broken;
            };
            assert!(own(text.as_bytes(), &tag) > 0, "{id}: nothing of its own");
            messages += 1;
            let message: Value = serde_json::from_str(&text).unwrap();
            if message["type"] == "response.completed" {
                break;
            }
        }
        ledger.read(id);
    }
    assert!(fault != Fault::Cut, "{id}: made to look whole");
    match fault {
        // It had all of a short answer before it could leave.
        Fault::Leave => return End::Broken,
        Fault::None => socket.close(None).await.unwrap(),
        Fault::Goodbye | Fault::HalfFrame | Fault::Cut => {}
    }
    // Either way there is a close frame from the other side, and nothing else.
    let end = timeout(PATIENCE, socket.next())
        .await
        .expect("an end in time");
    assert!(matches!(end, Some(Ok(Message::Close(_)))), "{id}: {end:?}");
    End::Closed
}

/// `None`: too late, and not through the gateway's fault.
async fn open(door: SocketAddr, id: usize) -> Option<WebSocketStream<TcpStream>> {
    let mut raw = connect(door).await;
    raw.send(format!(
        "GET /v1/responses HTTP/1.1\r\nHost: x\r\nx-request-id: soak-{id}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Authorization: Bearer {OPENAI_PLACEHOLDER}\r\n\r\n"
    ))
    .await;
    let head = raw.head().await.unwrap();
    if late(&head) {
        return None;
    }
    assert!(head.starts_with("HTTP/1.1 101 "), "{id}: {head}");
    let Raw { stream, buffer, .. } = raw;
    Some(WebSocketStream::from_partially_read(stream, buffer, Role::Client, None).await)
}

/// Sends a message: whole, or in two frames with a ping between them.
async fn ask(socket: &mut WebSocketStream<TcpStream>, text: &str, random: &mut Random) {
    if random.one_in(2) {
        socket.send(Message::text(text)).await.unwrap();
        return;
    }
    let (first, second) = text.split_at(text.len() / 2);
    let frame = |data: &str, kind, fin| {
        let data = data.as_bytes().to_vec();
        Message::Frame(Frame::message(data, OpCode::Data(kind), fin))
    };
    for message in [
        frame(first, Data::Text, false),
        Message::Ping("between".into()),
        frame(second, Data::Continue, true),
    ] {
        socket.send(message).await.unwrap();
    }
}

/// The next text; `None`: it broke off.
async fn next(socket: &mut WebSocketStream<TcpStream>) -> Option<String> {
    loop {
        match timeout(PATIENCE, socket.next())
            .await
            .expect("a message in time")?
        {
            Ok(Message::Text(text)) => return Some(text.as_str().to_owned()),
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            Ok(other) => panic!("no text: {other:?}"),
            Err(_broken) => return None,
        }
    }
}
