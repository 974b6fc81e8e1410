// SPDX-License-Identifier: MIT OR Apache-2.0
//! A rule's text, read.
//!
//! ```text
//! [http:// | https:// | tcp://] HOST [:PORT | :FIRST-LAST] [/PATH]
//! HOST = name | pattern with `*` | address | network
//! ```
//!
//! - `github.com`: it and everything below it. A name of one label (`redis`) is that name alone.
//! - `*.github.com`: everything below it, not it itself. Other patterns: see [`Pattern`].
//! - No scheme and no port: plain HTTP at 80 and TLS at 443. No scheme but a port: anything there. `http://` is plain
//!   HTTP at 80, `https://` TLS at 443, unless a port is given; `tcp://` is anything and needs one. A slash at the end
//!   says nothing. In a block list, a port that is not given is every port.
//! - A path, with `http://` alone: exact, `*` is any run of characters.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use super::{
    Network, Pattern, Problem, Reach, Requests, Spec, Target, fault::is_invisible,
    network::NetworkError, request::spelling,
};
use crate::{Entry, Fault, Host, Origin, Scheme, host, text::Text};

/// Which list a rule stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    Allow,
    Block,
}

/// What is wrong, and where in the rule's text: in characters, from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) at: usize,
    pub(crate) problem: Problem,
}

impl Wrong {
    /// Where this is, given where the rule stands.
    pub(crate) fn origin(&self, entry: &Entry) -> Origin {
        let mut origin = entry.origin.clone();
        if origin.column > 0 {
            let at = u32::try_from(self.at).unwrap_or(u32::MAX);
            origin.column = origin.column.saturating_add(at);
        }
        origin
    }
}

