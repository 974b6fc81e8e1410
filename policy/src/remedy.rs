// SPDX-License-Identifier: MIT OR Apache-2.0
//! What to write so that something is allowed.

use std::net::IpAddr;

use crate::{
    Asked, Entry, Host, Policy, Scheme,
    rule::{List, parse},
};

impl Policy {
    /// The rule that would allow this, to be added to a policy or given to `--allow-domains`; `None` if none would:
    /// ports of the host itself are opened by `--allow-host-service-ports`.
    ///
    /// It is the shortest that people write. `github.com` is plain HTTP at 80 and TLS at 443, also for names below it.
    /// It does not help against a block rule.
    #[must_use]
    pub fn remedy(asked: &Asked<'_>) -> Option<String> {
        let rule = text(asked.host, asked.port, asked.scheme);
        let entry = Entry {
            rule,
            ..Entry::default()
        };
        parse(&entry, List::Allow).is_ok().then_some(entry.rule)
    }

    /// The rule that lets allowed names lead to a private address at a port.
    #[must_use]
    pub fn remedy_for_address(address: IpAddr, port: u16) -> String {
        with_port(&Host::Address(address.to_canonical()), port)
    }
}

/// A rule for one host, port and protocol.
fn text(host: &Host, port: u16, scheme: Scheme) -> String {
    match (port, scheme) {
        (80, Scheme::Http) | (443, Scheme::Tls) => host.to_string(),
        _ => with_port(host, port),
    }
}

fn with_port(host: &Host, port: u16) -> String {
    with_ports(host, (port, port))
}

/// A rule for anything at a range of ports.
pub(crate) fn with_ports(host: &Host, (first, last): (u16, u16)) -> String {
    let host = match host {
        Host::Address(IpAddr::V6(v6)) => format!("[{v6}]"),
        Host::Address(IpAddr::V4(_)) | Host::Name(_) => host.to_string(),
    };
    if first == last {
        format!("{host}:{first}")
    } else {
        format!("{host}:{first}-{last}")
    }
}
