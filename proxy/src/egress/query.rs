// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lines of DNS queries in the audit log.

use firewall_common::{Reason, Transport};
use keyward_policy::{Name, Rule};

use super::{Door, Egress, line};
use crate::peers::Peer;

/// A DNS query, as the log has it.
pub(crate) struct Query<'a> {
    /// The host that it is about, or the name as it was asked if that is no host's.
    pub(crate) host: &'a str,
    /// The same, if it is a host's name.
    pub(crate) name: Option<&'a Name>,
    /// `A`, `AAAA`, `TXT` …
    pub(crate) kind: &'a str,
    pub(crate) transport: Transport,
    pub(crate) rule: Option<&'a Rule>,
    /// The rule that would allow it, if there is one.
    pub(crate) remedy: Option<&'a str>,
    pub(crate) peer: Option<&'a Peer>,
}

impl Egress {
    /// Writes down that a query was denied.
    pub(crate) fn write_query_denied(&self, query: &Query<'_>, reason: Reason) {
        self.open().count_denied();
        self.write_query(query, "deny", "reason", Some(reason));
    }

    /// Counts a denial for which there is no room in the log.
    pub(crate) fn query_denied_unwritten(&self) {
        self.open().count_denied();
        self.audit.lose();
    }

    /// Writes down that a query was answered. `audited`: why it would have been denied, were denials carried out.
    pub(crate) fn write_query_answered(&self, query: &Query<'_>, audited: Option<Reason>) {
        self.write_query(query, "allow", "audited", audited);
    }

    fn write_query(&self, query: &Query<'_>, verdict: &str, why: &str, reason: Option<Reason>) {
        self.audit.add(|to| {
            self.begin_line(to, Door::Dns, verdict);
            to.text("host", query.host);
            to.plain("scheme", "dns");
            to.plain("type", query.kind);
            let protocol = match query.transport {
                Transport::Tcp => "tcp",
                Transport::Udp => "udp",
            };
            to.plain("protocol", protocol);
            if let Some(address) = query.name.and_then(|it| self.names.given(it)) {
                to.shown("address", address);
            }
            line::rule(to, query.rule);
            if let Some(reason) = reason {
                to.plain(why, reason.name());
            }
            if let Some(remedy) = query.remedy {
                to.text("remedy", remedy);
            }
            line::end(to, query.peer);
        });
    }
}
