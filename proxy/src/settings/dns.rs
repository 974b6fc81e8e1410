// SPDX-License-Identifier: MIT OR Apache-2.0
//! How names are answered and looked up, checked.

use std::net::{IpAddr, SocketAddr};

use keyward_policy::Answers;

use super::{
    RawDns,
    target::{check_base_path, check_host, split_port},
};

/// The port of DNS.
const PORT: u16 = 53;

/// Most servers: past a few nobody waits for the last one.
const MOST: usize = 8;

/// How names are answered and looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dns {
    /// What an allowed name is answered with.
    pub answers: Answers,
    /// Servers to ask in place of the host's own resolver. None: the host's own.
    pub servers: Vec<DnsServer>,
}

/// A server to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DnsServer {
    /// DNS over UDP, and over TCP where an answer is too long.
    Plain(SocketAddr),
    /// DNS over HTTPS (RFC 8484).
    Https {
        /// Host name in lower case, or an IPv4 address: what its certificate is for.
        host: String,
        /// Port in host order.
        port: u16,
        /// Path, with a slash in front.
        path: String,
    },
}

impl Dns {
    pub(super) fn parse(raw: &RawDns, faults: &mut Vec<String>) -> Self {
        let mut servers = Vec::new();
        for text in &raw.servers {
            match parse_server(text) {
                Ok(it) => servers.push(it),
                Err(what) => faults.push(format!("dns.servers: {text:?}: {what}")),
            }
        }
        if servers.len() > MOST {
            faults.push(format!("dns.servers: more than {MOST}"));
        }
        Self {
            answers: raw.answers,
            servers,
        }
    }
}

fn parse_server(text: &str) -> Result<DnsServer, &'static str> {
    match text.split_once("://") {
        None => parse_plain(text).map(DnsServer::Plain),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => parse_https(rest),
        Some(_) => Err("the only scheme is https://, for DNS over HTTPS"),
    }
}

fn parse_plain(text: &str) -> Result<SocketAddr, &'static str> {
    let address = match text.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, PORT),
        Err(_) => {
            let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
            match bare.map(str::parse) {
                Some(Ok(ip)) => SocketAddr::new(IpAddr::V6(ip), PORT),
                Some(Err(_)) | None => text
                    .parse()
                    .map_err(|_cause| "not an address, address:port, [v6]:port or https:// URL")?,
            }
        }
    };
    if address.port() == 0 {
        return Err("the port is not a number from 1 to 65535");
    }
    if address.ip().is_unspecified() || address.ip().is_multicast() {
        return Err("no server can have this address");
    }
    Ok(address)
}

fn parse_https(rest: &str) -> Result<DnsServer, &'static str> {
    // As RFC 8484 writes the URL of a service; queries go in the body, so there is nothing to put in.
    let rest = rest.strip_suffix("{?dns}").unwrap_or(rest);
    let (authority, path) = match rest.find('/') {
        None => (rest, ""),
        Some(at) => rest.split_at(at),
    };
    if authority.contains('@') {
        return Err("user and password are not allowed");
    }
    let (host, port) = split_port(authority)?;
    let host = check_host(host)?;
    if host.contains(':') {
        return Err("the host of a URL is a name or an IPv4 address");
    }
    let path = check_base_path(path)?;
    Ok(DnsServer::Https {
        host,
        port: port.unwrap_or(443),
        path: if path.is_empty() {
            "/dns-query".to_owned()
        } else {
            path
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_are_understood() {
        let https = |host: &str, port, path: &str| DnsServer::Https {
            host: host.to_owned(),
            port,
            path: path.to_owned(),
        };
        for (text, address) in [
            ("192.0.2.1", "192.0.2.1:53"),
            ("192.0.2.1:5353", "192.0.2.1:5353"),
            ("2001:db8::1", "[2001:db8::1]:53"),
            ("[2001:db8::1]", "[2001:db8::1]:53"),
            ("[2001:db8::1]:5353", "[2001:db8::1]:5353"),
        ] {
            let expected = DnsServer::Plain(address.parse().unwrap());
            assert_eq!(parse_server(text), Ok(expected), "{text}");
        }
        for (text, expected) in [
            (
                "https://dns.example.com/dns-query",
                https("dns.example.com", 443, "/dns-query"),
            ),
            (
                "HTTPS://DNS.example.com/dns-query{?dns}",
                https("dns.example.com", 443, "/dns-query"),
            ),
            (
                "https://dns.example.com:8443",
                https("dns.example.com", 8443, "/dns-query"),
            ),
            ("https://192.0.2.1/a/b/", https("192.0.2.1", 443, "/a/b")),
        ] {
            assert_eq!(parse_server(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn servers_that_are_refused() {
        for text in [
            "",
            "dns.example.com",
            "192.0.2.1:0",
            "192.0.2.1:x",
            "192.0.2.256",
            "0.0.0.0",
            "[::]:53",
            "224.0.0.251",
            "[2001:db8::1",
            "http://dns.example.com/dns-query",
            "tls://192.0.2.1",
            "https://",
            "https://user@dns.example.com",
            "https://dns.example.com:0",
            "https://[2001:db8::1]/dns-query",
            "https://dns.example.com/a?b",
            "https://dns.example.com/../b",
            "192.0.2.1 ",
        ] {
            assert!(parse_server(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn every_fault_is_told() {
        let mut faults = Vec::new();
        let raw = RawDns {
            servers: ["x", "192.0.2.1", "y"].map(str::to_owned).into(),
            ..RawDns::default()
        };
        assert_eq!(Dns::parse(&raw, &mut faults).servers.len(), 1);
        assert_eq!(faults.len(), 2);
        assert!(faults[0].starts_with("dns.servers: \"x\": "), "{faults:?}");
        let raw = RawDns {
            servers: vec!["192.0.2.1".to_owned(); MOST + 1],
            ..RawDns::default()
        };
        Dns::parse(&raw, &mut faults);
        assert_eq!(faults.len(), 3);
    }
}
