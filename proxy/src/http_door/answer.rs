// SPDX-License-Identifier: MIT OR Apache-2.0
//! Answers of our own: what was blocked or came to nothing, why, and what to write so that it would not.
//!
//! Nothing that the workload sent is repeated but the host, whose spelling has been judged.

use bytes::Bytes;
use firewall_common::Reason;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use keyward_policy::Host;
use serde_json::json;

use super::accept::Format;
use crate::{
    egress::{Denial, Question},
    refusal::Refusal,
    respond,
};

/// Says why in one word.
const REASON: HeaderName = HeaderName::from_static("x-keyward-reason");

/// An answer of our own.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: StatusCode,
    reason: Reason,
    host: Option<(String, u16)>,
    message: String,
    /// The flag that would allow it, and the line of a policy.
    allow: Option<(String, Option<String>)>,
    close: bool,
}

impl Answer {
    /// A denial. `close`: what else comes on the connection cannot be trusted, or is not ours to read.
    pub(crate) fn denied(denial: &Denial, close: bool) -> Self {
        let question = &denial.question;
        let allow = match (&denial.remedy, denial.reason) {
            (Some(rule), _) => Some((
                format!("--allow-domains {rule}"),
                Some(format!("allow = [\"{rule}\"]")),
            )),
            (None, Reason::HostPortNotAllowed) => Some((
                format!("--allow-host-service-ports {}", question.port),
                None,
            )),
            (None, _) => None,
        };
        Self {
            status: StatusCode::FORBIDDEN,
            reason: denial.reason,
            host: Some(host(question)),
            message: denial.reason.sentence().to_owned(),
            allow,
            close,
        }
    }

    /// What is allowed, and could not be reached; `detail` says more.
    pub(crate) fn unreachable(question: &Question, detail: Option<&str>, close: bool) -> Self {
        let mut message = Reason::Unreachable.sentence().to_owned();
        if let Some(detail) = detail {
            message.push(' ');
            message.push_str(detail);
        }
        Self {
            status: StatusCode::BAD_GATEWAY,
            reason: Reason::Unreachable,
            host: Some(host(question)),
            message,
            allow: None,
            close,
        }
    }

    /// What the upstream did not answer in time.
    pub(crate) fn late(question: &Question) -> Self {
        Self {
            status: StatusCode::GATEWAY_TIMEOUT,
            message: "It is allowed, but did not answer in time.".to_owned(),
            ..Self::unreachable(question, None, false)
        }
    }

    /// What the guard refused.
    pub(crate) fn refused(reason: Reason, refusal: Refusal) -> Self {
        let message = refusal.sentence().to_owned();
        Self::malformed(respond::status(refusal), reason, message)
    }

    /// What is no request that is served here.
    pub(crate) fn malformed(status: StatusCode, reason: Reason, message: String) -> Self {
        Self {
            status,
            reason,
            host: None,
            message,
            allow: None,
            close: true,
        }
    }

    /// As a response.
    pub(crate) fn response(&self, format: Format) -> Response<Bytes> {
        let (kind, body) = match format {
            Format::Text => ("text/plain; charset=utf-8", self.text()),
            Format::Json => ("application/json", self.json()),
        };
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(REASON, HeaderValue::from_static(self.reason.name()));
        if self.close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    fn text(&self) -> String {
        let verdict = match self.status {
            StatusCode::FORBIDDEN => "blocked",
            StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => "could not reach",
            _ => "refused",
        };
        let what = match &self.host {
            Some((host, port)) => format!("{host}:{port}"),
            None => "this request".to_owned(),
        };
        let mut text = format!(
            "keyward {verdict} {what} ({}).\n{}\n",
            self.reason.name(),
            self.message
        );
        match &self.allow {
            Some((flag, Some(line))) => {
                text.push_str(&format!("To allow it: {flag}, or in a policy: {line}\n"));
            }
            Some((flag, None)) => text.push_str(&format!("To allow it: {flag}\n")),
            None => {}
        }
        text
    }

    fn json(&self) -> String {
        let mut error = json!({ "reason": self.reason.name(), "message": self.message });
        if let Some((host, port)) = &self.host {
            error["host"] = json!(host);
            error["port"] = json!(port);
        }
        if let Some((flag, line)) = &self.allow {
            error["allow"] = json!(flag);
            if let Some(line) = line {
                error["policy"] = json!(line);
            }
        }
        let mut text = json!({ "error": error }).to_string();
        text.push('\n');
        text
    }
}

fn host(question: &Question) -> (String, u16) {
    let host = match &question.host {
        Host::Address(std::net::IpAddr::V6(v6)) => format!("[{v6}]"),
        Host::Address(std::net::IpAddr::V4(_)) | Host::Name(_) => question.host.to_string(),
    };
    (host, question.port)
}

/// What the guard's refusal is in the log and in the answer.
pub(super) fn reason_of(refusal: Refusal) -> Reason {
    if matches!(refusal, Refusal::Http2Preface | Refusal::Http2Upgrade) {
        Reason::Http2Plaintext
    } else if matches!(refusal, Refusal::HeadTimedOut | Refusal::BodyTimedOut) {
        Reason::FirstBytesTimedOut
    } else if refusal == Refusal::SecretLeak {
        Reason::SecretLeak
    } else {
        Reason::BadRequest
    }
}
