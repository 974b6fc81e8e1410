// SPDX-License-Identifier: MIT OR Apache-2.0
//! A request head's bytes, judged strictly. Pure: no socket, no clock.
//!
//! hyper accepts what the RFCs advise to accept (a bare LF, `Transfer-Encoding` beside
//! `Content-Length`, an empty line before the request); two readers that are lenient in different ways
//! are how requests get smuggled. So this reads only the one spelling that no reader misunderstands,
//! and everything behind it can be as lenient as it likes.

use memchr::memchr;

use super::authority;
use crate::refusal::Refusal;

/// Most header lines. hyper's own limit for a head that it parses without allocating, which it
/// enforces with an answer that is not ours; real clients send about thirty.
pub(crate) const MAX_HEADERS: usize = 100;

/// How a request's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length`, or no body at all (0).
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// Which requests are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accepts {
    /// What an API gets: paths.
    #[default]
    Paths,
    /// What a server gets: paths, URLs, and `*`.
    Server,
    /// What a proxy gets: URLs, and authorities to be connected with. Paths, too, so that they can be answered with
    /// advice.
    Proxy,
}

/// What must be known of a head to follow the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Head {
    /// Bytes of the head, its empty line included.
    pub length: usize,
    /// How the body is delimited.
    pub framing: Framing,
    /// Whether it asks for an upgrade: what follows may not be HTTP.
    pub upgrade: bool,
    /// Whether it waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

/// Finds the end of a head that arrives in pieces, looking at each byte once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scanner {
    accepts: Accepts,
    /// How much was looked at.
    seen: usize,
    /// Where the current line begins.
    line: usize,
}

impl Scanner {
    /// For a head of such a request.
    #[must_use]
    pub fn new(accepts: Accepts) -> Self {
        Self {
            accepts,
            ..Self::default()
        }
    }

    /// Looks at what is new in `bytes`, which begin with the request line and grow from call to call.
    /// `Ok(None)`: more is needed.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, as early as it can be seen.
    pub fn scan(&mut self, bytes: &[u8], limit: usize) -> Result<Option<Head>, Refusal> {
        while let Some(offset) = bytes.get(self.seen..).and_then(next_control) {
            let at = self.seen + offset;
            match (bytes.get(at), bytes.get(at + 1)) {
                (Some(b'\r'), None) => {
                    self.seen = at;
                    return within(bytes.len(), limit).map(|()| None);
                }
                (Some(b'\r'), Some(b'\n')) if at == self.line => {
                    let length = at + 2;
                    within(length, limit)?;
                    let head = bytes.get(..length).unwrap_or_default();
                    return parse(head, self.accepts).map(Some);
                }
                (Some(b'\r'), Some(b'\n')) => {
                    self.seen = at + 2;
                    self.line = at + 2;
                }
                (Some(b'\r'), Some(_)) => return Err(Refusal::BareCarriageReturn),
                (Some(b'\n'), _) => return Err(Refusal::BareLineFeed),
                (_, _) => return Err(Refusal::ControlCharacter),
            }
        }
        self.seen = bytes.len();
        within(bytes.len(), limit).map(|()| None)
    }
}

fn within(length: usize, limit: usize) -> Result<(), Refusal> {
    if length > limit {
        Err(Refusal::HeadTooLarge)
    } else {
        Ok(())
    }
}

/// Position of the next byte that is not text: a control character other than the tab.
fn next_control(bytes: &[u8]) -> Option<usize> {
    let is_control = |it: &u8| (*it < b' ' && *it != b'\t') || *it == 0x7f;
    // Whole blocks first: what has no early way out is done for many bytes at once.
    let without = |block: &&[u8]| !block.iter().fold(false, |any, it| any | is_control(it));
    let clean = bytes.chunks_exact(16).take_while(without).count() * 16;
    let rest = bytes.get(clean..).unwrap_or_default();
    rest.iter().position(is_control).map(|at| clean + at)
}

