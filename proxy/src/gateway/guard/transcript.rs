// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the guard makes of a whole connection, without a connection: for tests and fuzzing, which
//! compare it with what hyper makes of the same bytes.

use super::{
    chunks::Chunks,
    head::{Accepts, Framing, Scanner},
};
use crate::refusal::Refusal;

/// One request, as the guard delimits it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delimited {
    /// Bytes of the head.
    pub head: Vec<u8>,
    /// Bytes of the body without its framing.
    pub body: Vec<u8>,
    /// Whether the body came to its end.
    pub whole: bool,
}

/// A connection's bytes, as the guard delimits them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transcript {
    /// The requests whose head was accepted.
    pub requests: Vec<Delimited>,
    /// Why the rest was not.
    pub refusal: Option<Refusal>,
    /// Whether the bytes end before the first size line of a chunked body does: its head is held back.
    pub held: bool,
    /// Whether the last request asks for an upgrade; then nothing behind it was looked at.
    pub upgrade: bool,
}

/// Delimits `bytes`, with heads of at most `limit` bytes, as an API that takes paths.
#[must_use]
pub fn transcript(bytes: &[u8], limit: usize) -> Transcript {
    transcript_of(bytes, limit, Accepts::Paths)
}

/// The same, as whoever takes such requests.
#[must_use]
pub fn transcript_of(mut bytes: &[u8], limit: usize, accepts: Accepts) -> Transcript {
    let mut all = Transcript::default();
    while !bytes.is_empty() && all.refusal.is_none() && !all.upgrade {
        let head = match Scanner::new(accepts).scan(bytes, limit) {
            Ok(Some(head)) => head,
            Ok(None) => break,
            Err(refusal) => {
                all.refusal = Some(refusal);
                break;
            }
        };
        let (text, rest) = bytes.split_at(head.length.min(bytes.len()));
        all.upgrade = head.upgrade;
        let mut request = Delimited {
            head: text.to_vec(),
            body: Vec::new(),
            whole: false,
        };
        bytes = rest;
        match head.framing {
            Framing::Length(length) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                request.whole = rest.len() >= length;
                let (body, behind) = rest.split_at(length.min(rest.len()));
                request.body = body.to_vec();
                bytes = behind;
            }
            Framing::Chunked => {
                let mut chunks = Chunks::default();
                match chunks.scan(rest) {
                    Ok(_) if !chunks.has_begun() && !head.expects_continue => {
                        all.held = true;
                        break;
                    }
                    Ok(taken) => {
                        let (body, behind) = rest.split_at(taken.min(rest.len()));
                        request.body = data(body);
                        request.whole = chunks.is_done();
                        bytes = behind;
                    }
                    Err(refusal) => {
                        all.refusal = Some(refusal);
                        // A head whose body is bad from its first size line is not handed on.
                        if !chunks.has_begun() && !head.expects_continue {
                            break;
                        }
                    }
                }
            }
        }
        all.requests.push(request);
    }
    all
}

/// The data of well-formed chunks.
fn data(mut chunked: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    while let Some(end) = chunked.iter().position(|it| *it == b'\r') {
        let digits = chunked.get(..end).and_then(|it| str::from_utf8(it).ok());
        let size = digits
            .and_then(|it| usize::from_str_radix(it, 16).ok())
            .unwrap_or(0);
        let rest = chunked.get(end + 2..).unwrap_or_default();
        data.extend_from_slice(rest.get(..size.min(rest.len())).unwrap_or_default());
        if size == 0 {
            break;
        }
        chunked = rest.get(size + 2..).unwrap_or_default();
    }
    data
}
