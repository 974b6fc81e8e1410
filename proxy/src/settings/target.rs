// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a provider's requests go: scheme, host, port and path, as `host`, `host:port` or a URL.

use std::{fmt, net::IpAddr};

/// How the upstream is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP. Only ever towards a loopback address.
    Http,
    /// HTTP over verified TLS.
    Https,
}

/// Scheme, host and port of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Target {
    /// The scheme.
    pub scheme: Scheme,
    /// Host name in lower case, or an address without brackets.
    pub host: String,
    /// Port in host order.
    pub port: u16,
}

impl Target {
    /// A provider's own host: TLS, port 443.
    #[must_use]
    pub fn default_of(host: &str) -> Self {
        Self {
            scheme: Scheme::Https,
            host: host.to_owned(),
            port: 443,
        }
    }

    /// Reads a target and the path that came with it (empty, or without a slash at the end).
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong; it never quotes the text, which might hold a password.
    pub fn parse(text: &str, allow_plaintext: bool) -> Result<(Self, String), &'static str> {
        let (scheme, rest) = match text.split_once("://") {
            None => (Scheme::Https, text),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (Scheme::Https, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Scheme::Http, rest),
            Some(_) => return Err("the scheme is neither https nor http"),
        };
        let (authority, path) = match rest.find('/') {
            None => (rest, ""),
            Some(at) => rest.split_at(at),
        };
        if authority.contains('@') {
            return Err("user and password are not allowed in a target");
        }
        let (host, port) = split_port(authority)?;
        let host = check_host(host)?;
        if scheme == Scheme::Http {
            let loopback = host.parse::<IpAddr>().is_ok_and(|it| it.is_loopback());
            if !(loopback || host == "localhost") {
                return Err(
                    "http:// is allowed for a loopback address only: a credential would \
                            cross the network in the clear",
                );
            }
            if !allow_plaintext {
                return Err("http:// has to be asked for with allow_plaintext");
            }
        }
        let default_port = match scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        };
        let path = check_base_path(path)?;
        Ok((
            Self {
                scheme,
                host,
                port: port.unwrap_or(default_port),
            },
            path,
        ))
    }

    /// The `Host` header and `:authority`: the port is left out where it is the scheme's own.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match (self.scheme, self.port) {
            (Scheme::Http, 80) | (Scheme::Https, 443) => host,
            (Scheme::Http | Scheme::Https, port) => format!("{host}:{port}"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}", self.authority())
    }
}

/// Splits `host`, `host:port`, `[v6]` or `[v6]:port`.
pub(super) fn split_port(authority: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = match authority
        .strip_prefix('[')
        .and_then(|it| it.split_once(']'))
    {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or("no port after ]")?)),
        None => match authority.split_once(':') {
            None => (authority, None),
            Some((host, port)) => (host, Some(port)),
        },
    };
    let digits = |it: &str| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit());
    let number = |it: &str| it.parse().ok().filter(|port| digits(it) && *port != 0);
    match port.map(number) {
        None => Ok((host, None)),
        Some(Some(port)) => Ok((host, Some(port))),
        Some(None) => Err("the port is not a number from 1 to 65535"),
    }
}

/// A host name of letters, digits, hyphens and dots, or an address; in lower case, without a dot at
/// the end.
pub(super) fn check_host(host: &str) -> Result<String, &'static str> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|it| it.is_ascii_alphanumeric() || it == b'-' || it == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if host.len() > 253 || !host.split('.').all(label) {
        return Err("the host is neither a name (IDN: in its xn-- form) nor an address");
    }
    // `127.1`, `0x7f.0.0.1` and `2130706433` are addresses to some resolvers and names to others.
    let last_is_number = host
        .rsplit('.')
        .next()
        .is_some_and(|it| it.starts_with("0x") || it.bytes().all(|byte| byte.is_ascii_digit()));
    if last_is_number {
        return Err("the host looks like an address in an unusual spelling");
    }
    Ok(host)
}

/// A base path: empty, or segments of unreserved characters without dot segments; the slash at the
/// end is cut off, one in front is added.
pub(crate) fn check_base_path(path: &str) -> Result<String, &'static str> {
    let trimmed = path.trim_matches('/');
    if trimmed.is_empty() {
        return Ok(String::new());
    }
    let plain = |it: u8| it.is_ascii_alphanumeric() || b"-._~:@!$&'()*+,=".contains(&it);
    let segment = |it: &str| !it.is_empty() && it != "." && it != ".." && it.bytes().all(plain);
    if !trimmed.split('/').all(segment) {
        return Err("the path may hold plain segments only: no query, no escapes, no dot segments");
    }
    Ok(format!("/{trimmed}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_that_are_understood() {
        for (text, plaintext, display, path) in [
            ("api.openai.com", false, "https://api.openai.com", ""),
            ("API.OpenAI.com.", false, "https://api.openai.com", ""),
            ("gw.corp:8443", false, "https://gw.corp:8443", ""),
            (
                "https://gw.corp/openai/v1/",
                false,
                "https://gw.corp",
                "/openai/v1",
            ),
            (
                "https://[2001:db8::1]:8443/x",
                false,
                "https://[2001:db8::1]:8443",
                "/x",
            ),
            ("https://127.0.0.1", false, "https://127.0.0.1", ""),
            ("http://127.0.0.1:9000", true, "http://127.0.0.1:9000", ""),
            ("http://[::1]", true, "http://[::1]", ""),
        ] {
            let (target, base) = Target::parse(text, plaintext).expect(text);
            assert_eq!(
                (target.to_string().as_str(), base.as_str()),
                (display, path),
                "{text}"
            );
        }
    }

    #[test]
    fn targets_that_are_refused() {
        for (text, plaintext) in [
            ("", false),
            ("ftp://x", false),
            ("https://user:pw@x", false),
            ("https://x:0", false),
            ("https://x:65536", false),
            ("https://x:+1", false),
            ("https://x:", false),
            ("https://x y", false),
            ("https://x/a/../b", false),
            ("https://x/a?b", false),
            ("https://x/%2e%2e", false),
            ("https://x//a//b", false),
            ("https://a..b", false),
            ("https://127.1", false),
            ("https://2130706433", false),
            ("http://api.openai.com", true),
            ("http://10.0.0.1", true),
            ("http://127.0.0.1", false),
        ] {
            assert!(Target::parse(text, plaintext).is_err(), "{text}");
        }
    }
}
