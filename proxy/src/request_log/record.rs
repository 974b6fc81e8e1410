// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is remembered of one request, from its head to the end of its answer.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use firewall_common::Reason;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::tokens::Answer;
use crate::{
    gateway::Link,
    refusal::{Fault, Refusal, UpstreamFault},
    spend::Ticket,
    telemetry::Exchange,
    usage::{Reader, Usage},
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
    /// How often the request was sent again.
    retries: u32,
    first_byte: Option<Duration>,
    /// Until the first bytes of the body.
    first_chunk: Option<Duration>,
    response_bytes: u64,
    /// Bytes of the other direction, where the guard does not count them.
    tunnelled: u64,
    complete: bool,
    /// The answer repeated the credential, which was covered.
    masked: bool,
    /// Reads from the answer what it cost.
    reader: Option<Reader>,
    streaming: bool,
    /// What was read so far.
    usage: Option<Usage>,
    /// Its place within the limits. Boxed: most runs have none.
    ticket: Option<Box<Ticket>>,
    /// Bytes of the request that the ticket knows of.
    ticketed: u64,
}

impl Record {
    /// Begins with what is known first. The path is as the workload sent it, without its query.
    ///
    /// Boxed: it is handed from layer to layer.
    pub(crate) fn new(
        link: Arc<Link>,
        method: Method,
        path: String,
        request_id: HeaderValue,
    ) -> Box<Self> {
        link.begin();
        Box::new(Self {
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
            retries: 0,
            first_byte: None,
            first_chunk: None,
            response_bytes: 0,
            tunnelled: 0,
            complete: false,
            masked: false,
            reader: None,
            streaming: false,
            usage: None,
            ticket: None,
            ticketed: 0,
        })
    }

    /// The limits let it through: its place is held until the record is gone.
    pub(crate) fn admitted(&mut self, ticket: Ticket) {
        self.ticket = Some(Box::new(ticket));
    }

    /// Its place within the limits, if there are any.
    pub(crate) fn ticket(&mut self) -> Option<&mut Ticket> {
        self.ticket.as_deref_mut()
    }

