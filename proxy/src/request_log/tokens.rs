// SPDX-License-Identifier: MIT OR Apache-2.0
//! One line and some counters for each answer that said what it cost.

use std::time::Duration;

use http::StatusCode;

use crate::{gateway::Link, usage::Usage};

/// An answer, as far as its account is about it.
pub(crate) struct Answer<'a> {
    pub(crate) request_id: &'a str,
    /// Without its query.
    pub(crate) path: &'a str,
    pub(crate) status: Option<StatusCode>,
    pub(crate) streaming: bool,
    pub(crate) duration: Duration,
    pub(crate) bytes: u64,
}

impl Answer<'_> {
    /// Counts and logs what it cost. Everything that tokens are counted against is told here.
    pub(crate) fn account(&self, link: &Link, usage: &Usage) {
        let (shared, provider) = (link.shared(), link.provider());
        shared.metrics.spend(provider, &usage.tokens);
        // The fields are a contract with what reads these lines: none more, none less.
        shared.tokens.add_timed("timestamp", |line| {
            line.plain("event", "token_usage");
            line.text("request_id", self.request_id);
            line.plain("provider", &provider.name);
            line.text("model", usage.model.as_deref().unwrap_or("unknown"));
            line.text("path", self.path);
            line.number("status", self.status.map_or(0, |it| it.as_u16()));
            line.truth("streaming", self.streaming);
            for (kind, count) in usage.tokens.kinds() {
                line.number(kind.field(), count);
            }
            line.number("duration_ms", self.duration.as_millis());
            line.number("response_bytes", self.bytes);
        });
    }
}