impl Wrong {
    /// The same as a fault, at a byte of the text in which the rule stands.
    pub(crate) fn fault(&self, text: &Text<'_>, at: usize) -> Fault {
        let hint = self.problem.hint().map(Cow::into_owned);
        text.fault(at, self.problem.to_string(), hint)
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(formatter)?;
        match self.problem.hint() {
            Some(hint) => write!(formatter, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// What stands in front of the host.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Prefix {
    Nothing,
    Http,
    Https,
    Tcp,
}

impl Prefix {
    /// What may be spoken then; anything, if it does not say.
    fn scheme(self) -> Option<Scheme> {
        match self {
            Self::Http => Some(Scheme::Http),
            Self::Https => Some(Scheme::Tls),
            Self::Nothing | Self::Tcp => None,
        }
    }
}

/// A piece of the rule, and how many characters stand before it.
#[derive(Clone, Copy)]
struct Piece<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Piece<'a> {
    /// Without the first `bytes` bytes, which end at a character's end.
    fn skip(self, bytes: usize) -> Self {
        Piece {
            text: &self.text[bytes..],
            at: self.at + self.text[..bytes].chars().count(),
        }
    }

    fn split(self, byte: usize) -> (Self, Self) {
        let (text, at) = (&self.text[..byte], self.at);
        (Piece { text, at }, self.skip(byte))
    }

    fn wrong<T>(self, problem: Problem) -> Result<T, Wrong> {
        let at = self.at;
        Err(Wrong { at, problem })
    }

    /// The pieces between dots.
    fn labels(self) -> impl Iterator<Item = Piece<'a>> {
        let mut at = self.at;
        self.text.split('.').map(move |text| {
            let piece = Piece { text, at };
            at += text.chars().count() + 1;
            piece
        })
    }
}

/// Reads one rule.
pub(crate) fn parse(entry: &Entry, list: List) -> Result<Spec, Wrong> {
    let whole = Piece {
        text: &entry.rule,
        at: 0,
    };
    characters(whole)?;
    if ["group:", "registry:"]
        .iter()
        .any(|it| whole.text.starts_with(it))
    {
        return whole.wrong(Problem::NotExpanded(whole.text.to_owned()));
    }
    let (prefix, rest) = prefix(whole)?;
    let (authority, path) = match rest.text.find(['/', '?']) {
        Some(slash) => rest.split(slash),
        None => rest.split(rest.text.len()),
    };
    if let Some(at) = authority.text.find('@') {
        return authority.skip(at).wrong(Problem::Userinfo);
    }
    let (host, port) = host_and_port(authority)?;
    if host.text.is_empty() {
        return host.wrong(Problem::NoHost);
    }
    let (target, port, path) = match network(host, port, path)? {
        Some((network, port)) => (Target::Network(network), port, None),
        None => (target(host, list)?, port, Some(path)),
    };
    let reach = reach(prefix, whole, port, list)?;
    let path = match path {
        Some(path) if !matches!(path.text, "" | "/") => Some(path_pattern(path, prefix)?),
        Some(_) | None => None,
    };
    for method in &entry.methods {
        let token = |it: u8| it.is_ascii_uppercase() || it.is_ascii_digit() || it == b'-';
        if method.is_empty() || !method.bytes().all(token) {
            return whole.wrong(Problem::Method(method.clone()));
        }
    }
    if !entry.methods.is_empty() && prefix != Prefix::Http {
        return whole.wrong(Problem::MethodsNotHttp);
    }
    let requests = (path.is_some() || !entry.methods.is_empty()).then(|| Requests {
        methods: entry.methods.clone(),
        path,
    });
    Ok(Spec {
        target,
        reach,
        requests,
    })
}

/// Refuses what no rule has anywhere, before anything is made of it.
fn characters(whole: Piece<'_>) -> Result<(), Wrong> {
    if whole.text.is_empty() {
        return whole.wrong(Problem::Empty);
    }
    for (at, it) in whole.text.chars().enumerate() {
        let forbidden = it.is_whitespace()
            || it.is_control()
            || is_invisible(it)
            || matches!(
                it,
                '\'' | '"' | '`' | '\u{2018}'
                    ..='\u{201f}' | '\u{ab}' | '\u{bb}' | ';' | ',' | '#' | '\\'
            );
        if forbidden {
            let problem = Problem::Forbidden(it);
            return Err(Wrong { at, problem });
        }
    }
    if matches!(whole.text, "*" | "*." | "*.*" | "*.*.") {
        return whole.wrong(Problem::Everything);
    }
    Ok(())
}

/// What stands before `://`, and the rest.
fn prefix(whole: Piece<'_>) -> Result<(Prefix, Piece<'_>), Wrong> {
    let Some(end) = whole.text.find("://") else {
        return Ok((Prefix::Nothing, whole));
    };
    let name = whole.text[..end].to_ascii_lowercase();
    let prefix = match name.as_str() {
        "http" => Prefix::Http,
        "https" => Prefix::Https,
        "tcp" => Prefix::Tcp,
        _ => return whole.wrong(Problem::Scheme(name)),
    };
    Ok((prefix, whole.skip(end + "://".len())))
}

/// A host without brackets, and what stands behind its colon.
fn host_and_port(authority: Piece<'_>) -> Result<(Piece<'_>, Option<Piece<'_>>), Wrong> {
    if authority.text.starts_with('[') {
        let Some(end) = authority.text.find(']') else {
            return authority.wrong(Problem::NotIpv6);
        };
        let (host, rest) = authority.split(end);
        let (host, rest) = (host.skip(1), rest.skip(1));
        if host.text.parse::<Ipv6Addr>().is_err() {
            return host.wrong(Problem::NotIpv6);
        }
        return match (rest.text.is_empty(), rest.text.starts_with(':')) {
            (true, _) => Ok((host, None)),
            (_, true) => Ok((host, Some(rest.skip(1)))),
            (false, false) => rest.wrong(Problem::Port(rest.text.to_owned())),
        };
    }
    match authority.text.bytes().filter(|it| *it == b':').count() {
        0 => Ok((authority, None)),
        1 => {
            let (host, rest) = authority.split(authority.text.find(':').unwrap_or_default());
            Ok((host, Some(rest.skip(1))))
        }
        // IPv6 without brackets has no port.
        _ => Ok((authority, None)),
    }
}

/// A network, if there is an address and a number of bits behind a slash; its port stands behind those.
fn network<'a>(
    host: Piece<'a>,
    port: Option<Piece<'a>>,
    path: Piece<'a>,
) -> Result<Option<(Network, Option<Piece<'a>>)>, Wrong> {
    let Ok(address) = host.text.parse::<IpAddr>() else {
        return Ok(None);
    };
    let (true, None) = (path.text.starts_with('/') && path.text.len() > 1, port) else {
        return match path.text {
            "" | "/" => Ok(Some((Network::single(address), port))),
            // A path at an address and port.
            _ => Ok(None),
        };
    };
    let bits = path.skip(1);
    let (bits, port) = match bits.text.find(':') {
        Some(colon) => {
            let (bits, rest) = bits.split(colon);
            (bits, Some(rest.skip(1)))
        }
        None => (bits, None),
    };
    if !bits.text.starts_with(|it: char| it.is_ascii_digit()) {
        return Ok(None);
    }
    let Some(number) = decimal(bits.text).and_then(|it| u8::try_from(it).ok()) else {
        return bits.wrong(Problem::Bits(bits.text.to_owned()));
    };
    match Network::new(address, number) {
        Ok(network) => Ok(Some((network, port))),
        Err(NetworkError::TooLong(width)) => {
            let family = if width == 32 { "IPv4" } else { "IPv6" };
            bits.wrong(Problem::TooManyBits { family, width })
        }
        Err(NetworkError::TooBroad) => {
            host.wrong(Problem::BroadNetwork(format!("{address}/{number}")))
        }
        Err(NetworkError::HostBits(meant)) => host.wrong(Problem::HostBits {
            bits: number,
            meant: meant.to_string(),
        }),
    }
}

