// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lines of the audit log: one a decision.

use std::{net::SocketAddr, time::Duration};

use keyward_policy::{Host, Rule, Scheme};

use super::{
    Egress,
    judge::{Denial, Door, Permit, Question},
};
use crate::{peers::Peer, request_log::Line};

/// How much of a path is written down: it is there to be recognised, and not for a workload to fill the disk with.
const LONGEST_PATH: usize = 512;

/// What came of an allowed connection or request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Carried {
    /// Bytes from the workload.
    pub(crate) up: u64,
    /// Bytes to the workload.
    pub(crate) down: u64,
    pub(crate) duration: Duration,
    /// Where it was carried to.
    pub(crate) upstream: Option<SocketAddr>,
    /// What plain HTTP was answered with.
    pub(crate) status: Option<u16>,
}

impl Egress {
    pub(super) fn write_denial(&self, denial: &Denial) {
        self.open.count_denied();
        let (door, reason) = (denial.question.door.name(), denial.reason.name());
        self.telemetry.decision(door, "deny", Some(reason));
        self.audit.add(|line| {
            self.begin(line, &denial.question, "deny");
            rule(line, denial.rule.as_ref());
            line.plain("reason", denial.reason.name());
            if let Some(remedy) = &denial.remedy {
                line.text("remedy", remedy);
            }
            end(line, denial.question.peer.as_ref());
        });
    }

    /// Writes down what was allowed, when it is over. `failed`: why it came to nothing.
    pub(crate) fn write_allowed(
        &self,
        permit: &Permit,
        carried: &Carried,
        failed: Option<&'static str>,
    ) {
        self.open.count_allowed(carried);
        let reason = permit.audited.map(|it| it.name()).or(failed);
        let door = permit.question.door.name();
        self.telemetry.decision(door, "allow", reason);
        self.audit.add(|line| {
            self.begin(line, &permit.question, "allow");
            rule(line, permit.rule.as_ref());
            if let Some(reason) = permit.audited {
                line.plain("audited", reason.name());
                if let Some(remedy) = keyward_policy::Policy::remedy(&permit.question.asked()) {
                    line.text("remedy", &remedy);
                }
            }
            if let Some(reason) = failed {
                line.plain("reason", reason);
            }
            if let Some(status) = carried.status {
                line.number("status", status);
            }
            if permit.question.door != Door::Dns {
                line.number("bytes_up", carried.up);
                line.number("bytes_down", carried.down);
                line.milliseconds("duration_ms", carried.duration);
            }
            if let Some(upstream) = carried.upstream {
                line.shown("upstream", upstream);
            }
            end(line, permit.question.peer.as_ref());
        });
    }

    /// What every line begins with.
    pub(super) fn begin_line(&self, line: &mut Line<'_>, door: Door, verdict: &str) {
        line.plain("event", "decision");
        if let Some(run) = &self.run {
            line.text("run", run);
        }
        line.plain("door", door.name());
        line.plain("verdict", verdict);
    }

    fn begin(&self, line: &mut Line<'_>, question: &Question, verdict: &str) {
        self.begin_line(line, question.door, verdict);
        line.text("host", &question.host.to_string());
        if question.door == Door::Dns {
            line.plain("scheme", "dns");
        } else {
            line.number("port", question.port);
            line.plain("protocol", "tcp");
            line.plain("scheme", scheme(question.scheme));
        }
        if let Host::Name(name) = &question.host
            && let Some(address) = self.names.given(name)
        {
            line.shown("address", address);
        }
        if let Some((method, target)) = &question.request {
            line.text("method", method);
            // A query can hold what is nobody's business.
            let path = target.split('?').next().unwrap_or_default();
            line.text("path", path.get(..LONGEST_PATH).unwrap_or(path));
        }
    }
}

pub(super) fn rule(line: &mut Line<'_>, rule: Option<&Rule>) {
    if let Some(rule) = rule {
        line.text("rule", rule.text());
        line.text("rule_at", &rule.origin().to_string());
    }
}

pub(super) fn end(line: &mut Line<'_>, peer: Option<&Peer>) {
    if let Some(peer) = peer {
        line.number("pid", peer.pid);
        line.text("comm", &peer.comm);
        line.number("cgroup", peer.cgroup);
    }
}

/// As the log has it.
pub(super) const fn scheme(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Tls => "tls",
        Scheme::Http => "http",
        Scheme::Tcp => "tcp",
    }
}
