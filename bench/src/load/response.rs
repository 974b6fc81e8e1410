// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading one HTTP/1.1 response as it comes in: where it ends, and how much body it had. Whatever
//! is not exactly a 200 with a sound framing is an error: a benchmark of error pages is worthless.

use anyhow::{Context, Result, bail};

/// Most bytes of a head.
const MAX_HEAD: usize = 64 << 10;

/// A response so far.
#[derive(Debug, Default)]
pub(crate) struct Response {
    state: State,
    /// Bytes of head, or of a chunk's size line, that are not complete yet.
    pending: Vec<u8>,
    /// Bytes of body so far, without the chunks' framing.
    body: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    /// So many bytes of body are left.
    Sized(u64),
    ChunkSize,
    /// So many bytes of this chunk are left, its CRLF included.
    Chunk(u64),
    /// After the last chunk: an empty line, no trailers.
    LastLine,
    Done,
}

impl Response {
    /// An answer that is nothing but so many bytes.
    pub(crate) fn sized(bytes: u64) -> Self {
        Self {
            state: State::Sized(bytes),
            ..Self::default()
        }
    }

    /// Takes what was read, and shows what of it is body. Says whether the response is complete.
    pub(crate) fn push_to(
        &mut self,
        mut bytes: &[u8],
        mut body: impl FnMut(&[u8]),
    ) -> Result<bool> {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Head => self.head(bytes)?,
                State::Sized(left) => {
                    let (part, taken, rest) = split(bytes, left);
                    body(part);
                    self.body += taken;
                    self.state = if left == taken {
                        State::Done
                    } else {
                        State::Sized(left - taken)
                    };
                    rest
                }
                State::Chunk(left) => {
                    let (part, taken, rest) = split(bytes, left);
                    // The CRLF at the end is not body.
                    let (part, of_body, _) = split(part, left.saturating_sub(2));
                    body(part);
                    self.body += of_body;
                    self.state = if left == taken {
                        State::ChunkSize
                    } else {
                        State::Chunk(left - taken)
                    };
                    rest
                }
                State::ChunkSize | State::LastLine => self.line(bytes)?,
                State::Done => bail!("{} bytes after the response", bytes.len()),
            };
        }
        Ok(self.state == State::Done)
    }

    /// Bytes of body so far.
    pub(crate) fn body(&self) -> u64 {
        self.body
    }

    fn head<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let had = self.pending.len();
        self.pending.extend_from_slice(bytes);
        let from = had.saturating_sub(3);
        let Some(end) = self.pending[from..]
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
        else {
            if self.pending.len() > MAX_HEAD {
                bail!("the head does not end");
            }
            return Ok(&[]);
        };
        let end = from + end + 4;
        let head = str::from_utf8(&self.pending[..end]).context("the head is not text")?;
        self.state = framing(head)?;
        self.pending.clear();
        Ok(&bytes[end - had..])
    }

    fn line<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
            self.pending.extend_from_slice(bytes);
            return Ok(&[]);
        };
        self.pending.extend_from_slice(&bytes[..end]);
        let line = self
            .pending
            .strip_suffix(b"\r")
            .context("a bare LF in the framing")?;
        self.state = if self.state == State::LastLine {
            if !line.is_empty() {
                bail!("trailers");
            }
            State::Done
        } else {
            let line = str::from_utf8(line).context("the chunk size is not text")?;
            let size = u64::from_str_radix(line, 16).context("the chunk size is no number")?;
            if size == 0 {
                State::LastLine
            } else {
                State::Chunk(size + 2)
            }
        };
        self.pending.clear();
        Ok(&bytes[end + 1..])
    }
}

/// What of `bytes` belongs to the next `left`, how much that is, and the rest.
fn split(bytes: &[u8], left: u64) -> (&[u8], u64, &[u8]) {
    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    let (part, rest) = bytes.split_at(taken);
    (part, u64::try_from(taken).unwrap_or(left), rest)
}

/// What follows this head.
fn framing(head: &str) -> Result<State> {
    let (status, headers) = head.split_once("\r\n").context("no status line")?;
    if !status.starts_with("HTTP/1.1 200") {
        bail!("answered `{status}`");
    }
    let header = |wanted: &str| {
        headers.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then_some(value.trim())
        })
    };
    match (header("content-length"), header("transfer-encoding")) {
        (Some(length), None) => match length.parse().context("Content-Length is no number")? {
            0 => Ok(State::Done),
            length => Ok(State::Sized(length)),
        },
        (None, Some(coding)) if coding.eq_ignore_ascii_case("chunked") => Ok(State::ChunkSize),
        framing => bail!("no framing that keeps the connection: {framing:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
        3\r\nhel\r\nA\r\nlo, world.\r\n0\r\n\r\n";

    #[test]
    fn the_end_is_found_however_the_bytes_come() {
        for (whole, body) in [(SIZED, 5), (CHUNKED, 13)] {
            for cut in 0..whole.len() {
                let mut response = Response::default();
                assert!(
                    !response.push_to(&whole[..cut], |_| {}).unwrap(),
                    "complete after {cut}"
                );
                assert!(
                    response.push_to(&whole[cut..], |_| {}).unwrap(),
                    "incomplete, cut at {cut}"
                );
                assert_eq!(response.body(), body, "cut at {cut}");
            }
            let mut response = Response::default();
            let (mut last, mut text) = (None, Vec::new());
            for byte in whole {
                last = Some(
                    response
                        .push_to(&[*byte], |part| text.extend_from_slice(part))
                        .unwrap(),
                );
            }
            assert_eq!((last, response.body()), (Some(true), body));
            assert_eq!(text, b"hello, world."[..text.len()]);
            assert_eq!(u64::try_from(text.len()).unwrap(), body);
        }
    }

    #[test]
    fn anything_unsound_is_an_error() {
        for unsound in [
            &b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        ] {
            let text = String::from_utf8_lossy(unsound);
            assert!(
                Response::default().push_to(unsound, |_| {}).is_err(),
                "{text}"
            );
        }
    }
}
