// SPDX-License-Identifier: MIT OR Apache-2.0
//! One exchange after the other, each with a tag of its own, some of them broken off.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{net::TcpSocket, time::sleep};

use super::{
    ledger::{End, Ledger, cost},
    random::Random,
    stall::{self, PATIENCE},
    tunnel,
};
use crate::support::{OPENAI_PLACEHOLDER, Raw};

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    Leave,
    HalfBody,
    Cut,
    Status(u16),
    SlowUpstream,
    /// The worker takes its time with what it sends and with what it reads, and has little room.
    SlowWorker,
}

/// Bytes that a slow worker's socket holds for it: the kernel's least.
const LITTLE_ROOM: u32 = 2048;

impl Fault {
    /// The status that the answer then has.
    const fn status(self) -> u16 {
        if let Self::Status(status) = self {
            status
        } else {
            200
        }
    }
}

/// A gateway's addresses: `OpenAI`'s and Anthropic's.
pub(super) type Doors = [SocketAddr; 2];

pub(super) struct Worker {
    gateways: [Doors; 2],
    ledger: Arc<Ledger>,
    random: Random,
    /// The connection that the last request left, with its door.
    kept: Option<(SocketAddr, Raw)>,
}

/// What comes next of a chunked body.
enum Next {
    Piece(Vec<u8>),
    End,
    Broken,
}

impl Worker {
    pub(super) const fn new(gateways: [Doors; 2], ledger: Arc<Ledger>, random: Random) -> Self {
        Self {
            gateways,
            ledger,
            random,
            kept: None,
        }
    }

    pub(super) async fn run(mut self, until: Instant) {
        while Instant::now() < until {
            let id = self.ledger.begin();
            let gateway = usize::from(self.random.one_in(2));
            let doors = self.gateways[gateway];
            let end = match self.random.one_in(5) {
                true => tunnel::exchange(doors[0], id, &self.ledger, &mut self.random).await,
                false => self.request(doors, id).await,
            };
            self.ledger.end(id, end);
        }
    }

    fn fault(&mut self) -> Fault {
        match self.random.below(100) {
            0..8 => Fault::Leave,
            8..12 => Fault::HalfBody,
            12..20 => Fault::Cut,
            20..24 => Fault::Status(500),
            24..28 => Fault::Status(429),
            28..34 => Fault::SlowUpstream,
            34..40 => Fault::SlowWorker,
            _ => Fault::None,
        }
    }