/// Judges a whole head, whose lines are known to end in CRLF and to hold no other control character
/// than the tab.
fn parse(head: &[u8], accepts: Accepts) -> Result<Head, Refusal> {
    let mut lines = Lines(head);
    let line = lines.next().unwrap_or_default();
    let connect = request_line(line, accepts)?;
    let mut fields = Fields {
        accepts,
        connect,
        ..Fields::default()
    };
    let mut count = 0;
    for line in lines {
        count += 1;
        if count > MAX_HEADERS {
            return Err(Refusal::TooManyHeaders);
        }
        let (name, value) = header_line(line)?;
        fields.take(name, value)?;
    }
    fields.finish(head.len())
}

/// The lines of a head without their CRLF, up to the empty one.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = memchr(b'\r', self.0).filter(|it| *it > 0)?;
        let line = self.0.get(..end);
        self.0 = self.0.get(end + 2..).unwrap_or_default();
        line
    }
}

/// Judges a request line. Says whether it is `CONNECT`.
fn request_line(line: &[u8], accepts: Accepts) -> Result<bool, Refusal> {
    let mut words = line.split(|it| *it == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Refusal::RequestLine);
    };
    if method == b"PRI" && version == b"HTTP/2.0" {
        return Err(Refusal::Http2Preface);
    }
    if method.is_empty() || !method.iter().copied().all(is_token) {
        return Err(Refusal::RequestLine);
    }
    let connect = method == b"CONNECT";
    // Clients that know no HTTP but this one request make it in HTTP/1.0.
    let old = version == b"HTTP/1.0" && connect && accepts == Accepts::Proxy;
    if version != b"HTTP/1.1" && !old {
        let known = version.strip_prefix(b"HTTP/").is_some_and(|it| {
            it.len() <= 3 && it.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.')
        });
        return Err(if known {
            Refusal::Version
        } else {
            Refusal::RequestLine
        });
    }
    if method == b"TRACE" || (connect && accepts != Accepts::Proxy) {
        return Err(Refusal::Method);
    }
    match (accepts, target) {
        (Accepts::Paths, [b'/', b'/', ..]) => Err(Refusal::NotRelative),
        (Accepts::Paths, [b'/', ..]) => path(target, is_target),
        (Accepts::Paths, _) => Err(Refusal::NotRelative),
        (Accepts::Proxy, _) if connect => authority::split(target)
            .map(|_| ())
            .ok_or(Refusal::BadTarget),
        (Accepts::Server | Accepts::Proxy, [b'/', ..]) => path(target, is_sent),
        (Accepts::Server, b"*") if method == b"OPTIONS" => Ok(()),
        (Accepts::Server | Accepts::Proxy, _) => url(target),
    }
    .map(|()| connect)
}

fn path(path: &[u8], fits: impl Fn(u8) -> bool) -> Result<(), Refusal> {
    if path.iter().copied().all(fits) {
        Ok(())
    } else {
        Err(Refusal::BadPath)
    }
}

/// `http://authority`, with a path or without one. That `https` is let through here gives it an answer of its own.
fn url(target: &[u8]) -> Result<(), Refusal> {
    let rest = [&b"http://"[..], b"https://"].into_iter().find_map(|it| {
        let (scheme, rest) = target.split_at_checked(it.len())?;
        scheme.eq_ignore_ascii_case(it).then_some(rest)
    });
    let rest = rest.ok_or(Refusal::BadTarget)?;
    let end = rest.iter().position(|it| *it == b'/').unwrap_or(rest.len());
    let (host, rest) = rest.split_at(end);
    authority::split(host).ok_or(Refusal::BadTarget)?;
    path(rest, is_sent)
}

