// SPDX-License-Identifier: MIT OR Apache-2.0
//! An answer before it is sent: the events of a stream in order, and where its closing part begins.
//!
//! One script serves server-sent events and WebSocket frames alike: the APIs write the same JSON on
//! both.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::Value;

use crate::event_stream;

/// Tokens as the answer states them. The count is not any model's: a token in is four bytes of the
/// request, a token out is one piece of text, so that sums can be checked exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) input: u64,
    pub(crate) output: u64,
}

impl Usage {
    pub(crate) fn new(request_bytes: usize, pieces: usize) -> Self {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        Self {
            input: count(request_bytes.div_ceil(4)),
            output: count(pieces),
        }
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// The `event:` line, in the APIs that have one.
    name: Option<&'static str>,
    data: String,
}

impl Event {
    pub(crate) fn named(name: &'static str, data: &Value) -> Self {
        Self {
            name: Some(name),
            data: data.to_string(),
        }
    }

    pub(crate) fn unnamed(data: impl ToString) -> Self {
        Self {
            name: None,
            data: data.to_string(),
        }
    }

    /// As a server-sent event.
    pub(crate) fn to_sse(&self) -> Bytes {
        let data = &self.data;
        Bytes::from(match self.name {
            Some(name) => format!("event: {name}\ndata: {data}\n\n"),
            None => format!("data: {data}\n\n"),
        })
    }

    /// As a message of an AWS event stream.
    pub(crate) fn to_frame(&self) -> Bytes {
        event_stream::frame(self.name.unwrap_or("chunk"), &self.data)
    }

    /// The JSON alone.
    pub(crate) fn into_data(self) -> String {
        self.data
    }
}

/// A whole streamed answer.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// All events, in order.
    pub(crate) events: Vec<Event>,
    /// The index of the first event that is sent only if the stream is to end well.
    pub(crate) closing: usize,
    pub(crate) usage: Usage,
}

impl Script {
    /// The events to be sent if the stream ends as `ending` says.
    pub(crate) fn until(mut self, ending: crate::Ending) -> Vec<Event> {
        match ending {
            crate::Ending::Complete => {}
            crate::Ending::Idle | crate::Ending::Cut | crate::Ending::Endless => {
                self.events.truncate(self.closing);
            }
        }
        self.events
    }
}

/// An identifier that this process has not given before.
pub(crate) fn id(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{prefix}{:032x}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Seconds since the epoch.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