    async fn request(&mut self, doors: Doors, id: usize) -> End {
        let fault = self.fault();
        let slow = fault == Fault::SlowWorker;
        let door = usize::from(self.random.one_in(2));
        let tag = format!("tag-{id}-{:x}.", self.random.below(u64::MAX));
        let padding = usize::try_from(self.random.below(4096)).unwrap();
        let (input, output) = cost(id, 0);
        let body = json!({
            "model": "m", "id": id, "tag": tag, "anthropic": door == 1,
            "stream": !self.random.one_in(4),
            "status": fault.status(),
            "cut": fault == Fault::Cut,
            "wait_ms": if fault == Fault::SlowUpstream { 1000 } else { self.random.below(20) },
            "pause_ms": self.random.below(60),
            "pieces": 2 + self.random.below(20),
            "input": input, "output": output,
            "padding": "x".repeat(padding),
            // More than all the sockets in between have room for.
            "piece_padding": if slow { 32 * 1024 } else { 0 },
        })
        .to_string();
        let (path, placeholder) = [
            (
                "/v1/chat/completions",
                format!("Authorization: Bearer {OPENAI_PLACEHOLDER}\r\n"),
            ),
            ("/v1/messages", String::new()),
        ][door]
            .clone();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nx-request-id: soak-{id}\r\n{placeholder}Content-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        let mut raw = match self.kept.take() {
            _ if slow => with_little_room(doors[door]).await,
            Some((at, raw)) if at == doors[door] => raw,
            _ => connect(doors[door]).await,
        };
        if fault == Fault::HalfBody {
            raw.send(head + &body[..body.len() / 2]).await;
            return End::HalfSent;
        }
        if slow {
            raw.send(head).await;
            let part = body.len().div_ceil(3);
            for piece in body.as_bytes().chunks(part) {
                sleep(Duration::from_millis(self.random.below(200))).await;
                raw.send(piece).await;
            }
        } else {
            raw.send(head + &body).await;
        }
        let Some(answer) = raw.head().await else {
            // An answer that breaks off at once may do so before its head is sent on.
            assert!(fault == Fault::Cut, "{id}: no answer");
            return End::Cut;
        };
        // Or before the gateway has its head at all: an HTTP/2 reset overtakes what waits to be sent.
        if fault == Fault::Cut && answer.starts_with("HTTP/1.1 502 ") {
            return End::Cut;
        }
        if late(&answer) {
            return End::Late;
        }
        let expected = fault.status();
        let status = format!("HTTP/1.1 {expected} ");
        assert!(
            answer.starts_with(&status),
            "{id}, {fault:?}: {answer}\n{:?}",
            String::from_utf8_lossy(&raw.buffer)
        );
        let leaves = (fault == Fault::Leave).then(|| self.random.below(4));
        let mut text = Vec::new();
        let mut pieces = 0;
        loop {
            if leaves == Some(pieces) {
                return End::Left;
            }
            if slow {
                sleep(Duration::from_millis(self.random.below(200))).await;
            }
            match next(&mut raw).await {
                Next::Piece(piece) => text.extend(piece),
                Next::End => break,
                Next::Broken => {
                    assert!(fault == Fault::Cut, "{id}: broken off without a reason");
                    own(&text, &tag);
                    return End::Cut;
                }
            }
            pieces += 1;
        }
        // One that wanted to leave may have had all of a short answer.
        assert!(fault != Fault::Cut, "{id}: made to look whole");
        assert!(own(&text, &tag) > 0, "{id}: nothing of its own");
        // Some connections serve one request, others many.
        let closes = answer.to_lowercase().contains("connection: close");
        if !self.random.one_in(4) && !closes {
            self.kept = Some((doors[door], raw));
        }
        if expected == 200 {
            self.ledger.read(id);
            End::Whole
        } else {
            End::Refused
        }
    }
}

/// Whether the gateway gave up because this machine had no time for it or for the upstream.
pub(super) fn late(head: &str) -> bool {
    head.starts_with("HTTP/1.1 504 ") && stall::lately()
}

pub(super) async fn connect(door: SocketAddr) -> Raw {
    Raw {
        patience: PATIENCE,
        ..Raw::connect(door).await
    }
}

async fn with_little_room(door: SocketAddr) -> Raw {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(LITTLE_ROOM).unwrap();
    socket.set_send_buffer_size(LITTLE_ROOM).unwrap();
    Raw {
        stream: socket.connect(door).await.unwrap(),
        buffer: Vec::new(),
        patience: PATIENCE,
    }
}

/// How often the tag is there, after a look whether another is.
pub(super) fn own(text: &[u8], tag: &str) -> usize {
    let text = String::from_utf8_lossy(text);
    let own = text.matches(tag).count();
    assert_eq!(
        text.matches("\"tag-").count().max(own),
        own,
        "another's answer: {text}"
    );
    own
}

async fn next(raw: &mut Raw) -> Next {
    loop {
        if let Some(end) = raw.buffer.windows(2).position(|it| it == b"\r\n") {
            let size = std::str::from_utf8(&raw.buffer[..end]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            let whole = end + 2 + size + 2;
            if raw.buffer.len() >= whole {
                let piece = raw.buffer[end + 2..whole - 2].to_vec();
                raw.buffer.drain(..whole);
                return match size {
                    0 => Next::End,
                    _ => Next::Piece(piece),
                };
            }
        }
        if raw.fill().await == 0 {
            return Next::Broken;
        }
    }
}
