// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hosts as they are asked for: names and addresses.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

/// A host name: lower case, ASCII (IDNA A-labels), without a dot at the end, at most 253 bytes, each label 1 to 63 of
/// letters, digits, `-` and `_`, and not an address in any spelling that `inet_aton(3)` takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<str>);

/// Whom a connection is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name.
    Name(Name),
    /// An address; IPv4-mapped IPv6 addresses are IPv4.
    Address(IpAddr),
}

/// Why a text is not a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Nothing there, or an empty label.
    #[error("it is empty, or has an empty label")]
    Empty,
    /// Longer than DNS allows.
    #[error("it is longer than a host name may be")]
    TooLong,
    /// A character that no host name has.
    #[error("it has a character that no host name has")]
    Character,
    /// Not valid under IDNA.
    #[error("it is not a valid internationalised name")]
    Idna,
    /// Digits and dots that are not an address in the usual spelling.
    #[error("it looks like an address, but not in the usual spelling")]
    OddAddress,
}

impl Name {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = HostError;

    /// Takes any case, a dot at the end, and IDN in either form.
    fn from_str(text: &str) -> Result<Self, HostError> {
        match text.parse()? {
            Host::Name(name) => Ok(name),
            Host::Address(_) => Err(HostError::OddAddress),
        }
    }
}

impl FromStr for Host {
    type Err = HostError;

    /// Takes a name as [`Name`] does, or an address in the usual spelling, IPv6 with or without brackets.
    fn from_str(text: &str) -> Result<Self, HostError> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(HostError::Character)?;
            return v6(inner);
        }
        if text.contains(':') {
            return v6(text);
        }
        if let Ok(v4) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Address(v4.into()));
        }
        let name = ascii(text)?;
        if is_numeric(last_label(&name)) {
            return Err(HostError::OddAddress);
        }
        Ok(Self::Name(Name(name.into_boxed_str())))
    }
}

fn v6(text: &str) -> Result<Host, HostError> {
    let address: Ipv6Addr = text.parse().or(Err(HostError::Character))?;
    Ok(Host::Address(address.to_canonical()))
}

/// What UTS-46 must not let through: everything of ASCII but letters, digits, `-`, `_` and the dot. Underscores are no
/// part of a host name in RFC 952, but of many names that have addresses.
const DENIED: AsciiDenyList = AsciiDenyList::new(true, "!\"#$%&'()*+,/:;<=>?@[\\]^`{|}~");

/// A name in its one spelling: lower case, A-labels, no dot at the end.
pub(crate) fn ascii(text: &str) -> Result<String, HostError> {
    if text.bytes().any(|it| it.is_ascii() && !allowed(it)) {
        return Err(HostError::Character);
    }
    let name = Uts46::new()
        .to_ascii(text.as_bytes(), DENIED, Hyphens::Allow, DnsLength::Ignore)
        // What is plain ASCII and yet fails has an `xn--` label that decodes to nothing allowed.
        .or(Err(HostError::Idna))?;
    let name = name.strip_suffix('.').unwrap_or(&name);
    if name.split('.').any(str::is_empty) {
        return Err(HostError::Empty);
    }
    // Punycode as such is ASCII: what is left of anything else is refused, whatever the library let through.
    if !name.bytes().all(allowed) {
        return Err(HostError::Character);
    }
    if name.len() > 253 || name.split('.').any(|label| label.len() > 63) {
        return Err(HostError::TooLong);
    }
    Ok(name.to_owned())
}

fn allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// Names under which a workload finds the host that it runs on.
const HOST_SERVICES: [&str; 2] = ["host.docker.internal", "host.keyward.internal"];

/// Whether this is one of them. Names below them are names like any other.
pub(crate) fn is_host_service(name: &Name) -> bool {
    HOST_SERVICES.contains(&name.as_str())
}

