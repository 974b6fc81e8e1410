// SPDX-License-Identifier: MIT OR Apache-2.0
//! Settings beside the rules: DNS, and a proxy in front of ours.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::Host;

/// What the workload's DNS answers, and whom the proxy asks.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DnsSettings {
    /// Which addresses the workload gets.
    pub answers: Answers,
    /// Whom the proxy asks; what the host is set up with, if it is empty.
    pub servers: Vec<DnsServer>,
}

/// Which addresses the workload gets for names.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Answers {
    /// From a pool of our own, so that each stands for one name.
    #[default]
    Synthetic,
    /// The names' own.
    Real,
}

/// A DNS server.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum DnsServer {
    /// Over UDP and TCP; at port 53, unless another was given.
    Plain(SocketAddr),
    /// Over HTTPS (RFC 8484): the URL.
    Https(String),
}

/// Why a text is not what it should be, and what should be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {hint}")]
pub struct SettingError {
    /// What is wrong.
    pub what: &'static str,
    /// What is right.
    pub hint: &'static str,
}

impl FromStr for DnsServer {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        const WRONG: SettingError = SettingError {
            what: "this is not a DNS server",
            hint: "write an address (`192.0.2.53`, `[2001:db8::53]:5353`) or a URL (`https://dns.example/dns-query`)",
        };
        if let Some(rest) = text.strip_prefix("https://") {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            authority_of(authority, 443).ok_or(WRONG)?;
            // `{?dns}` of a template says what everybody does.
            let path = path.strip_suffix("{?dns}").unwrap_or(path);
            let plain = |it: u8| it.is_ascii_graphic() && !b"{}<>\"`\\^|#?".contains(&it);
            if path.is_empty() || !path.bytes().all(plain) {
                return Err(WRONG);
            }
            return Ok(Self::Https(format!("https://{authority}{path}")));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Plain(SocketAddr::new(address.to_canonical(), 53)));
        }
        match text.parse::<SocketAddr>() {
            Ok(it) if it.port() != 0 => Ok(Self::Plain(SocketAddr::new(
                it.ip().to_canonical(),
                it.port(),
            ))),
            Ok(_) | Err(_) => Err(WRONG),
        }
    }
}

impl fmt::Display for DnsServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(address) if address.port() == 53 => address.ip().fmt(formatter),
            Self::Plain(address) => address.fmt(formatter),
            Self::Https(url) => url.fmt(formatter),
        }
    }
}

impl TryFrom<String> for DnsServer {
    type Error = SettingError;

    fn try_from(text: String) -> Result<Self, SettingError> {
        text.parse()
    }
}

impl From<DnsServer> for String {
    fn from(server: DnsServer) -> Self {
        server.to_string()
    }
}

/// A proxy through which everything that is allowed goes.
#[derive(Clone, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamProxySettings {
    /// `http://` or `https://`, host, and port. May hold a user name and a password: not shown by `Debug`.
    pub url: String,
    /// What is reached without it, as in `NO_PROXY`: names with everything below them (`corp.example`, with or without
    /// a dot in front or `*.`), addresses, networks, `*`.
    #[serde(default)]
    pub no_proxy: Vec<String>,
}

impl fmt::Debug for UpstreamProxySettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("", &self.url));
        let host = rest.rsplit_once('@').map_or(rest, |it| it.1);
        formatter
            .debug_struct("UpstreamProxySettings")
            .field("url", &format_args!("{scheme}://{host}"))
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}

/// Checks the URL of an upstream proxy: scheme, perhaps a user, host, perhaps a port, and nothing behind.
pub(crate) fn proxy_url(url: &str) -> Result<(), SettingError> {
    const WRONG: SettingError = SettingError {
        what: "this is not the URL of a proxy",
        hint: "write `http://HOST:PORT` or `https://HOST:PORT`",
    };
    let secure = url.starts_with("https://");
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    let rest = rest.ok_or(WRONG)?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if !rest.bytes().all(|it| it.is_ascii_graphic()) {
        return Err(WRONG);
    }
    let authority = rest.rsplit_once('@').map_or(rest, |it| it.1);
    let fine = authority_of(authority, if secure { 443 } else { 80 });
    fine.map(drop).ok_or(WRONG)
}

