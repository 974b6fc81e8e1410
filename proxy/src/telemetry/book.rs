// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers since the start, by what they measure and of what; and the spans that were not sent yet.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::SystemTime,
};

use super::{Exchange, known_as, now, read, written};

/// Most series: what tells them apart is chosen by providers and the workload.
const MOST_SERIES: usize = 2000;

/// Most models that are told apart, and the longest name of one; all others are one.
const MOST_MODELS: usize = 100;
const LONGEST_MODEL: usize = 128;
const OTHER: &str = "_OTHER";

/// Most spans that wait.
pub(super) const MOST_SPANS: usize = 2048;

pub(super) type Attributes = Vec<(&'static str, String)>;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Instrument {
    Tokens,
    Duration,
    FirstChunk,
    Requests,
    Decisions,
    Dropped,
}

/// Buckets as the conventions want them.
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
const SECONDS: [f64; 14] = [
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];

impl Instrument {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Tokens => "gen_ai.client.token.usage",
            Self::Duration => "gen_ai.client.operation.duration",
            Self::FirstChunk => "gen_ai.client.operation.time_to_first_chunk",
            Self::Requests => "keyward.requests",
            Self::Decisions => "keyward.decisions",
            Self::Dropped => "keyward.telemetry.dropped",
        }
    }

    pub(super) const fn unit(self) -> &'static str {
        match self {
            Self::Tokens => "{token}",
            Self::Duration | Self::FirstChunk => "s",
            Self::Requests => "{request}",
            Self::Decisions => "{decision}",
            Self::Dropped => "{item}",
        }
    }

    /// Upper bounds of its buckets; none of a counter.
    pub(super) const fn bounds(self) -> &'static [f64] {
        match self {
            Self::Tokens => &TOKENS,
            Self::Duration | Self::FirstChunk => &SECONDS,
            Self::Requests | Self::Decisions | Self::Dropped => &[],
        }
    }
}

/// One series. Of a counter, `count` is all there is.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    pub(super) count: u64,
    pub(super) sum: f64,
    /// One more than there are bounds.
    pub(super) buckets: Vec<u64>,
}

pub(super) type AllSeries = BTreeMap<(Instrument, Attributes), Series>;

/// A request, from its head to the end of its answer.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) trace: [u8; 16],
    pub(super) id: [u8; 8],
    pub(super) name: String,
    pub(super) begin: SystemTime,
    pub(super) end: SystemTime,
    pub(super) attributes: Attributes,
    pub(super) numbers: Vec<(&'static str, u64)>,
    pub(super) error: Option<String>,
}

impl Span {
    pub(super) fn new(
        operation: &str,
        mut attributes: Attributes,
        error: Option<String>,
        it: &Exchange<'_>,
    ) -> Self {
        let end = now();
        let model = attributes.iter().find(|it| it.0 == MODEL);
        let name = match model {
            Some((_, model)) => format!("{operation} {model}"),
            None => operation.to_owned(),
        };
        attributes.push(("keyward.request_id", it.request_id.to_owned()));
        attributes.extend(error.clone().map(|it| ("error.type", it)));
        let mut numbers = Vec::new();
        numbers.extend(
            it.status
                .map(|it| ("http.response.status_code", u64::from(it.as_u16()))),
        );
        if let Some(usage) = it.usage {
            numbers.push(("gen_ai.usage.input_tokens", read(&usage.tokens)));
            numbers.push(("gen_ai.usage.output_tokens", written(&usage.tokens)));
        }
        let mut id = [0; 8];
        for (to, from) in id.iter_mut().zip(uuid::Uuid::new_v4().into_bytes()) {
            *to = from;
        }
        Self {
            trace: uuid::Uuid::new_v4().into_bytes(),
            id,
            name,
            begin: end.checked_sub(it.duration).unwrap_or(end),
            end,
            attributes,
            numbers,
            error,
        }
    }
}

const MODEL: &str = "gen_ai.response.model";

/// Everything that was not sent, or is sent each time.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) began: SystemTime,
    pub(super) series: AllSeries,
    models: BTreeSet<String>,
    spans: Option<VecDeque<Span>>,
}

impl Book {
    pub(super) fn new(traces: bool) -> Self {
        Self {
            began: now(),
            series: BTreeMap::new(),
            models: BTreeSet::new(),
            spans: traces.then(VecDeque::new),
        }
    }

    /// What every measurement of an operation has.
    pub(super) fn attributes(
        &mut self,
        operation: &str,
        provider: &str,
        model: Option<&str>,
    ) -> Attributes {
        let mut attributes = vec![
            ("gen_ai.operation.name", operation.to_owned()),
            ("gen_ai.provider.name", known_as(provider).to_owned()),
        ];
        attributes.extend(model.map(|it| (MODEL, self.model(it).to_owned())));
        attributes
    }

    fn model<'a>(&mut self, name: &'a str) -> &'a str {
        if self.models.contains(name) {
            return name;
        }
        if name.len() > LONGEST_MODEL || self.models.len() >= MOST_MODELS {
            return OTHER;
        }
        self.models.insert(name.to_owned());
        name
    }

    pub(super) fn count(&mut self, instrument: Instrument, attributes: Attributes) {
        if let Some(series) = self.series(instrument, attributes) {
            series.count += 1;
        }
    }

    pub(super) fn measure(&mut self, instrument: Instrument, attributes: Attributes, value: f64) {
        let bounds = instrument.bounds();
        let at = bounds.iter().take_while(|it| value > **it).count();
        let Some(series) = self.series(instrument, attributes) else {
            return;
        };
        series.count += 1;
        series.sum += value;
        series.buckets.resize(bounds.len() + 1, 0);
        if let Some(bucket) = series.buckets.get_mut(at) {
            *bucket += 1;
        }
    }

    /// `None`: there are too many, which is counted.
    fn series(&mut self, instrument: Instrument, attributes: Attributes) -> Option<&mut Series> {
        let key = (instrument, attributes);
        if self.series.len() >= MOST_SERIES && !self.series.contains_key(&key) {
            self.drop_some("measurement", 1);
            return None;
        }
        Some(self.series.entry(key).or_default())
    }

    pub(super) fn drop_some(&mut self, what: &'static str, count: u64) {
        let key = (Instrument::Dropped, vec![("keyward.item", what.to_owned())]);
        self.series.entry(key).or_default().count += count;
    }

    /// A request is over, if spans are asked for.
    pub(super) fn span(&mut self, make: impl FnOnce() -> Span) {
        let Some(spans) = &mut self.spans else { return };
        if spans.len() < MOST_SPANS {
            spans.push_back(make());
        } else {
            self.drop_some("span", 1);
        }
    }

    /// The oldest spans, no more than so many.
    pub(super) fn take_spans(&mut self, most: usize) -> Vec<Span> {
        let spans = self.spans.iter_mut();
        spans
            .flat_map(|it| it.drain(..most.min(it.len())))
            .collect()
    }

    /// Those that were not taken may be another time, as far as there is room.
    pub(super) fn give_back(&mut self, not_sent: Vec<Span>) {
        let Some(spans) = &mut self.spans else { return };
        let room = MOST_SPANS.saturating_sub(spans.len());
        let lost = not_sent.len().saturating_sub(room);
        for span in not_sent.into_iter().skip(lost).rev() {
            spans.push_front(span);
        }
        if lost > 0 {
            self.drop_some("span", u64::try_from(lost).unwrap_or(u64::MAX));
        }
    }
}