fn last_label(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// Whether a name that ends so is read as an address by `inet_aton(3)` and by browsers (WHATWG URL, "ends in a
/// number"): decimal, octal or hexadecimal.
fn is_numeric(label: &str) -> bool {
    match label.strip_prefix("0x") {
        Some(digits) => digits.bytes().all(|it| it.is_ascii_hexdigit()),
        None => label.bytes().all(|it| it.is_ascii_digit()),
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(formatter),
            Self::Address(address) => address.fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host(text: &str) -> Result<String, HostError> {
        text.parse::<Host>().map(|it| it.to_string())
    }

    #[test]
    fn a_name_has_one_spelling() {
        for (text, name) in [
            ("GitHub.COM", "github.com"),
            ("github.com.", "github.com"),
            ("localhost", "localhost"),
            ("_dmarc.example.com", "_dmarc.example.com"),
            ("r3---sn-4g5e.example.com", "r3---sn-4g5e.example.com"),
            ("B\u{fc}cher.example", "xn--bcher-kva.example"),
            ("XN--Bcher-KVA.example", "xn--bcher-kva.example"),
            // Not as IDNA 2003 had it (fass.example).
            ("fa\u{df}.example", "xn--fa-hia.example"),
            // Ideographic full stop, full-width letters, the Kelvin sign.
            ("www\u{3002}example\u{ff0e}com", "www.example.com"),
            ("\u{ff45}xample.com", "example.com"),
            ("\u{212a}eyward.example", "keyward.example"),
        ] {
            assert_eq!(host(text), Ok(name.to_owned()), "{text}");
        }
    }

    #[test]
    fn addresses_are_in_the_usual_spelling() {
        for (text, address) in [
            ("192.0.2.1", "192.0.2.1"),
            ("2001:DB8::1", "2001:db8::1"),
            ("[2001:db8:0:0::1]", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("[::ffff:c000:201]", "192.0.2.1"),
        ] {
            assert_eq!(host(text), Ok(address.to_owned()), "{text}");
        }
        for text in [
            "127.1",
            "0x7f.1",
            "0x7f000001",
            "0X7F.0.0.0x1",
            "2130706433",
            "0177.0.0.1",
            "127.0.0.01",
            "192.0.2.1.",
            "192.0.2.256",
            "1.2.3.4.5",
            "example.1",
            "example.0x",
            "\u{ff11}27.0.0.1",
        ] {
            assert_eq!(host(text), Err(HostError::OddAddress), "{text}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        let long = "a".repeat(64);
        let many = ["a"; 128].join(".");
        for (text, why) in [
            ("", HostError::Empty),
            (".", HostError::Empty),
            ("a..b", HostError::Empty),
            (".a", HostError::Empty),
            ("a..", HostError::Empty),
            (long.as_str(), HostError::TooLong),
            (many.as_str(), HostError::TooLong),
            ("a b", HostError::Character),
            (" a", HostError::Character),
            ("a\0.example.com", HostError::Character),
            ("user@example.com", HostError::Character),
            ("example.com/", HostError::Character),
            ("example.com:443", HostError::Character),
            ("ex%61mple.com", HostError::Character),
            ("example.com#", HostError::Character),
            ("exa\\mple.com", HostError::Character),
            ("*.example.com", HostError::Character),
            ("[192.0.2.1]", HostError::Character),
            ("[::1", HostError::Character),
            ("fe80::1%eth0", HostError::Character),
            ("xn--a.example", HostError::Idna),
            ("a\u{200b}\u{378}.example", HostError::Idna),
            // A full-width percent sign.
            ("a\u{ff05}b", HostError::Idna),
            // "Care of": maps to `c/o`.
            ("a\u{2105}.example", HostError::Idna),
        ] {
            assert_eq!(host(text), Err(why), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_reads_as_itself(text in "\\PC{0,40}|[a-zA-Z0-9._:x\\[\\]-]{0,20}") {
            if let Ok(host) = text.parse::<Host>() {
                let again: Host = host.to_string().parse().unwrap();
                prop_assert_eq!(&again, &host);
                if let Host::Name(name) = host {
                    prop_assert!(name.as_str().len() <= 253);
                    let plain = |it: u8| {
                        it.is_ascii_lowercase() || it.is_ascii_digit() || b"-_.".contains(&it)
                    };
                    prop_assert!(name.as_str().bytes().all(plain));
                    prop_assert!(name.as_str().parse::<IpAddr>().is_err());
                }
            }
        }
    }
}
