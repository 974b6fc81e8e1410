// SPDX-License-Identifier: MIT OR Apache-2.0
//! How an answer is given: its text, its size, its pace, how it ends, and what is wrong with it.
//!
//! An emulator has one default, and each request may override parts of it with the
//! [`x-emulator`](crate::BEHAVIOUR_HEADER) header, so that one emulator serves a whole test suite.

use std::str::FromStr;
use std::time::Duration;

use http::StatusCode;

use crate::malformed::{self, Malformed};
use crate::tool::Tool;

/// How answers are given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// The text of every answer.
    pub answer: String,
    /// The answer's text is repeated (or cut) to this many bytes.
    pub bytes: Option<usize>,
    /// The text comes in this many pieces when streamed; by default one a word.
    pub events: Option<usize>,
    /// The pause between two events of a stream, or between two writes of [`Self::trickle`].
    pub delay: Duration,
    /// How a stream ends.
    pub ending: Ending,
    /// Answer with this error instead, in the provider's own form.
    pub status: Option<StatusCode>,
    /// Seconds after which the client is to come again, in a `Retry-After` beside the error.
    pub retry_after: Option<u64>,
    /// Call this tool first, if the request offers it.
    pub tool: Option<Tool>,
    /// Write the answer this many bytes at a time, as they are below TLS, head included.
    pub trickle: Option<usize>,
    /// End the connection after this many bytes of the answer, counted in the same way.
    pub cut_after: Option<usize>,
    /// What the cut looks like.
    pub cut: Cut,
    /// Answer with this instead.
    pub malformed: Option<&'static Malformed>,
    /// Read the request's body without looking at it, then answer with [`bytes`](Self::bytes) bytes
    /// that mean nothing, and record nothing: for measuring what is in between.
    pub sink: bool,
    /// Answer with an event stream that has no end, with an event every so long that holds its number
    /// (`sequence_number`) and the time when it was made (`made`, nanoseconds since 1970), and record nothing.
    pub tick: Option<Duration>,
    /// Send each message of a WebSocket back as it is, and record nothing.
    pub echo: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            answer: "Hello from the emulator.".to_owned(),
            bytes: None,
            events: None,
            delay: Duration::ZERO,
            ending: Ending::Complete,
            status: None,
            retry_after: None,
            tool: None,
            trickle: None,
            cut_after: None,
            cut: Cut::Fin,
            malformed: None,
            sink: false,
            tick: None,
            echo: false,
        }
    }
}

/// How a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Ending {
    /// With its closing events.
    #[default]
    Complete,
    /// Not at all: after the last piece of text nothing comes, and the connection stays open.
    Idle,
    /// After the last piece of text the stream is broken off, so that no one can take it for
    /// complete.
    Cut,
    /// Not at all: the last piece of text comes again and again, as fast as the delay allows.
    Endless,
}

/// How a connection ends where an answer is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cut {
    /// TCP ends, TLS does not say goodbye: as when a process dies.
    #[default]
    Fin,
    /// TCP is reset.
    Reset,
    /// TLS says goodbye: nothing but the framing of HTTP tells that something is missing.
    Close,
}

/// A part of an `x-emulator` header that means nothing here.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` is not one of answer=, bytes=, events=, delay-ms=, idle, cut, endless, status=, retry-after=, \
     trickle=, cut-after=, reset, close, malformed=, sink, tick-ms=, echo"
)]
pub struct BehaviourError(String);

