// SPDX-License-Identifier: MIT OR Apache-2.0
//! A rule for the host of a URL, and where the URL was found.

use std::{fmt, path::Path};

use crate::{Entry, Host, Origin, rule, settings::authority_of};

/// Where a URL was found.
pub(super) enum Place<'a> {
    /// A line of a file; 0 if it is not known.
    File(&'a Path, usize),
    /// A variable of the environment.
    Variable(&'a str),
    /// What a program said.
    Command(&'a str),
}

impl Place<'_> {
    pub(super) fn origin(&self, client: &str) -> Origin {
        let line = match self {
            Self::File(_, line) => u32::try_from(*line).unwrap_or(0),
            Self::Variable(_) | Self::Command(_) => 0,
        };
        Origin {
            source: match self {
                Self::File(path, _) => path.display().to_string(),
                Self::Variable(name) => format!("${name}"),
                Self::Command(command) => format!("`{command}`"),
            },
            line,
            column: u32::from(line > 0),
            group: Some(format!("registry:{client}")),
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, 0) => write!(formatter, "{}", path.display()),
            Self::File(path, line) => write!(formatter, "{}:{line}", path.display()),
            Self::Variable(name) => write!(formatter, "${name}"),
            Self::Command(command) => write!(formatter, "`{command}`"),
        }
    }
}

/// The rule for a URL's host: plain HTTP or TLS, at its port. User names and paths are left out.
pub(super) fn from_url(url: &str) -> Option<String> {
    let url = url.trim();
    let (scheme, rest) = url.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    // `sparse+https`, `git+https`, `mirror+http`.
    let scheme = scheme.rsplit('+').next().unwrap_or_default();
    let usual = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit_once('@').map_or(authority, |it| it.1);
    let (host, port) = authority_of(authority, usual)?;
    let host = match host {
        Host::Address(std::net::IpAddr::V6(v6)) => format!("[{v6}]"),
        Host::Address(_) | Host::Name(_) => host.to_string(),
    };
    let rule = if port == usual {
        format!("{scheme}://{host}")
    } else {
        format!("{scheme}://{host}:{port}")
    };
    // What no rule may be (a name of the host itself) opens nothing.
    let entry = Entry {
        rule,
        ..Entry::default()
    };
    rule::parse(&entry, rule::List::Allow).ok()?;
    Some(entry.rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_becomes_a_rule_for_its_host() {
        for (url, rule) in [
            (
                "https://npm.corp.example/repo/",
                Some("https://npm.corp.example"),
            ),
            (
                "http://NPM.corp.example:8081/x?y",
                Some("http://npm.corp.example:8081"),
            ),
            (
                "https://user:t@ken@npm.corp.example:443",
                Some("https://npm.corp.example"),
            ),
            (
                "sparse+https://index.corp.example/",
                Some("https://index.corp.example"),
            ),
            ("http://10.0.0.5:8081/", Some("http://10.0.0.5:8081")),
            ("http://[fd00::1]/", Some("http://[fd00::1]")),
            ("http://localhost:4873", Some("http://localhost:4873")),
            ("http://host.docker.internal:4873", None),
            ("file:///srv/x", None),
            ("ssh://git@corp.example/x", None),
            ("https://", None),
            ("", None),
        ] {
            assert_eq!(from_url(url).as_deref(), rule, "{url}");
        }
    }
}
