// SPDX-License-Identifier: MIT OR Apache-2.0
//! AWS event streams (`application/vnd.amazon.eventstream`): messages of two lengths, a checksum,
//! headers, a payload that is a document (or has one in it, in Base64), and a checksum. The checksums are the receiver's to check.

use super::{fields::Fields, json::Json};

/// Two lengths and their checksum.
const PRELUDE: u64 = 12;

/// A checksum.
const TRAILER: u64 = 4;

/// Reads messages in pieces of any size.
#[derive(Debug)]
pub(super) struct EventStream {
    json: Json,
    /// How much of this message was read.
    at: u64,
    total: u32,
    headers: u32,
    lost: bool,
}

impl EventStream {
    pub(super) fn new() -> Self {
        Self {
            json: Json::wrapping(),
            at: 0,
            total: 0,
            headers: 0,
            lost: false,
        }
    }

    pub(super) const fn is_lost(&self) -> bool {
        self.lost
    }

    /// Reads a piece.
    pub(super) fn push(&mut self, mut bytes: &[u8], fields: &mut Fields) {
        while !bytes.is_empty() && !self.lost {
            if self.at < PRELUDE {
                let Some((first, rest)) = bytes.split_first() else {
                    return;
                };
                match self.at {
                    0..4 => self.total = self.total << 8 | u32::from(*first),
                    4..8 => self.headers = self.headers << 8 | u32::from(*first),
                    _ => {}
                }
                self.at += 1;
                bytes = rest;
                let least = PRELUDE + u64::from(self.headers) + TRAILER;
                self.lost = self.at == PRELUDE && u64::from(self.total) < least;
                continue;
            }
            let payload = PRELUDE + u64::from(self.headers);
            let (trailer, end) = (u64::from(self.total) - TRAILER, u64::from(self.total));
            let is_payload = (payload..trailer).contains(&self.at);
            let until = match self.at {
                at if at < payload => payload,
                at if at < trailer => trailer,
                _ => end,
            };
            let left = usize::try_from(until - self.at).unwrap_or(usize::MAX);
            let (piece, rest) = bytes.split_at(left.min(bytes.len()));
            if is_payload {
                self.json.push(piece, fields);
            }
            self.at += u64::try_from(piece.len()).unwrap_or(u64::MAX);
            bytes = rest;
            if self.at == end {
                (self.at, self.total, self.headers) = (0, 0, 0);
                self.json.restart();
            }
        }
    }
}
