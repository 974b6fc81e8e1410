// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is told to a collector, over OTLP, if the settings name one: metrics, in the terms of OpenTelemetry's conventions
//! for generative AI where they have any, and a span for each request.
//!
//! The data path writes numbers into a [`Book`] and goes on; a task of its own sends them. Everything in the book is
//! bounded: what does not fit is dropped, counted, and the count is sent. Nothing that a request or an answer carried is in
//! it but the model that answered, no path, and no credential.
//!
//! The exporter is the proxy's own rather than the SDK's: the collector is reached like every upstream, by the same roots,
//! resolver and upstream proxy; what there is to aggregate are a few counters; and OTLP's JSON is a stable format.

mod book;
mod export;
mod otlp;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use http::StatusCode;

use self::book::{Attributes, Book, Instrument, Span};
pub(crate) use self::export::Exporter;
use crate::usage::{Tokens, Usage};

/// Where numbers are written down; nowhere, if there is no collector.
#[derive(Clone, Default)]
pub(crate) struct Telemetry(Option<Arc<Mutex<Book>>>);

/// A request at the gateway that is over.
pub(crate) struct Exchange<'a> {
    pub(crate) provider: &'a str,
    /// Where it was to go.
    pub(crate) host: &'a str,
    pub(crate) path: &'a str,
    pub(crate) request_id: &'a str,
    pub(crate) status: Option<StatusCode>,
    pub(crate) decision: &'static str,
    pub(crate) reason: Option<&'static str>,
    pub(crate) duration: Duration,
    /// From the request to the first bytes of a stream.
    pub(crate) first_chunk: Option<Duration>,
    pub(crate) usage: Option<&'a Usage>,
    /// A WebSocket: its answers were told one by one.
    pub(crate) tunnel: bool,
}

impl Telemetry {
    pub(crate) fn new(traces: bool) -> Self {
        Self(Some(Arc::new(Mutex::new(Book::new(traces)))))
    }

    fn book(&self) -> Option<MutexGuard<'_, Book>> {
        let book = self.0.as_ref()?;
        Some(book.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A request is over.
    pub(crate) fn exchange(&self, it: &Exchange<'_>) {
        let Some(mut book) = self.book() else { return };
        let mut asked = vec![
            ("keyward.provider", it.provider.to_owned()),
            ("keyward.decision", it.decision.to_owned()),
        ];
        asked.extend(it.reason.map(|it| ("keyward.reason", it.to_owned())));
        book.count(Instrument::Requests, asked);
        let Some(operation) = operation(it.path).filter(|_| it.decision == "forwarded") else {
            return;
        };
        let model = it.usage.and_then(|it| it.model.as_deref());
        let mut attributes = book.attributes(operation, it.provider, model);
        attributes.push(("server.address", it.host.to_owned()));
        let failed = it.status.filter(|it| it.as_u16() >= 400);
        let error = it.reason.map(str::to_owned);
        let error = error.or(failed.map(|it| it.as_str().to_owned()));
        if !it.tunnel {
            let mut attributes = attributes.clone();
            attributes.extend(error.clone().map(|it| ("error.type", it)));
            book.measure(Instrument::Duration, attributes, it.duration.as_secs_f64());
        }
        if let Some(first) = it.first_chunk.filter(|_| !it.tunnel) {
            book.measure(
                Instrument::FirstChunk,
                attributes.clone(),
                first.as_secs_f64(),
            );
        }
        book.span(|| Span::new(operation, attributes, error, it));
    }

    /// An answer said what it cost; on a WebSocket, also how long it took.
    pub(crate) fn answer(
        &self,
        (provider, host, path): (&str, &str, &str),
        usage: &Usage,
        duration: Option<Duration>,
    ) {
        let Some(mut book) = self.book() else { return };
        let Some(operation) = operation(path) else {
            return;
        };
        let mut attributes = book.attributes(operation, provider, usage.model.as_deref());
        attributes.push(("server.address", host.to_owned()));
        if let Some(duration) = duration {
            book.measure(
                Instrument::Duration,
                attributes.clone(),
                duration.as_secs_f64(),
            );
        }
        for (kind, count) in [
            ("input", read(&usage.tokens)),
            ("output", written(&usage.tokens)),
        ] {
            let mut attributes = attributes.clone();
            attributes.push(("gen_ai.token.type", kind.to_owned()));
            // Counts of tokens are far below what the type holds exactly.
            book.measure(Instrument::Tokens, attributes, count as f64);
        }
    }

    /// A decision at one of the doors for hosts.
    pub(crate) fn decision(&self, door: &str, verdict: &str, reason: Option<&str>) {
        let Some(mut book) = self.book() else { return };
        let mut attributes: Attributes = vec![
            ("keyward.door", door.to_owned()),
            ("keyward.verdict", verdict.to_owned()),
        ];
        attributes.extend(reason.map(|it| ("keyward.reason", it.to_owned())));
        book.count(Instrument::Decisions, attributes);
    }
}

/// All that was read, from a cache or not: what the conventions mean by input.
const fn read(tokens: &Tokens) -> u64 {
    tokens
        .input
        .saturating_add(tokens.cache_read)
        .saturating_add(tokens.cache_write)
}

/// All that was written, shown or not.
const fn written(tokens: &Tokens) -> u64 {
    tokens.output.saturating_add(tokens.reasoning)
}

/// What the conventions call it. `None`: no model is asked.
fn operation(path: &str) -> Option<&'static str> {
    let end = path.rsplit('/').next().unwrap_or_default();
    let end = end.rsplit(':').next().unwrap_or_default();
    match end {
        "generateContent" | "streamGenerateContent" => Some("generate_content"),
        "embeddings" | "embedContent" | "batchEmbedContents" => Some("embeddings"),
        "messages"
        | "responses"
        | "compact"
        | "converse"
        | "converse-stream"
        | "invoke"
        | "invoke-with-response-stream"
        | "rawPredict"
        | "streamRawPredict" => Some("chat"),
        "completions" if path.ends_with("/chat/completions") => Some("chat"),
        "completions" => Some("text_completion"),
        _ => None,
    }
}

/// What the conventions call a provider.
fn known_as(provider: &str) -> &str {
    match provider {
        "gemini" => "gcp.gemini",
        "vertex" => "gcp.vertex_ai",
        "bedrock" => "aws.bedrock",
        other => other,
    }
}

fn now() -> SystemTime {
    SystemTime::now()
}
