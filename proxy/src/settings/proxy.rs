// SPDX-License-Identifier: MIT OR Apache-2.0
//! A proxy between us and everything else, as companies have one: where it is, who we are to it, and what does not go
//! through it.

use std::net::IpAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;
use keyward_policy::{Host, Name};
use zeroize::Zeroizing;

use super::{
    RawUpstreamProxy,
    target::{check_host, split_port},
};
use crate::credential::Credential;

/// A proxy that everything goes through.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UpstreamProxy {
    /// Whether it is spoken to in TLS.
    pub tls: bool,
    /// Host name in lower case, or an address without brackets.
    pub host: String,
    /// Port in host order.
    pub port: u16,
    /// What does not go through it.
    pub no_proxy: Vec<NoProxy>,
    /// User and password, as the header has them.
    basic: Option<Credential>,
}

/// What does not go through a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NoProxy {
    what: What,
    /// Only at this port, if there is one.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Everything,
    /// A name and all below it.
    Name(Name),
    /// All below a name.
    Below(Name),
    Network(IpAddr, u8),
}

impl UpstreamProxy {
    /// `None`: there is a fault. None of them quotes the URL, which may hold a password.
    pub(super) fn parse(raw: &RawUpstreamProxy, faults: &mut Vec<String>) -> Option<Self> {
        let mut no_proxy = Vec::new();
        let entries = raw.no_proxy.iter().flat_map(|it| it.split(','));
        for text in entries.map(str::trim).filter(|it| !it.is_empty()) {
            match NoProxy::parse(text) {
                Some(it) => no_proxy.push(it),
                None => faults.push(format!(
                    "upstream-proxy.no-proxy: {text:?} is neither a host, an address, a network nor *"
                )),
            }
        }
        match Self::parse_url(&raw.url) {
            Ok(proxy) => Some(Self { no_proxy, ..proxy }),
            Err(what) => {
                faults.push(format!("upstream-proxy.url: {what}"));
                None
            }
        }
    }

    fn parse_url(url: &str) -> Result<Self, &'static str> {
        let (tls, rest) = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some(_) => return Err("the scheme is neither http nor https"),
            None => return Err("it must begin with http:// or https://"),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user, authority) = match rest.rsplit_once('@') {
            Some((user, authority)) => (Some(user), authority),
            None => (None, rest),
        };
        if authority.contains(['/', '?', '#']) {
            return Err("a proxy has no path");
        }
        let (host, port) = split_port(authority)?;
        let host = check_host(host)?;
        Ok(Self {
            tls,
            host,
            port: port.unwrap_or(if tls { 443 } else { 80 }),
            no_proxy: Vec::new(),
            basic: user.map(basic).transpose()?,
        })
    }

    /// Whether a connection goes through it.
    #[must_use]
    pub fn leads_to(&self, host: &Host, port: u16) -> bool {
        !self.no_proxy.iter().any(|it| it.has(host, port))
    }

    /// What it wants to see of us.
    pub(crate) fn authorization(&self) -> Option<HeaderValue> {
        self.basic.as_ref()?.header("Basic ")
    }
}

/// `user:password`, each of which may have escapes, as RFC 7617 has it.
fn basic(user: &str) -> Result<Credential, &'static str> {
    const FAULT: &str = "user or password has a bad escape";
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let mut plain = Zeroizing::new(Vec::new());
    decode(user, &mut plain).ok_or(FAULT)?;
    if plain.contains(&b':') {
        return Err("a user name with a colon cannot be sent");
    }
    plain.push(b':');
    decode(password, &mut plain).ok_or(FAULT)?;
    let text = Zeroizing::new(STANDARD.encode(plain.as_slice()).into_bytes());
    Credential::new(text).map_err(|_fault| "user and password are too long")
}

fn decode(text: &str, plain: &mut Vec<u8>) -> Option<()> {
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            plain.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let value = digit()? * 16 + digit()?;
        plain.push(u8::try_from(value).ok()?);
    }
    Some(())
}

impl NoProxy {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            let what = What::Everything;
            return Some(Self { what, port: None });
        }
        if let Some((address, length)) = text.split_once('/') {
            let address: IpAddr = address.parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            let length = length.parse().ok().filter(|it| *it <= most)?;
            let what = What::Network(address, length);
            return Some(Self { what, port: None });
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            let what = What::Network(address, if address.is_ipv4() { 32 } else { 128 });
            return Some(Self { what, port: None });
        }
        let (host, port) = split_port(text).ok()?;
        let below = host.strip_prefix("*.").or_else(|| host.strip_prefix('.'));
        let what = match (below, below.unwrap_or(host).parse().ok()?) {
            (Some(_), Host::Name(name)) => What::Below(name),
            (None, Host::Name(name)) => What::Name(name),
            (None, Host::Address(address)) => {
                What::Network(address, if address.is_ipv4() { 32 } else { 128 })
            }
            (Some(_), Host::Address(_)) => return None,
        };
        Some(Self { what, port })
    }

    fn has(&self, host: &Host, port: u16) -> bool {
        if self.port.is_some_and(|it| it != port) {
            return false;
        }
        match (&self.what, host) {
            (What::Everything, _) => true,
            (What::Name(name), Host::Name(host)) => host == name || is_below(host, name),
            (What::Below(name), Host::Name(host)) => is_below(host, name),
            (What::Network(network, length), Host::Address(address)) => {
                let address = address.to_canonical();
                prefix(*network, *length) == prefix(address, *length)
                    && network.is_ipv4() == address.is_ipv4()
            }
            (What::Name(_) | What::Below(_), Host::Address(_))
            | (What::Network(..), Host::Name(_)) => false,
        }
    }
}