/// Checks an entry of `no-proxy`.
pub(crate) fn no_proxy(entry: &str) -> Result<(), SettingError> {
    const WRONG: SettingError = SettingError {
        what: "this is not a host, a domain or a network",
        hint: "write `corp.example`, `10.0.0.0/8`, or `*` for everything",
    };
    if entry == "*" {
        return Ok(());
    }
    let name = entry.strip_prefix("*.").or_else(|| entry.strip_prefix('.'));
    let name = name.unwrap_or(entry);
    if let Some((address, bits)) = name.split_once('/') {
        let address: IpAddr = address.parse().or(Err(WRONG))?;
        let bits: u8 = bits.parse().or(Err(WRONG))?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        return if bits <= width { Ok(()) } else { Err(WRONG) };
    }
    authority_of(name, 443).map(drop).ok_or(WRONG)
}

/// A host, and the port behind it or the one that is usual.
pub(crate) fn authority_of(text: &str, usual: u16) -> Option<(Host, u16)> {
    if let Ok(host) = text.parse() {
        return Some((host, usual));
    }
    let (host, port) = text.rsplit_once(':')?;
    if host.contains(':') && !host.starts_with('[') {
        return None;
    }
    let digits = port.bytes().all(|it| it.is_ascii_digit());
    let port: u16 = port.parse().ok().filter(|it| digits && *it > 0)?;
    Some((host.parse().ok()?, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_servers_are_addresses_or_urls() {
        for (text, server) in [
            ("192.0.2.53", Some("192.0.2.53")),
            ("192.0.2.53:53", Some("192.0.2.53")),
            ("192.0.2.53:5353", Some("192.0.2.53:5353")),
            ("2001:db8::53", Some("2001:db8::53")),
            ("[2001:db8::53]:5353", Some("[2001:db8::53]:5353")),
            (
                "https://dns.example/dns-query",
                Some("https://dns.example/dns-query"),
            ),
            (
                "https://dns.example:8443/q{?dns}",
                Some("https://dns.example:8443/q"),
            ),
            (
                "https://192.0.2.1/dns-query",
                Some("https://192.0.2.1/dns-query"),
            ),
            ("https://dns.example", None),
            ("https://user@dns.example/q", None),
            ("http://dns.example/q", None),
            ("dns.example", None),
            ("192.0.2.53:0", None),
            ("", None),
        ] {
            let found = text.parse::<DnsServer>().ok().map(|it| it.to_string());
            assert_eq!(found.as_deref(), server, "{text}");
        }
    }

    #[test]
    fn a_proxy_is_a_url_with_a_host() {
        for (url, fine) in [
            ("http://proxy.test:3128", true),
            ("https://proxy.test", true),
            ("http://user:p%40ss@proxy.test:3128/", true),
            ("http://[2001:db8::1]:3128", true),
            ("proxy.test:3128", false),
            ("socks5://proxy.test", false),
            ("http://proxy.test/path", false),
            ("http://proxy.test:0", false),
            ("http://", false),
        ] {
            assert_eq!(proxy_url(url).is_ok(), fine, "{url}");
        }
        let settings = UpstreamProxySettings {
            url: "http://user:secret@proxy.test:3128".to_owned(),
            no_proxy: Vec::new(),
        };
        let shown = format!("{settings:?}");
        assert!(shown.contains("http://proxy.test:3128") && !shown.contains("secret"));
    }

    #[test]
    fn no_proxy_is_as_people_know_it() {
        for (entry, fine) in [
            ("*", true),
            ("corp.example", true),
            (".corp.example", true),
            ("*.corp.example", true),
            ("corp.example:8443", true),
            ("10.0.0.0/8", true),
            ("fd00::/8", true),
            ("10.0.0.1", true),
            ("::1", true),
            ("10.0.0.0/33", false),
            ("a b", false),
            ("", false),
        ] {
            assert_eq!(no_proxy(entry).is_ok(), fine, "{entry}");
        }
    }
}
