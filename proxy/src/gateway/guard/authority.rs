// SPDX-License-Identifier: MIT OR Apache-2.0
//! `host`, `host:port`, `[v6]` and `[v6]:port`: the one reading of them. Pure.

use std::net::Ipv6Addr;

/// Host, with its brackets if it has any, and port, in bytes that no reader understands otherwise: no user, no escape,
/// nothing outside ASCII. In brackets there is an IPv6 address; whether anything else is a host is not looked at.
#[must_use]
pub fn split(authority: &[u8]) -> Option<(&str, Option<u16>)> {
    let plain = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'.' | b'_');
    let text = str::from_utf8(authority).ok()?;
    let end = match authority.first() {
        Some(b'[') => text.find(']')? + 1,
        _ => text.find(':').unwrap_or(text.len()),
    };
    let (host, rest) = text.split_at_checked(end)?;
    let fits = match host.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.len() <= 255 && host.bytes().all(plain),
    };
    if !fits {
        return None;
    }
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => None,
        None => return None,
        Some(digits) => Some(port(digits)?),
    };
    Some((host, port))
}

/// A port in plain digits.
fn port(digits: &str) -> Option<u16> {
    let plain = !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit());
    digits.parse().ok().filter(|it| plain && *it != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reading_or_none() {
        for (text, read) in [
            ("example.com", Some(("example.com", None))),
            ("Example.com.:8080", Some(("Example.com.", Some(8080)))),
            ("192.0.2.1:443", Some(("192.0.2.1", Some(443)))),
            ("[::1]", Some(("[::1]", None))),
            ("[2001:db8::1]:65535", Some(("[2001:db8::1]", Some(65535)))),
            (
                "[::ffff:192.0.2.1]:1",
                Some(("[::ffff:192.0.2.1]", Some(1))),
            ),
            ("", None),
            (":443", None),
            ("a:", None),
            ("a:0", None),
            ("a:65536", None),
            ("a:+1", None),
            ("a:1:2", None),
            ("::1", None),
            ("[::1", None),
            ("[]:1", None),
            ("[::1%eth0]:1", None),
            ("[e]", None),
            ("[::::::::::]:1", None),
            ("[::1]x", None),
            ("a]:1", None),
            ("u@a:1", None),
            ("u:p@a", None),
            ("a%00.b", None),
            ("a\\b", None),
            ("a b", None),
            ("b\u{fc}cher.example", None),
        ] {
            assert_eq!(split(text.as_bytes()), read, "{text}");
        }
    }
}