/// Splits a header line. The value has no white space around it.
pub(super) fn header_line(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    if line.first().is_some_and(|it| matches!(it, b' ' | b'\t')) {
        return Err(Refusal::FoldedHeader);
    }
    let colon = memchr(b':', line).ok_or(Refusal::HeaderName)?;
    let (name, rest) = line.split_at(colon);
    if name.is_empty() || !name.iter().copied().all(is_token) {
        return Err(Refusal::HeaderName);
    }
    let value = rest.get(1..).unwrap_or_default();
    Ok((name, trim(value)))
}

/// What the header lines say of framing.
#[derive(Default)]
struct Fields {
    accepts: Accepts,
    connect: bool,
    host: bool,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
    expects_continue: bool,
}

impl Fields {
    fn take(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        // Names of the same length are rare enough that most lines cost one comparison.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host(value),
            6 if name.eq_ignore_ascii_case(b"expect") => self.expect(value),
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.upgrade(value),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.encoding(value),
            _ => Ok(()),
        }
    }

    fn host(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.host {
            return Err(Refusal::DuplicateHost);
        }
        let plain = |it: &u8| it.is_ascii_alphanumeric() || b"-._:[]".contains(it);
        if value.is_empty() || value.len() > 255 || !value.iter().all(plain) {
            return Err(Refusal::BadHost);
        }
        self.host = true;
        Ok(())
    }

    fn expect(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.expects_continue || !value.eq_ignore_ascii_case(b"100-continue") {
            return Err(Refusal::BadExpectation);
        }
        self.expects_continue = true;
        Ok(())
    }

    fn upgrade(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.accepts != Accepts::Paths {
            // Whoever offers anything else can do without: Java's client offers `h2c` in every first request. What is
            // not granted here goes no further either.
            self.upgrade |= value.eq_ignore_ascii_case(b"websocket");
            return Ok(());
        }
        let mut protocols = value.split(|it| *it == b',').map(trim);
        if protocols.any(|it| {
            it.get(..2)
                .is_some_and(|two| two.eq_ignore_ascii_case(b"h2"))
        }) {
            return Err(Refusal::Http2Upgrade);
        }
        self.upgrade = true;
        Ok(())
    }

    fn length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.length.is_some() {
            return Err(Refusal::DuplicateLength);
        }
        // 18 digits fit a u64 and are more than any body.
        if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
            return Err(Refusal::BadLength);
        }
        self.length = Some(
            value
                .iter()
                .fold(0, |all, it| all * 10 + u64::from(it - b'0')),
        );
        Ok(())
    }

    fn encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal::BadEncoding);
        }
        self.chunked = true;
        Ok(())
    }

    fn finish(self, length: usize) -> Result<Head, Refusal> {
        let framing = match (self.length, self.chunked) {
            (Some(_), true) => return Err(Refusal::LengthAndEncoding),
            (None, true) => Framing::Chunked,
            (length, false) => Framing::Length(length.unwrap_or(0)),
        };
        // What is to be connected with says the request line.
        if !self.host && !self.connect {
            return Err(Refusal::MissingHost);
        }
        let upgrade = self.upgrade || self.connect;
        // A body in front of another protocol has two readings.
        if upgrade && framing != Framing::Length(0) {
            return Err(Refusal::BadUpgrade);
        }
        Ok(Head {
            length,
            framing,
            upgrade,
            expects_continue: self.expects_continue,
        })
    }
}

fn trim(value: &[u8]) -> &[u8] {
    let blank = |it: &u8| matches!(it, b' ' | b'\t');
    let start = value
        .iter()
        .position(|it| !blank(it))
        .unwrap_or(value.len());
    let end = value
        .iter()
        .rposition(|it| !blank(it))
        .map_or(start, |it| it + 1);
    value.get(start..end).unwrap_or_default()
}

/// `tchar` of RFC 9110, section 5.6.2.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// `pchar`, `/` and `?` of RFC 3986, and the brackets that query strings of arrays have.
const fn is_target(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'%'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b':'
                | b'@'
                | b'/'
                | b'?'
                | b'['
                | b']'
        )
}

