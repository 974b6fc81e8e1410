// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is remembered of one request, from its head to the end of its answer.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Method, StatusCode};

use crate::{
    gateway::Link,
    refusal::{Fault, Refusal},
};

/// What was done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Refused by a rule.
    Denied,
    /// Sent on.
    Forwarded,
    /// Answered here: an own endpoint.
    Answered,
    /// Not answered because something failed.
    Failed,
}

impl Decision {
    const fn name(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Forwarded => "forwarded",
            Self::Answered => "answered",
            Self::Failed => "failed",
        }
    }
}

/// One request. Writes its line, and counts itself, when it is dropped: whatever happens to the answer,
/// the log has it.
pub(crate) struct Record {
    link: Arc<Link>,
    started: Instant,
    method: Method,
    path: String,
    pub(crate) request_id: HeaderValue,
    /// `None`: there was no answer yet.
    status: Option<StatusCode>,
    decision: Decision,
    fault: Option<Fault>,
    upstream: Option<SocketAddr>,
    upstream_request_id: Option<HeaderValue>,
    first_byte: Option<Duration>,
    response_bytes: u64,
    /// Bytes of the other direction, where the guard does not count them.
    tunnelled: u64,
    complete: bool,
}

impl Record {
    /// Begins with what is known first. The path is as the workload sent it, without its query.
    pub(crate) fn new(
        link: Arc<Link>,
        method: Method,
        path: String,
        request_id: HeaderValue,
    ) -> Self {
        link.begin();
        Self {
            link,
            started: Instant::now(),
            method,
            path,
            request_id,
            status: None,
            // Until something else is known, nothing was let through.
            decision: Decision::Failed,
            fault: None,
            upstream: None,
            upstream_request_id: None,
            first_byte: None,
            response_bytes: 0,
            tunnelled: 0,
            complete: false,
        }
    }

    /// Nothing of a refused head is believed, so nothing of it is logged.
    pub(crate) fn forget_head(&mut self) {
        self.method = Method::default();
        self.path.clear();
    }

    /// A secret in the path is not written down.
    pub(crate) fn forget_path(&mut self) {
        self.path = "/**".to_owned();
    }

    /// The answer came from the upstream.
    pub(crate) fn forwarded(
        &mut self,
        status: StatusCode,
        upstream: SocketAddr,
        upstream_request_id: Option<HeaderValue>,
    ) {
        self.decision = Decision::Forwarded;
        self.status = Some(status);
        self.upstream = Some(upstream);
        self.upstream_request_id = upstream_request_id;
        self.first_byte = Some(self.started.elapsed());
    }

    /// The answer is our own.
    pub(crate) fn answered(&mut self, status: StatusCode, fault: Option<Fault>) {
        self.status = Some(status);
        self.fault = fault;
        self.decision = match fault {
            None => Decision::Answered,
            Some(Fault::Downstream(_)) => Decision::Denied,
            Some(Fault::Upstream(_) | Fault::Internal(_)) => Decision::Failed,
        };
    }

    /// Bytes of the answer's body went to the workload.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.response_bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
    }

    /// Bytes of a tunnel, from and to the workload.
    pub(crate) fn tunnelled(&mut self, from: u64, to: u64) {
        self.tunnelled = from;
        self.response_bytes = to;
    }

    /// The answer was handed over to its end.
    pub(crate) fn complete(&mut self) {
        self.complete = true;
    }

    /// The answer broke off.
    pub(crate) fn broke(&mut self, fault: Fault) {
        self.fault = Some(fault);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let link = &self.link;
        let request_bytes = link.request_bytes() + self.tunnelled;
        link.end(self.status, self.fault, request_bytes, self.response_bytes);
        // An own endpoint: nothing was asked of a provider, so there is nothing to account for.
        if matches!(self.decision, Decision::Answered) && self.complete {
            return;
        }
        let shared = link.shared();
        shared.log.add(|line| {
            line.plain("event", "request");
            if let Some(run) = &shared.run {
                line.text("run", run);
            }
            line.text("request_id", self.request_id.to_str().unwrap_or_default());
            line.plain("provider", &link.provider().name);
            if !self.path.is_empty() {
                line.text("method", self.method.as_str());
                line.text("path", &self.path);
            }
            if let Some(status) = self.status {
                line.number("status", status.as_u16());
            }
            line.plain("decision", self.decision.name());
            let finding = link.finding();
            match self.fault {
                Some(fault) => line.plain("reason", fault.name()),
                // Dropped before there was anything to say, or in the middle of saying it.
                None if finding.is_some() => {
                    line.plain("reason", Refusal::SecretLeak.name());
                }
                None if !self.complete => line.plain("reason", "workload_gone"),
                None => {}
            }
            if let Some(finding) = finding {
                line.text("finding", &finding.to_string());
            }
            line.number("complete", self.complete);
            line.milliseconds("duration_ms", self.started.elapsed());
            if let Some(first_byte) = self.first_byte {
                line.milliseconds("first_byte_ms", first_byte);
            }
            line.number("request_bytes", request_bytes);
            line.number("response_bytes", self.response_bytes);
            if let Some(upstream) = self.upstream {
                line.plain("upstream", upstream);
            }
            if let Some(Ok(id)) = self.upstream_request_id.as_ref().map(HeaderValue::to_str) {
                line.text("upstream_request_id", id);
            }
            if let Some(peer) = link.peer() {
                line.number("pid", peer.pid);
                line.text("comm", &peer.comm);
                line.number("cgroup", peer.cgroup);
            }
        });
    }
}
