// SPDX-License-Identifier: MIT OR Apache-2.0
//! One JSON line, written field by field without a detour: this runs for every request.

use std::{
    fmt::Display,
    io::Write as _,
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::calendar::civil;

/// A line under construction: `{"time":"…"` and then what is added. Field names are ours and need no
/// escapes; values get them.
pub(crate) struct Line<'a>(&'a mut Vec<u8>);

impl<'a> Line<'a> {
    /// Begins a line with the time, in a field of this name.
    pub(super) fn new(out: &'a mut Vec<u8>, time: &str) -> Self {
        out.extend_from_slice(b"{\"");
        out.extend_from_slice(time.as_bytes());
        out.extend_from_slice(b"\":\"");
        write_time(out, SystemTime::now());
        out.push(b'"');
        Self(out)
    }

    /// A string.
    pub(crate) fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.0.push(b'"');
        escape(self.0, value);
        self.0.push(b'"');
    }

    /// A number.
    pub(crate) fn number(&mut self, name: &str, value: impl itoa::Integer) {
        self.name(name);
        self.digits(value);
    }

    /// `true` or `false`.
    pub(crate) fn truth(&mut self, name: &str, value: bool) {
        self.name(name);
        let word: &[u8] = if value { b"true" } else { b"false" };
        self.0.extend_from_slice(word);
    }

    /// Text that is known to need no escapes.
    pub(crate) fn plain(&mut self, name: &str, value: &str) {
        self.name(name);
        self.0.push(b'"');
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'"');
    }

    /// What is shown as text that is known to need no escapes.
    pub(crate) fn shown(&mut self, name: &str, value: impl Display) {
        self.name(name);
        // Writing into memory does not fail.
        write!(self.0, "\"{value}\"").unwrap_or_default();
    }

    /// An address and port. Written by hand: as text it is the same, and most of what a line took.
    pub(crate) fn address(&mut self, name: &str, value: SocketAddr) {
        let SocketAddr::V4(value) = value else {
            self.shown(name, value);
            return;
        };
        self.name(name);
        let mut before = b'"';
        for octet in value.ip().octets() {
            self.0.push(before);
            self.digits(octet);
            before = b'.';
        }
        self.0.push(b':');
        self.digits(value.port());
        self.0.push(b'"');
    }

    /// A time span in milliseconds, to the microsecond.
    pub(crate) fn milliseconds(&mut self, name: &str, value: Duration) {
        self.name(name);
        self.digits(value.as_millis());
        self.0.push(b'.');
        padded::<3>(self.0, (value.subsec_micros() % 1000).into());
    }

    fn name(&mut self, name: &str) {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn digits(&mut self, value: impl itoa::Integer) {
        self.0
            .extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }
}

fn escape(out: &mut Vec<u8>, text: &str) {
    let is_special = |it: &u8| matches!(it, b'"' | b'\\' | 0..b' ');
    let mut rest = text.as_bytes();
    while let Some((front, [special, behind @ ..])) = rest
        .iter()
        .position(is_special)
        .and_then(|at| rest.split_at_checked(at))
    {
        out.extend_from_slice(front);
        match special {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *special]),
            _ => write!(out, "\\u{special:04x}").unwrap_or_default(),
        }
        rest = behind;
    }
    out.extend_from_slice(rest);
}

/// The last `N` digits of a number, with zeros in front.
fn padded<const N: usize>(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(value % 10).unwrap_or_default();
        value /= 10;
    }
    out.extend_from_slice(&digits);
}

/// RFC 3339, UTC, milliseconds.
fn write_time(out: &mut Vec<u8>, time: SystemTime) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    padded::<4>(out, year);
    for (mark, value) in [
        (b'-', month),
        (b'-', day),
        (b'T', hour),
        (b':', minute),
        (b':', second),
    ] {
        out.push(mark);
        padded::<2>(out, value);
    }
    out.push(b'.');
    padded::<3>(out, since.subsec_millis().into());
    out.push(b'Z');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_as_they_are_shown() {
        for text in [
            "0.0.0.0:0",
            "127.0.0.1:8443",
            "255.255.255.255:65535",
            "[2001:db8::1]:443",
        ] {
            let mut out = Vec::new();
            Line(&mut out).address("upstream", text.parse().unwrap());
            assert_eq!(out, format!(",\"upstream\":\"{text}\"").as_bytes());
        }
    }
}
