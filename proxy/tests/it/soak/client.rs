// SPDX-License-Identifier: MIT OR Apache-2.0
//! One request after the other, each with a tag of its own, some of them broken off.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use serde_json::json;

use super::ledger::{End, Ledger};
use crate::support::{OPENAI_PLACEHOLDER, Raw};

/// splitmix64: the same numbers from the same seed.
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    const fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.0;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (it ^ (it >> 31)) % limit
    }
}

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    Leave,
    HalfBody,
    Cut,
    Status(u16),
    Slow,
}

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

pub(super) struct Worker {
    doors: [SocketAddr; 2],
    ledger: Arc<Ledger>,
    random: Random,
    /// The connection that the last request left, with its door.
    kept: Option<(usize, Raw)>,
}

/// What comes next of a chunked body.
enum Next {
    Piece(Vec<u8>),
    End,
    Broken,
}

impl Worker {
    pub(super) const fn new(doors: [SocketAddr; 2], ledger: Arc<Ledger>, random: Random) -> Self {
        Self {
            doors,
            ledger,
            random,
            kept: None,
        }
    }

    pub(super) async fn run(mut self, until: Instant) {
        while Instant::now() < until {
            let id = self.ledger.begin();
            let end = self.request(id).await;
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
            28..34 => Fault::Slow,
            _ => Fault::None,
        }
    }

    async fn request(&mut self, id: usize) -> End {
        let fault = self.fault();
        let door = usize::from(self.random.below(2) == 1);
        let tag = format!("tag-{id}-{:x}.", self.random.below(u64::MAX));
        let padding = usize::try_from(self.random.below(4096)).unwrap();
        let body = json!({
            "model": "m", "id": id, "tag": tag, "anthropic": door == 1,
            "stream": self.random.below(4) > 0,
            "status": fault.status(),
            "cut": fault == Fault::Cut,
            "wait_ms": if fault == Fault::Slow { 1000 } else { self.random.below(20) },
            "pause_ms": self.random.below(60),
            "pieces": 2 + self.random.below(20),
            "input": 1 + self.random.below(1000), "output": 1 + self.random.below(1000),
            "padding": "x".repeat(padding),
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
            Some((at, raw)) if at == door => raw,
            _ => Raw::connect(self.doors[door]).await,
        };
        if fault == Fault::HalfBody {
            raw.send(head + &body[..body.len() / 2]).await;
            return End::HalfSent;
        }
        raw.send(head + &body).await;
        let Some(answer) = raw.head().await else {
            // An answer that breaks off at once may do so before its head is sent on.
            assert!(fault == Fault::Cut, "{id}: no answer");
            return End::Cut;
        };
        // Or before the gateway has its head at all: an HTTP/2 reset overtakes what waits to be sent.
        if fault == Fault::Cut && answer.starts_with("HTTP/1.1 502 ") {
            return End::Cut;
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
        if self.random.below(4) > 0 && !closes {
            self.kept = Some((door, raw));
        }
        if expected == 200 {
            End::Whole
        } else {
            End::Refused
        }
    }
}

/// How often the tag is there, after a look whether another is.
fn own(text: &[u8], tag: &str) -> usize {
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
