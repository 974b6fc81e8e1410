// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a request is told that a limit or a rule for models stops.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::{provider::Provider, refusal::Refusal, respond};

/// A refusal, with what there is to say of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Denied {
    /// The reason: for the log, and what frame layers tell apart.
    pub refusal: Refusal,
    /// For the workload's user.
    pub message: String,
    /// `Retry-After` and its kin, for what passes with time.
    pub(crate) rate: Option<Rate>,
    /// Further members of the error.
    pub(crate) more: Vec<(&'static str, Value)>,
}

/// A limit that passes with time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) limit: u64,
    /// `per_minute`, `per_hour`, `per_minute_bytes`, `concurrent`.
    pub(crate) window: &'static str,
    pub(crate) retry_after: u64,
}

impl Denied {
    pub(crate) fn new(refusal: Refusal, message: String) -> Self {
        Self {
            refusal,
            message,
            rate: None,
            more: Vec::new(),
        }
    }

    /// A rule for models; `model` is in the workload's own words.
    pub(crate) fn model(refusal: Refusal, message: &str, model: Option<&str>) -> Self {
        let more = model.map(|it| ("model", it.chars().take(256).collect::<String>().into()));
        Self {
            more: more.into_iter().collect(),
            ..Self::new(refusal, message.to_owned())
        }
    }

    /// Status of the answer, and the error's `type`.
    fn kind(&self) -> (StatusCode, &'static str) {
        respond::kind(self.refusal)
    }

    /// `{"error":{"type":…}}`: the answer's body, and what a WebSocket's client can be told in a message.
    #[must_use]
    pub fn json(&self, provider: &str) -> Value {
        let mut error = json!({
            "type": self.kind().1,
            "reason": self.refusal.name(),
            "provider": provider,
            "message": self.message,
        });
        if let Some(rate) = self.rate {
            error["limit"] = rate.limit.into();
            error["window"] = rate.window.into();
            error["retry_after"] = rate.retry_after.into();
        }
        for (name, value) in &self.more {
            error[*name] = value.clone();
        }
        json!({ "error": error })
    }

    /// The answer.
    pub(crate) fn respond(&self, provider: &Provider) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from(self.json(&provider.name).to_string()));
        *response.status_mut() = self.kind().0;
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, kind);
        if let Some(rate) = self.rate {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let reset = now.map_or(0, |it| it.as_secs()) + rate.retry_after;
            let remaining = HeaderName::from_static("x-ratelimit-remaining");
            headers.insert(header::RETRY_AFTER, rate.retry_after.into());
            headers.insert(
                HeaderName::from_static("x-ratelimit-limit"),
                rate.limit.into(),
            );
            headers.insert(remaining, HeaderValue::from_static("0"));
            headers.insert(HeaderName::from_static("x-ratelimit-reset"), reset.into());
        }
        response
    }
}