fn target(host: Piece<'_>, list: List) -> Result<Target, Wrong> {
    if host.text.contains(':') && !host.text.contains('.') && host.text.contains("::") {
        // Looks like IPv6 and was not read as such.
        return host.wrong(Problem::NotIpv6);
    }
    for (at, it) in host.text.chars().enumerate() {
        let fine =
            !it.is_ascii() || it.is_ascii_alphanumeric() || matches!(it, '-' | '_' | '.' | '*');
        if !fine {
            let problem = match it {
                ':' => Problem::NotIpv6,
                _ => Problem::Forbidden(it),
            };
            return Err(Wrong {
                at: host.at + at,
                problem,
            });
        }
    }
    let end = host.text.strip_suffix('.').unwrap_or(host.text);
    let bare = Piece { text: end, ..host };
    if let Some(label) = bare.labels().find(|it| it.text.is_empty()) {
        return label.wrong(Problem::EmptyLabel);
    }
    if bare.text.contains('*') {
        return pattern(bare);
    }
    let name = match host.text.parse() {
        Ok(Host::Name(name)) => name,
        Ok(Host::Address(address)) => return Ok(Target::Network(Network::single(address))),
        Err(error) => return host.wrong(error.into()),
    };
    if list == List::Allow && host::is_host_service(&name) {
        return host.wrong(Problem::HostService(name.to_string()));
    }
    let labels: Vec<_> = name.as_str().split('.').collect();
    // One label is a name of the own network. Two can be what a registry sells names under.
    if labels.len() == 2 && is_public_suffix(&labels) {
        return host.wrong(Problem::OverBroad(name.to_string()));
    }
    let below = labels.len() > 1;
    Ok(Target::Name {
        name,
        apex: true,
        below,
    })
}

