// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be wrong with a rule, in words for whoever wrote it.

use std::borrow::Cow;

use crate::HostError;

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    #[error("the rule is empty")]
    Empty,
    #[error("{} in a rule", name_of(*.0))]
    Forbidden(char),
    #[error("`*` alone would allow everything")]
    Everything,
    #[error("`{0}` covers names of too many owners")]
    OverBroad(String),
    #[error("the network {0} is too large to be one's own")]
    BroadNetwork(String),
    #[error("`**` is not a pattern")]
    DoubleStar,
    #[error("a label with `*` must be plain ASCII")]
    StarInIdn,
    #[error("a label of the name is empty")]
    EmptyLabel,
    #[error("the name is longer than a host name may be")]
    TooLong,
    #[error("the host is missing")]
    NoHost,
    #[error("the name is not valid under IDNA")]
    Idna,
    #[error("this is not a usual spelling of an address")]
    OddAddress,
    #[error("this is not an IPv6 address")]
    NotIpv6,
    #[error("user names and passwords are no part of a rule")]
    Userinfo,
    #[error("a query is no part of a rule")]
    Query,
    #[error("the scheme `{0}://` is not known")]
    Scheme(String),
    #[error("`tcp://` needs a port")]
    PortMissing,
    #[error("the port is missing")]
    PortEmpty,
    #[error("`{0}` is not a port")]
    Port(String),
    #[error("there is no port 0")]
    PortZero,
    #[error("the range of ports goes backwards")]
    PortsReversed,
    #[error("a path can only be judged in plain HTTP")]
    PathNotHttp,
    #[error("the path has more than one reading")]
    PathAmbiguous,
    #[error("`{0}` is not a number of bits")]
    Bits(String),
    #[error("{family} addresses have {width} bits")]
    TooManyBits { family: &'static str, width: u8 },
    #[error("bits behind the first {bits} are set")]
    HostBits { bits: u8, meant: String },
    #[error("methods can only be judged in plain HTTP")]
    MethodsNotHttp,
    #[error("`{0}` is not a method")]
    Method(String),
    #[error("`{0}` is a name of this host, which rules do not open")]
    HostService(String),
    #[error("`{0}` stands for other rules, which were not put in its place")]
    NotExpanded(String),
}

impl Problem {
    /// What to write instead.
    pub(crate) fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::Empty => "leave it out: an empty list allows nothing".into(),
            Self::Forbidden(',') => "write one rule in each string".into(),
            Self::Forbidden('%') => {
                "write a name without escapes, an address without a zone".into()
            }
            Self::Forbidden(it) if it.is_whitespace() => "write one name, without spaces".into(),
            Self::Forbidden('\'' | '"' | '`' | '\u{2018}'..='\u{201f}') => {
                "write the name without quotes".into()
            }
            Self::Forbidden('#') => "a comment needs a space in front of its `#`".into(),
            Self::Everything => "to see what a run needs, use `--mode audit`".into(),
            Self::OverBroad(_) => {
                "at the end at least a domain that somebody owns must stand: `*.example.com`".into()
            }
            Self::DoubleStar => "`*.` in front stands for any number of labels".into(),
            Self::StarInIdn => "write the label as it is in DNS (`xn--…`)".into(),
            Self::OddAddress => {
                "write four decimal numbers without leading zeros: `192.0.2.1`".into()
            }
            Self::NotIpv6 => "IPv6 with a port is written `[2001:db8::1]:443`".into(),
            Self::Userinfo => "write the host alone; credentials have their own settings".into(),
            Self::Query => "a rule can name a path, not what follows `?`".into(),
            Self::Scheme(it) => match it.as_str() {
                "ssh" | "git+ssh" | "sftp" => "write the port: `github.com:22`".into(),
                "ws" => "WebSocket begins as HTTP: write `http://`".into(),
                "wss" => "WebSocket begins as TLS: write `https://`".into(),
                "udp" | "quic" => "only TCP can be allowed".into(),
                _ => "write `http://`, `https://`, `tcp://`, or no scheme and a port".into(),
            },
            Self::PortMissing => "write `tcp://host:port`".into(),
            Self::PortEmpty => "write a number, or leave out what stands before it".into(),
            Self::Port(it) if it == "*" => "all ports are `1-65535`".into(),
            Self::Port(_) => "a port is a number up to 65535, a range `5432-5440`".into(),
            Self::PortsReversed => "write the smaller port first".into(),
            Self::PathNotHttp => {
                "the path of https is encrypted: write the host alone, or `http://`".into()
            }
            Self::PathAmbiguous => {
                "write it without `..`, `//`, `;`, `\\`, and escapes of these".into()
            }
            Self::Bits(_) => "a network is written `10.0.0.0/8`".into(),
            Self::HostBits { meant, .. } => format!("the network is `{meant}`").into(),
            Self::MethodsNotHttp => {
                "write `http://` in front of the host: requests of https are encrypted".into()
            }
            Self::Method(_) => "methods are written in capitals: `GET`".into(),
            Self::HostService(_) => "open its ports with `--allow-host-service-ports PORT`".into(),
            Self::Forbidden(_)
            | Self::BroadNetwork(_)
            | Self::EmptyLabel
            | Self::TooLong
            | Self::NoHost
            | Self::Idna
            | Self::PortZero
            | Self::TooManyBits { .. }
            | Self::NotExpanded(_) => return None,
        })
    }
}

impl From<HostError> for Problem {
    fn from(error: HostError) -> Self {
        match error {
            HostError::Empty => Self::EmptyLabel,
            HostError::TooLong => Self::TooLong,
            HostError::Idna => Self::Idna,
            HostError::OddAddress => Self::OddAddress,
            // The parser has looked at each character before.
            HostError::Character => Self::NotIpv6,
        }
    }
}

/// A character in words, for those that cannot be seen or that quotes would hide.
fn name_of(character: char) -> Cow<'static, str> {
    match character {
        ' ' => "a space".into(),
        '\t' => "a tab".into(),
        '\n' | '\r' => "a line end".into(),
        '\0' => "NUL".into(),
        '`' => "a backtick".into(),
        '"' | '\'' | '\u{2018}'..='\u{201f}' => "a quote".into(),
        '\\' => "a backslash".into(),
        ';' => "a semicolon".into(),
        ',' => "a comma".into(),
        it if it.is_whitespace() => format!("a space (U+{:04X})", u32::from(it)).into(),
        it if it.is_control() || is_invisible(it) => {
            format!("a control character (U+{:04X})", u32::from(it)).into()
        }
        it => format!("`{it}`").into(),
    }
}

/// Format characters that show nothing, or turn the direction of what follows.
pub(super) fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
