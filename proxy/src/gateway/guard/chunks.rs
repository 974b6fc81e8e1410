// SPDX-License-Identifier: MIT OR Apache-2.0
//! A chunked body's bytes, judged strictly. Pure: no socket, no clock.
//!
//! A size is one to fifteen hexadecimal digits with CRLF right behind: no extension, no white space,
//! no sign. Trailers must be well-formed header lines; they are never forwarded.

use super::head::header_line;
use crate::refusal::Refusal;

/// Longest size, in digits: fits a `u64`, and is more than any body.
const MAX_DIGITS: u8 = 15;

/// Longest trailer section, in bytes: hyper's own limit.
const MAX_TRAILERS: usize = 16 * 1024;

/// Follows a chunked body that arrives in pieces.
#[derive(Debug, Default)]
pub struct Chunks {
    state: State,
    /// Whether a size line was read to its end.
    begun: bool,
}

#[derive(Debug)]
enum State {
    /// In a size line, after this many digits with this value.
    Size { digits: u8, value: u64 },
    /// After the CR of a size line.
    SizeEnd { value: u64 },
    /// In data, with this many bytes to come.
    Data { left: u64 },
    /// After data: CR.
    DataEnd,
    /// After data and CR: LF.
    DataEndLine,
    /// After the last chunk: a trailer line so far, and the length of all lines before it.
    Trailer { line: Vec<u8>, before: usize },
    /// After the CR of a trailer line.
    TrailerEnd { line: Vec<u8>, before: usize },
    /// Behind the body.
    Done,
}

impl Default for State {
    fn default() -> Self {
        Self::Size {
            digits: 0,
            value: 0,
        }
    }
}

impl Chunks {
    /// Judges the beginning of `bytes` and says how many of them belong to this body. Fewer than given
    /// means that the body ended there.
    ///
    /// # Errors
    ///
    /// [`Refusal::BadChunk`], or what is wrong with a trailer line.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|it| !it.is_empty()) {
            match &mut self.state {
                State::Done => break,
                State::Data { left } => {
                    let available = u64::try_from(rest.len()).unwrap_or(u64::MAX);
                    let taken = available.min(*left);
                    *left -= taken;
                    if *left == 0 {
                        self.state = State::DataEnd;
                    }
                    at += usize::try_from(taken).unwrap_or(rest.len());
                }
                State::Size { .. }
                | State::SizeEnd { .. }
                | State::DataEnd
                | State::DataEndLine
                | State::Trailer { .. }
                | State::TrailerEnd { .. } => {
                    self.step(rest.first().copied().unwrap_or_default())?;
                    at += 1;
                }
            }
        }
        Ok(at)
    }

    /// Whether the body has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Whether the first size line has been read: until then nothing of the body is known to be good.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    fn step(&mut self, byte: u8) -> Result<(), Refusal> {
        let state = std::mem::take(&mut self.state);
        self.state = match (state, byte) {
            (State::Size { digits, value }, _) if byte.is_ascii_hexdigit() => {
                if digits == MAX_DIGITS {
                    return Err(Refusal::BadChunk);
                }
                State::Size {
                    digits: digits + 1,
                    value: value * 16 + hex(byte),
                }
            }
            (State::Size { digits: 1.., value }, b'\r') => State::SizeEnd { value },
            (State::SizeEnd { value: 0 }, b'\n') => State::Trailer {
                line: Vec::new(),
                before: 0,
            },
            (State::SizeEnd { value }, b'\n') => State::Data { left: value },
            (State::DataEnd, b'\r') => State::DataEndLine,
            (State::DataEndLine, b'\n') => State::default(),
            (State::Trailer { line, before }, b'\r') => State::TrailerEnd { line, before },
            (State::Trailer { mut line, before }, _) => {
                if byte == 0x7f || (byte < b' ' && byte != b'\t') {
                    return Err(Refusal::ControlCharacter);
                }
                if before + line.len() >= MAX_TRAILERS {
                    return Err(Refusal::HeadTooLarge);
                }
                line.push(byte);
                State::Trailer { line, before }
            }
            (State::TrailerEnd { line, .. }, b'\n') if line.is_empty() => State::Done,
            (State::TrailerEnd { line, before }, b'\n') => {
                header_line(&line)?;
                State::Trailer {
                    before: before + line.len() + 2,
                    line: Vec::new(),
                }
            }
            (
                State::Size { .. }
                | State::SizeEnd { .. }
                | State::Data { .. }
                | State::DataEnd
                | State::DataEndLine
                | State::TrailerEnd { .. }
                | State::Done,
                _,
            ) => return Err(Refusal::BadChunk),
        };
        self.begun |= matches!(self.state, State::Data { .. } | State::Trailer { .. });
        Ok(())
    }
}

/// Value of a hexadecimal digit.
fn hex(byte: u8) -> u64 {
    u64::from(match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        _ => byte.saturating_sub(b'A') + 10,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> Result<(usize, bool), Refusal> {
        let mut chunks = Chunks::default();
        chunks
            .scan(text.as_bytes())
            .map(|taken| (taken, chunks.is_done()))
    }

    #[test]
    fn bodies_end_where_they_end() {
        for body in [
            "0\r\n\r\n",
            "000\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "A\r\n0123456789\r\n1\r\n\r\r\n0\r\n\r\n",
            "1\r\nx\r\n0\r\nA: b\r\nC:d\r\n\r\n",
        ] {
            assert_eq!(
                scan(&format!("{body}GET")),
                Ok((body.len(), true)),
                "{body:?}"
            );
            let mut pieces = Chunks::default();
            for (at, byte) in body.bytes().enumerate() {
                assert!(!pieces.is_done(), "{body:?} at {at}");
                assert_eq!(pieces.scan(&[byte]), Ok(1));
            }
            assert!(pieces.is_done());
        }
    }

    #[test]
    fn what_is_refused() {
        for body in [
            "\r\n",
            "g\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\n",
            " 1\r\n",
            "1 \r\n",
            "1;a=b\r\n",
            "1\n",
            "1\rx",
            "1\r\nxx",
            "1\r\nx\n",
            "1\r\nx\rx",
            "1234567890abcdef\r\n",
            "0\r\nA\r\n",
            "0\r\n A: b\r\n",
            "0\r\nA: b\n",
            "0\r\n\rx",
            "0\r\nA : b\r\n",
        ] {
            assert!(scan(body).is_err(), "{body:?}");
        }
        let long = format!("0\r\n{}", "A: b\r\n".repeat(MAX_TRAILERS / 6 + 2));
        assert_eq!(scan(&long), Err(Refusal::HeadTooLarge));
    }

    #[test]
    fn the_first_size_is_known_only_after_its_line() {
        let mut chunks = Chunks::default();
        chunks.scan(b"5\r").unwrap();
        assert!(!chunks.has_begun());
        chunks.scan(b"\n").unwrap();
        assert!(chunks.has_begun());
        chunks.scan(b"hello\r\n").unwrap();
        assert!(chunks.has_begun());
    }
}
