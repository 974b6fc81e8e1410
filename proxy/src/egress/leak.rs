// SPDX-License-Identifier: MIT OR Apache-2.0
//! Secrets in what leaves by host name.

use std::sync::Arc;

use firewall_common::Reason;
use keyward_policy::Scheme;

use super::{Connection, Door, Egress, Question, line};
use crate::{
    peers::Peer,
    request_log::Line,
    scan::{Finding, Scanner},
};

impl Egress {
    /// Writes a finding down, with nothing that could hold it.
    pub(crate) fn write_leak(&self, question: &Question, finding: &Finding) {
        let blocks = self.scanner.as_ref().is_some_and(Scanner::blocks);
        self.count_leak(question.door, blocks);
        let mut question = question.clone();
        question.request = None;
        let write = |to: &mut Line<'_>| {
            self.begin_line(to, question.door, if blocks { "deny" } else { "allow" });
            to.text("host", &question.host.to_string());
            to.number("port", question.port);
            to.plain("scheme", line::scheme(question.scheme));
            to.plain("reason", Reason::SecretLeak.name());
            to.text("finding", &finding.to_string());
            line::end(to, question.peer.as_ref());
        };
        self.audit.add(write);
    }
}

impl Egress {
    fn count_leak(&self, door: Door, blocks: bool) {
        let reason = Reason::SecretLeak.name();
        if blocks {
            self.open().count_denied();
            self.telemetry.decision(door.name(), "deny", Some(reason));
        }
    }

    /// Writes down that the name of a DNS query holds a secret, without the name.
    pub(crate) fn write_name_leak(&self, finding: &Finding, peer: Option<&Peer>) {
        let blocks = self.scanner.as_ref().is_some_and(Scanner::blocks);
        self.count_leak(Door::Dns, blocks);
        self.audit.add(|to| {
            self.begin_line(to, Door::Dns, if blocks { "deny" } else { "allow" });
            to.plain("scheme", "dns");
            to.plain("reason", Reason::SecretLeak.name());
            to.text("finding", &finding.to_string());
            line::end(to, peer);
        });
    }
}

impl Connection {
    /// Looks for secrets in what it carries. `None`: not asked for, or of no use, because it is TLS.
    pub(crate) fn scanner(&self) -> Option<&Scanner> {
        let is_opaque = self.permit().question().scheme == Scheme::Tls;
        self.egress().scanner.as_ref().filter(|_| !is_opaque)
    }

    /// Writes down what is found.
    pub(crate) fn report(&self) -> impl FnOnce(&Finding) + Send + 'static + use<> {
        let (egress, question) = (Arc::clone(self.egress()), self.permit().question().clone());
        move |finding| egress.write_leak(&question, finding)
    }
}