fn is_below(host: &Name, name: &Name) -> bool {
    let front = host.as_str().strip_suffix(name.as_str());
    front.is_some_and(|it| it.ends_with('.'))
}

/// The first bits of an address.
fn prefix(address: IpAddr, length: u8) -> u128 {
    let (bits, width) = match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    let rest = u32::from(width - length.min(width));
    bits.checked_shr(rest).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str, no_proxy: &str) -> Result<UpstreamProxy, String> {
        let raw = RawUpstreamProxy {
            url: url.to_owned(),
            no_proxy: vec![no_proxy.to_owned()],
        };
        assert!(!format!("{raw:?}").contains("secret"));
        let mut faults = Vec::new();
        let parsed = UpstreamProxy::parse(&raw, &mut faults);
        let faults = faults.join("; ");
        assert!(!faults.contains("secret"), "{faults}");
        parsed.filter(|_| faults.is_empty()).ok_or(faults)
    }

    #[test]
    fn urls_with_and_without_a_user() {
        for (url, tls, host, port, header) in [
            ("http://proxy.lan:3128", false, "proxy.lan", 3128, None),
            ("HTTP://Proxy.LAN/", false, "proxy.lan", 80, None),
            ("https://[::1]", true, "::1", 443, None),
            (
                "http://u:secret@192.0.2.1:8080",
                false,
                "192.0.2.1",
                8080,
                Some("Basic dTpzZWNyZXQ="),
            ),
            ("http://u@p:1", false, "p", 1, Some("Basic dTo=")),
            (
                "http://u:s%3Aec%40ret@p:1",
                false,
                "p",
                1,
                Some("Basic dTpzOmVjQHJldA=="),
            ),
        ] {
            let proxy = parse(url, "").expect(url);
            let found = (proxy.tls, proxy.host.as_str(), proxy.port);
            assert_eq!(found, (tls, host, port), "{url}");
            let value = proxy.authorization();
            assert_eq!(
                value.as_ref().map(|it| it.to_str().unwrap()),
                header,
                "{url}"
            );
            assert!(value.is_none_or(|it| it.is_sensitive()));
            assert!(!format!("{proxy:?}").contains("dTpz"), "{url}");
        }
    }

    #[test]
    fn what_is_no_proxy() {
        for url in [
            "",
            "proxy.lan:3128",
            "socks5://u:secret@p",
            "http://",
            "http://u:secret@",
            "http://p:0",
            "http://p:x",
            "http://p/secret",
            "http://p?secret",
            "http://u:secret%4@p",
            "http://u%3asecret:x@p",
            "http://a b",
        ] {
            assert!(parse(url, "").is_err(), "{url}");
        }
        for entry in [
            "10.0.0.0/33",
            "a b",
            "*.",
            "http://x",
            "*.10.0.0.1",
            "<local>",
            "x:0",
        ] {
            assert!(parse("http://p", entry).is_err(), "{entry}");
        }
    }

    #[test]
    fn some_hosts_do_not_go_through_it() {
        let proxy = parse(
            "http://p",
            "corp.lan, .only-below.lan ,*.also.lan,10.0.0.0/8,[fd00::1]:443,2001:db8::/32,db.lan:5432",
        )
        .unwrap();
        for (host, port, leads) in [
            ("example.com", 443, true),
            ("corp.lan", 443, false),
            ("git.CORP.lan.", 22, false),
            ("xcorp.lan", 443, true),
            ("only-below.lan", 443, true),
            ("a.b.only-below.lan", 443, false),
            ("also.lan", 443, true),
            ("x.also.lan", 443, false),
            ("10.255.0.1", 443, false),
            ("11.0.0.1", 443, true),
            ("::ffff:10.0.0.1", 443, false),
            ("fd00::1", 443, false),
            ("fd00::1", 80, true),
            ("2001:db8::5", 80, false),
            ("db.lan", 5432, false),
            ("db.lan", 443, true),
        ] {
            let parsed = host.parse().unwrap();
            assert_eq!(proxy.leads_to(&parsed, port), leads, "{host}:{port}");
        }
        assert!(
            !parse("http://p", "*")
                .unwrap()
                .leads_to(&"a.test".parse().unwrap(), 1)
        );
    }
}
