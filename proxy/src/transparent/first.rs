// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a connection speaks, from its first bytes.

use std::io;

use bytes::BytesMut;
use tokio::{io::AsyncReadExt as _, net::TcpStream};

use crate::client_hello::{ClientHello, Fault, Reader, is_ssl2};

/// Read at a time. A ClientHello or the head of a request is rarely longer.
const PIECE: usize = 4 * 1024;

/// Longest method: the longest registered has 17 letters (RFC 9110, section 16.1).
const METHOD: usize = 32;

/// Longest first line that is looked at.
const LINE: usize = 8 * 1024;

/// What it speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    Tls(ClientHello),
    /// TLS, or what pretends to be.
    BadTls(Fault),
    Http,
    /// HTTP/2 without TLS.
    Http2,
    /// Anything else.
    Other,
    /// It ended without a word.
    Nothing,
}

/// How far a look at the first bytes got.
#[derive(Debug, PartialEq, Eq)]
enum Guess {
    Tls,
    Ssl2,
    Http,
    Http2,
    Other,
    /// It could be more than one of these.
    Open,
}

/// Reads until it is clear. What was read is in `bytes`. Can be interrupted and asked again.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) bytes: BytesMut,
    hello: Reader,
    /// How much of `bytes` the reader of the ClientHello had.
    seen: usize,
    /// Whether anything may be spoken here: then only what is surely HTTP counts as HTTP, and nothing is waited for
    /// that another protocol might not say.
    opaque: bool,
}

impl Look {
    pub(super) fn new(bytes: BytesMut, opaque: bool) -> Self {
        Self {
            bytes,
            opaque,
            ..Self::default()
        }
    }

    /// Whether it is TLS, or may still become so.
    pub(super) fn may_be_tls(&self) -> bool {
        matches!(&self.bytes[..], [22] | [22, 3, ..])
    }

    /// Listens until it is clear.
    pub(super) async fn look(&mut self, stream: &mut TcpStream) -> io::Result<Spoken> {
        loop {
            if let Some(spoken) = self.judge() {
                return Ok(spoken);
            }
            self.bytes.reserve(PIECE);
            if stream.read_buf(&mut self.bytes).await? == 0 {
                return Ok(match guess(&self.bytes, self.opaque) {
                    _ if self.bytes.is_empty() => Spoken::Nothing,
                    Guess::Tls => Spoken::BadTls(Fault::Record),
                    Guess::Ssl2 | Guess::Http | Guess::Http2 | Guess::Other | Guess::Open => {
                        Spoken::Other
                    }
                });
            }
        }
    }

    fn judge(&mut self) -> Option<Spoken> {
        match guess(&self.bytes, self.opaque) {
            Guess::Tls => {
                let new = self.bytes.get(self.seen..).unwrap_or_default();
                self.seen = self.bytes.len();
                match self.hello.read(new) {
                    Ok(None) => None,
                    Ok(Some(hello)) => Some(Spoken::Tls(hello)),
                    Err(fault) => Some(Spoken::BadTls(fault)),
                }
            }
            Guess::Ssl2 => Some(Spoken::BadTls(Fault::Record)),
            Guess::Http => Some(Spoken::Http),
            Guess::Http2 => Some(Spoken::Http2),
            Guess::Other => Some(Spoken::Other),
            Guess::Open => None,
        }
    }
}

fn guess(bytes: &[u8], opaque: bool) -> Guess {
    match bytes {
        [] | [22] => return Guess::Open,
        [22, 3, ..] => return Guess::Tls,
        _ if !opaque && is_ssl2(bytes) => return Guess::Ssl2,
        _ => {}
    }
    // Empty lines in front of a request are passed over (RFC 9112, section 2.2).
    let start = bytes.iter().position(|it| !matches!(it, b'\r' | b'\n'));
    let Some(line) = start.and_then(|start| bytes.get(start..)) else {
        return if bytes.len() > 4 {
            Guess::Other
        } else {
            Guess::Open
        };
    };
    let end = line.iter().position(|it| !is_token(*it));
    match end.map_or((line.len(), None), |end| (end, line.get(end))) {
        (1..=METHOD, Some(b' ')) => {}
        (..=METHOD, None) => return Guess::Open,
        _ => return Guess::Other,
    }
    let whole = line.iter().position(|it| *it == b'\n');
    let text = line.get(..whole.unwrap_or(line.len())).unwrap_or_default();
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if whole.is_some() && text == b"PRI * HTTP/2.0" {
        return Guess::Http2;
    }
    match whole {
        // Not enough to tell it from the start of HTTP/2.
        None if b"PRI * HTTP/2.0\r".starts_with(line) => Guess::Open,
        _ if !opaque => Guess::Http,
        None if line.len() < LINE => Guess::Open,
        Some(_) if text.ends_with(b" HTTP/1.1") || text.ends_with(b" HTTP/1.0") => Guess::Http,
        None | Some(_) => Guess::Other,
    }
}

/// Of the characters of a method (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