/// What browsers send unescaped, besides.
const fn is_sent(byte: u8) -> bool {
    is_target(byte) || matches!(byte, b'|' | b'^' | b'{' | b'}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> Result<Option<Head>, Refusal> {
        Scanner::default().scan(text.as_bytes(), 16 * 1024)
    }

    #[test]
    fn plain_heads() {
        let get = "GET /v1/models?limit=2 HTTP/1.1\r\nHost: 172.30.0.30:10000\r\n\r\nrest";
        let head = scan(get).unwrap().unwrap();
        assert_eq!(
            (head.length, head.framing),
            (get.len() - 4, Framing::Length(0))
        );
        let post = "POST / HTTP/1.1\r\nhost: [fd00::1]:1\r\nCONTENT-LENGTH:\t 12 \r\n\r\n";
        assert_eq!(scan(post).unwrap().unwrap().framing, Framing::Length(12));
        let chunked = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: Chunked\r\n\r\n";
        assert_eq!(scan(chunked).unwrap().unwrap().framing, Framing::Chunked);
        let upgrade = "GET / HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\n\r\n";
        assert!(scan(upgrade).unwrap().unwrap().upgrade);
    }

    #[test]
    fn every_prefix_needs_more_and_pieces_give_the_same() {
        let text = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n";
        let whole = Scanner::default().scan(text, 1024).unwrap();
        let mut pieces = Scanner::default();
        for end in 0..text.len() {
            assert_eq!(
                Scanner::default().scan(&text[..end], 1024),
                Ok(None),
                "cut at {end}"
            );
            assert_eq!(pieces.scan(&text[..end], 1024), Ok(None), "cut at {end}");
        }
        assert_eq!(pieces.scan(text, 1024), Ok(whole));
    }

    #[test]
    fn what_is_refused() {
        let line = |line: &str| format!("{line}\r\nHost: x\r\n\r\n");
        let header = |header: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n");
        for (text, refusal) in [
            (line("GET  / HTTP/1.1"), Refusal::RequestLine),
            (line("GET / HTTP/1.1 "), Refusal::RequestLine),
            (line("GET /\tx HTTP/1.1"), Refusal::BadPath),
            (line("GET /"), Refusal::RequestLine),
            (line("G@T / HTTP/1.1"), Refusal::RequestLine),
            (line(" GET / HTTP/1.1"), Refusal::RequestLine),
            (line("GET / http/1.1"), Refusal::RequestLine),
            (line("GET / HTTP/1.0"), Refusal::Version),
            (line("GET / HTTP/1.2"), Refusal::Version),
            (line("GET / HTTP/2"), Refusal::Version),
            (line("PRI * HTTP/2.0"), Refusal::Http2Preface),
            (line("CONNECT x:443 HTTP/1.1"), Refusal::Method),
            (line("TRACE / HTTP/1.1"), Refusal::Method),
            (line("GET http://x/ HTTP/1.1"), Refusal::NotRelative),
            (line("GET //x/ HTTP/1.1"), Refusal::NotRelative),
            (line("OPTIONS * HTTP/1.1"), Refusal::NotRelative),
            (line("GET x HTTP/1.1"), Refusal::NotRelative),
            (line("GET /\\x HTTP/1.1"), Refusal::BadPath),
            (line("GET /#x HTTP/1.1"), Refusal::BadPath),
            (line("GET /é HTTP/1.1"), Refusal::BadPath),
            (
                "\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
                Refusal::RequestLine,
            ),
            (
                "GET / HTTP/1.1\nHost: x\r\n\r\n".to_owned(),
                Refusal::BareLineFeed,
            ),
            (
                "GET / HTTP/1.1\r\nHost: x\n\n".to_owned(),
                Refusal::BareLineFeed,
            ),
            (
                "GET / HTTP/1.1\r\nHost: x\r\r\n\r\n".to_owned(),
                Refusal::BareCarriageReturn,
            ),
            ("GET / HTTP/1.1\r\n\r\n".to_owned(), Refusal::MissingHost),
            (header("Host: x"), Refusal::DuplicateHost),
            (header("A: b\rc"), Refusal::BareCarriageReturn),
            (header("A: b\0c"), Refusal::ControlCharacter),
            (header("A: b\x7fc"), Refusal::ControlCharacter),
            (header("A : b"), Refusal::HeaderName),
            (header("A\t: b"), Refusal::HeaderName),
            (header(": b"), Refusal::HeaderName),
            (header("A b"), Refusal::HeaderName),
            (header("A\u{e9}: b"), Refusal::HeaderName),
            (header("A: b\r\n c"), Refusal::FoldedHeader),
            (header("A: b\r\n\tc"), Refusal::FoldedHeader),
            (header("Content-Length: +5"), Refusal::BadLength),
            (header("Content-Length: -5"), Refusal::BadLength),
            (header("Content-Length: 5,5"), Refusal::BadLength),
            (header("Content-Length: 5 6"), Refusal::BadLength),
            (header("Content-Length: 0x5"), Refusal::BadLength),
            (header("Content-Length:"), Refusal::BadLength),
            (
                header("Content-Length: 18446744073709551617"),
                Refusal::BadLength,
            ),
            (
                header("Content-Length: 5\r\nContent-Length: 6"),
                Refusal::DuplicateLength,
            ),
            (
                header("Content-Length: 5\r\nContent-Length: 5"),
                Refusal::DuplicateLength,
            ),
            (
                header("Content-Length: 5\r\nTransfer-Encoding: chunked"),
                Refusal::LengthAndEncoding,
            ),
            (
                header("Transfer-Encoding: chunked\r\nContent-Length: 5"),
                Refusal::LengthAndEncoding,
            ),
            (header("Transfer-Encoding: xchunked"), Refusal::BadEncoding),
            (
                header("Transfer-Encoding: gzip, chunked"),
                Refusal::BadEncoding,
            ),
            (
                header("Transfer-Encoding: chunked, identity"),
                Refusal::BadEncoding,
            ),
            (header("Transfer-Encoding: identity"), Refusal::BadEncoding),
            (
                header("Transfer-Encoding: \"chunked\""),
                Refusal::BadEncoding,
            ),
            (header("Transfer-Encoding:"), Refusal::BadEncoding),
            (
                header("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
                Refusal::BadEncoding,
            ),
            (header("Upgrade: h2c"), Refusal::Http2Upgrade),
            (header("Upgrade: websocket, H2C"), Refusal::Http2Upgrade),
            (
                header("Upgrade: websocket\r\nContent-Length: 3"),
                Refusal::BadUpgrade,
            ),
            (header("Expect: 200-ok"), Refusal::BadExpectation),
            (
                header(&"A: b\r\n".repeat(MAX_HEADERS)),
                Refusal::TooManyHeaders,
            ),
            (
                header(&format!("A: {}", "b".repeat(16 * 1024))),
                Refusal::HeadTooLarge,
            ),
        ] {
            // With the empty line that the last `\r\n` of a repeated header makes, cut to one.
            let text = text.replace("\r\n\r\n\r\n", "\r\n\r\n");
            assert_eq!(scan(&text), Err(refusal), "{text:?}");
        }
        for host in ["", "a/b", "a@b", "a b", "a,b", &"h".repeat(256)] {
            let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(scan(&text), Err(Refusal::BadHost), "{host}");
        }
    }

    #[test]
    fn the_limit_is_exact() {
        let text = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        assert!(Scanner::default().scan(text, text.len()).unwrap().is_some());
        assert_eq!(
            Scanner::default().scan(text, text.len() - 1),
            Err(Refusal::HeadTooLarge)
        );
    }
}