fn pattern(host: Piece<'_>) -> Result<Target, Wrong> {
    let mut labels = Vec::new();
    for label in host.labels() {
        if let Some(at) = label.text.find("**") {
            return label.skip(at).wrong(Problem::DoubleStar);
        }
        labels.push(if !label.text.contains('*') {
            match host::ascii(label.text) {
                Ok(label) => label,
                Err(error) => return label.wrong(error.into()),
            }
        } else if label.text.is_ascii() {
            label.text.to_ascii_lowercase()
        } else {
            return label.wrong(Problem::StarInIdn);
        });
    }
    // A label may have become several: some characters are mapped to dots.
    let text = labels.join(".");
    let labels: Vec<_> = text.split('.').map(str::to_owned).collect();
    let fixed = labels
        .iter()
        .rev()
        .take_while(|it| !it.contains('*'))
        .count();
    let end: Vec<_> = labels[labels.len() - fixed..]
        .iter()
        .map(String::as_str)
        .collect();
    if fixed < 2 || is_public_suffix(&end) {
        return host.wrong(Problem::OverBroad(host.text.to_owned()));
    }
    if text.len() > 253 || labels.iter().any(|it| it.len() > 63) {
        return host.wrong(Problem::TooLong);
    }
    // What the end is must be a name, also for patterns: `*.example.0x7f` stands for nothing.
    let end = match end.join(".").parse() {
        Ok(Host::Name(name)) => name,
        Ok(Host::Address(_)) => return host.wrong(Problem::OddAddress),
        Err(error) => return host.wrong(error.into()),
    };
    if fixed + 1 == labels.len() && labels[0] == "*" {
        return Ok(Target::Name {
            name: end,
            apex: false,
            below: true,
        });
    }
    Ok(Target::Pattern(Pattern::new(&labels)))
}

/// Whether names are sold directly below this one: a small rule in place of the long list of such suffixes, which
/// changes every week. It knows top-level domains, and `co.uk` with its like.
fn is_public_suffix(labels: &[&str]) -> bool {
    match labels {
        [] | [_] => true,
        [second, country] => {
            country.len() == 2
                && matches!(
                    *second,
                    "ac" | "co" | "com" | "edu" | "gov" | "mil" | "net" | "org"
                )
        }
        _ => false,
    }
}

fn reach(
    prefix: Prefix,
    whole: Piece<'_>,
    port: Option<Piece<'_>>,
    list: List,
) -> Result<Reach, Wrong> {
    let scheme = prefix.scheme();
    let (first, last) = match (port, prefix, list) {
        (Some(port), ..) => range(port)?,
        (None, Prefix::Tcp, _) => return whole.wrong(Problem::PortMissing),
        (None, Prefix::Nothing, List::Allow) => return Ok(Reach::Web),
        (None, Prefix::Nothing, List::Block) => return Ok(Reach::All),
        (None, Prefix::Http | Prefix::Https, List::Block) => (0, u16::MAX),
        (None, Prefix::Http, List::Allow) => (80, 80),
        (None, Prefix::Https, List::Allow) => (443, 443),
    };
    Ok(Reach::Ports {
        scheme,
        first,
        last,
    })
}

/// Reads a port, or a range of ports, that stands alone.
pub(crate) fn ports(text: &str) -> Result<(u16, u16), Wrong> {
    range(Piece { text, at: 0 })
}

/// A port, or the first and the last of a range.
fn range(piece: Piece<'_>) -> Result<(u16, u16), Wrong> {
    let Some(dash) = piece.text.find('-') else {
        let port = port(piece)?;
        return Ok((port, port));
    };
    let (from, to) = piece.split(dash);
    let range = (port(from)?, port(to.skip(1))?);
    if range.0 > range.1 {
        return piece.wrong(Problem::PortsReversed);
    }
    Ok(range)
}

fn port(piece: Piece<'_>) -> Result<u16, Wrong> {
    match decimal(piece.text).map(u16::try_from) {
        Some(Ok(0)) => piece.wrong(Problem::PortZero),
        Some(Ok(port)) => Ok(port),
        Some(Err(_)) | None if piece.text.is_empty() => piece.wrong(Problem::PortEmpty),
        Some(Err(_)) | None => piece.wrong(Problem::Port(piece.text.to_owned())),
    }
}

/// Digits and nothing else: no sign, no space, no zeros in front.
fn decimal(text: &str) -> Option<u32> {
    let plain =
        text.bytes().all(|it| it.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

fn path_pattern(path: Piece<'_>, prefix: Prefix) -> Result<String, Wrong> {
    if let Some(at) = path.text.find('?') {
        return path.skip(at).wrong(Problem::Query);
    }
    if prefix != Prefix::Http {
        return path.wrong(Problem::PathNotHttp);
    }
    match spelling(path.text) {
        Some(pattern) => Ok(pattern.into_owned()),
        None => path.wrong(Problem::PathAmbiguous),
    }
}
