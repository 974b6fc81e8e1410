// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hosts as they are asked for: names and addresses.

use std::{fmt, net::IpAddr, str::FromStr};

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
    fn from_str(_text: &str) -> Result<Self, HostError> {
        Err(HostError::Empty)
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