impl Behaviour {
    /// This behaviour with the parts that `overrides` names replaced. The form is a list with
    /// commas: `events=10, delay-ms=5, idle`.
    ///
    /// # Errors
    /// A part that is unknown, or whose value does not parse.
    pub fn with(&self, overrides: &str) -> Result<Self, BehaviourError> {
        let mut behaviour = self.clone();
        for part in overrides
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            behaviour
                .apply(part)
                .ok_or_else(|| BehaviourError(part.to_owned()))?;
        }
        Ok(behaviour)
    }

    fn apply(&mut self, part: &str) -> Option<()> {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim())),
            None => (part, None),
        };
        match (name, value) {
            ("answer", Some(text)) => self.answer = text.to_owned(),
            ("bytes", Some(n)) => self.bytes = Some(n.parse().ok()?),
            ("events", Some(n)) => self.events = Some(n.parse().ok()?),
            ("delay-ms", Some(n)) => self.delay = Duration::from_millis(n.parse().ok()?),
            ("status", Some(code)) => self.status = Some(StatusCode::from_str(code).ok()?),
            ("retry-after", Some(n)) => self.retry_after = Some(n.parse().ok()?),
            ("trickle", Some(n)) => self.trickle = Some(n.parse().ok().filter(|n| *n > 0)?),
            ("cut-after", Some(n)) => self.cut_after = Some(n.parse().ok()?),
            ("malformed", Some(name)) => self.malformed = Some(malformed::find(name)?),
            ("idle", None) => self.ending = Ending::Idle,
            ("cut", None) => self.ending = Ending::Cut,
            ("endless", None) => self.ending = Ending::Endless,
            ("reset", None) => self.cut = Cut::Reset,
            ("close", None) => self.cut = Cut::Close,
            ("sink", None) => self.sink = true,
            ("tick-ms", Some(n)) => self.tick = Some(Duration::from_millis(n.parse().ok()?)),
            ("echo", None) => self.echo = true,
            _ => return None,
        }
        Some(())
    }

    /// The whole text of an answer.
    pub(crate) fn text(&self) -> String {
        match self.bytes {
            None => self.answer.clone(),
            Some(bytes) => repeat_to(&self.answer, bytes),
        }
    }

    /// The pieces that the text is streamed in; joined, they are [`Self::text`].
    pub(crate) fn pieces(&self) -> Vec<String> {
        let text = self.text();
        match self.events {
            None => text.split_inclusive(' ').map(str::to_owned).collect(),
            Some(count) => split_evenly(&text, count),
        }
    }
}

/// `text` over and over, up to `bytes` bytes: fewer if a character would have to be cut.
fn repeat_to(text: &str, bytes: usize) -> String {
    let filler = if text.is_empty() { "." } else { text };
    let mut whole = filler.repeat(bytes / filler.len() + 1);
    whole.truncate(whole.floor_char_boundary(bytes));
    whole
}

/// Exactly `count` pieces. Text with fewer characters than that leaves pieces empty, which a stream
/// of events may well have.
fn split_evenly(text: &str, count: usize) -> Vec<String> {
    let mut pieces = Vec::with_capacity(count);
    let mut from = 0;
    for index in 1..=count {
        let to = if index == count {
            text.len()
        } else {
            text.floor_char_boundary(text.len() * index / count)
        };
        pieces.push(text[from..to].to_owned());
        from = to;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_replace_only_what_they_name() {
        let base = Behaviour {
            answer: "hi".into(),
            ..Behaviour::default()
        };
        let changed = base.with("events=3, delay-ms=20,idle").unwrap();
        assert_eq!(
            changed,
            Behaviour {
                events: Some(3),
                delay: Duration::from_millis(20),
                ending: Ending::Idle,
                ..base.clone()
            }
        );
        assert_eq!(base.with(""), Ok(base.clone()));
    }

    #[test]
    fn an_unknown_or_malformed_part_is_refused() {
        for wrong in [
            "event=3",
            "events=three",
            "idle=1",
            "status=9999",
            "events",
            "bytes=-1",
            "trickle=0",
            "malformed=nothing of the kind",
        ] {
            let error = Behaviour::default().with(wrong).unwrap_err();
            assert_eq!(error, BehaviourError(wrong.to_owned()), "{wrong}");
        }
    }

    #[test]
    fn the_pieces_always_make_the_text() {
        for overrides in [
            "",
            "events=1",
            "events=3",
            "events=400",
            "bytes=1000",
            "bytes=7,events=3",
        ] {
            let behaviour = Behaviour {
                answer: "drei schöne Wörter".into(),
                ..Behaviour::default()
            };
            let behaviour = behaviour.with(overrides).unwrap();
            assert_eq!(behaviour.pieces().concat(), behaviour.text(), "{overrides}");
            if let Some(count) = behaviour.events {
                assert_eq!(behaviour.pieces().len(), count, "{overrides}");
            }
        }
    }

    #[test]
    fn size_is_exact_for_ascii() {
        for bytes in [0, 1, 5, 6, 100_000] {
            let behaviour = Behaviour {
                answer: "hello".into(),
                ..Behaviour::default()
            };
            assert_eq!(
                behaviour
                    .with(&format!("bytes={bytes}"))
                    .unwrap()
                    .text()
                    .len(),
                bytes
            );
        }
    }
}