    /// Tells the ticket of what was received since.
    fn count_received(&mut self) {
        let received = self.link.request_bytes() + self.tunnelled;
        let more = received.saturating_sub(self.ticketed);
        self.ticketed = received;
        if let Some(ticket) = self.ticket() {
            ticket.received(more);
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
        self.count_received();
        if let Some(ticket) = self.ticket()
            && !status.is_success()
            && status != StatusCode::SWITCHING_PROTOCOLS
        {
            ticket.free();
        }
    }

    /// The request is sent again.
    pub(crate) fn retried(&mut self) {
        self.retries += 1;
    }

    /// The answer is our own.
    pub(crate) fn answered(&mut self, status: StatusCode, fault: Option<Fault>) {
        self.status = Some(status);
        self.fault = fault;
        // Its body is said and not sent.
        self.complete |= self.method == Method::HEAD;
        // A provider that answers too late for us may have worked for it all the same.
        let late = [
            UpstreamFault::FirstByteTimedOut,
            UpstreamFault::TotalTimedOut,
        ];
        if !late.iter().any(|it| fault == Some((*it).into()))
            && let Some(ticket) = self.ticket()
        {
            ticket.free();
        }
        self.decision = match fault {
            None => Decision::Answered,
            Some(Fault::Downstream(_)) => Decision::Denied,
            Some(Fault::Upstream(_) | Fault::Internal(_)) => Decision::Failed,
        };
    }

    /// The answer's body has these headers: what it cost is read from it as it passes.
    pub(crate) fn watch(&mut self, headers: &HeaderMap) {
        let of = |name| match headers.get(name).map(HeaderValue::to_str) {
            Some(Ok(value)) => value,
            Some(Err(_)) | None => "",
        };
        let (kind, coding) = (of(header::CONTENT_TYPE), of(header::CONTENT_ENCODING));
        self.streaming = Reader::is_streaming(kind);
        // What is read once more was paid for once.
        if self.method == Method::POST {
            self.reader = Reader::new(self.link.provider().dialect, kind, coding);
        }
    }

    /// Bytes of the answer's body go to the workload.
    pub(crate) fn sent(&mut self, bytes: &[u8]) {
        let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if self.response_bytes == 0 && self.streaming {
            self.first_chunk = Some(self.started.elapsed());
        }
        self.response_bytes += count;
        if let Some(ticket) = self.ticket() {
            ticket.sent(count);
        }
        if let Some(reader) = &mut self.reader {
            reader.push(bytes);
        }
    }

    /// An answer inside a tunnel is at its end, `bytes` long.
    pub(crate) fn answer_in_tunnel(&mut self, usage: &Usage, began: Instant, bytes: u64) {
        self.streaming = true;
        self.account(usage, began.elapsed(), bytes);
        self.tell(usage, Some(began.elapsed()));
        if let Some(ticket) = self.ticket() {
            ticket.answered(usage, bytes);
        }
        let all = self.usage.get_or_insert_default();
        all.tokens += usage.tokens;
        all.model.clone_from(&usage.model);
    }

    /// Tells what an answer cost; of one of several in a tunnel, also how long it took.
    fn tell(&self, usage: &Usage, duration: Option<Duration>) {
        let provider = self.link.provider();
        let of = (&*provider.name, &*provider.target.host, &*self.path);
        self.link.shared().telemetry.answer(of, usage, duration);
    }

    fn account(&self, usage: &Usage, duration: Duration, bytes: u64) {
        let answer = Answer {
            request_id: self.request_id.to_str().unwrap_or_default(),
            path: &self.path,
            status: self.status,
            streaming: self.streaming,
            duration,
            bytes,
        };
        answer.account(&self.link, usage);
    }

    /// Bytes of a tunnel, from and to the workload.
    pub(crate) fn tunnelled(&mut self, from: u64, to: u64) {
        self.tunnelled = from;
        self.response_bytes = to;
    }

    /// The answer repeats the credential, and it was covered.
    pub(crate) fn masked(&mut self) {
        if !std::mem::replace(&mut self.masked, true) {
            tracing::warn!(
                provider = &*self.link.provider().name,
                request_id = ?self.request_id,
                "the provider repeated the credential in its answer; it was covered"
            );
        }
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
        let duration = self.started.elapsed();
        if let Some(usage) = self.reader.take().and_then(Reader::finish) {
            self.account(&usage, duration, self.response_bytes);
            self.tell(&usage, None);
            let complete = self.complete;
            if let Some(ticket) = self.ticket() {
                match complete {
                    true => ticket.used(usage.clone()),
                    false => ticket.used_in_part(usage.clone()),
                }
            }
            self.usage = Some(usage);
        }
        self.count_received();
        let link = &self.link;
        let request_bytes = link.request_bytes() + self.tunnelled;
        link.end(self.status, self.fault, request_bytes, self.response_bytes);
        // An own endpoint: nothing was asked of a provider, so there is nothing to account for.
        if matches!(self.decision, Decision::Answered) && self.complete {
            return;
        }
        let shared = link.shared();
        let finding = link.finding();
        let reason = match self.fault {
            Some(fault) => Some(fault.name()),
            // Dropped before there was anything to say, or in the middle of saying it.
            None if finding.is_some() => Some(Refusal::SecretLeak.name()),
            None if !self.complete => Some(Reason::WorkloadGone.name()),
            None => None,
        };
        shared.telemetry.exchange(&Exchange {
            provider: &link.provider().name,
            host: &link.provider().target.host,
            path: &self.path,
            request_id: self.request_id.to_str().unwrap_or_default(),
            status: self.status,
            decision: self.decision.name(),
            reason,
            duration,
            first_chunk: self.first_chunk,
            usage: self.usage.as_ref(),
            tunnel: self.status == Some(StatusCode::SWITCHING_PROTOCOLS),
        });
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
            if let Some(reason) = reason {
                line.plain("reason", reason);
            }
            if let Some(finding) = &finding {
                line.text("finding", &finding.to_string());
            }
            line.truth("complete", self.complete);
            if self.masked {
                line.truth("masked", true);
            }
            line.milliseconds("duration_ms", duration);
            if let Some(first_byte) = self.first_byte {
                line.milliseconds("first_byte_ms", first_byte);
            }
            if self.retries > 0 {
                line.number("retries", self.retries);
            }
            line.number("request_bytes", request_bytes);
            line.number("response_bytes", self.response_bytes);
            if let Some(usage) = &self.usage {
                if let Some(model) = &usage.model {
                    line.text("model", model);
                }
                for (kind, count) in usage.tokens.kinds() {
                    line.number(kind.field(), count);
                }
            }
            if let Some(upstream) = self.upstream {
                line.address("upstream", upstream);
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
