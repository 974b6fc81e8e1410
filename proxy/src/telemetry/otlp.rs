// SPDX-License-Identifier: MIT OR Apache-2.0
//! OTLP's JSON: field names in camel case, identifiers in hexadecimal digits, 64-bit integers as text.

use std::{
    fmt::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use super::book::{AllSeries, Attributes, Instrument, Series, Span};

/// Sums and buckets since the beginning, each time.
const CUMULATIVE: u8 = 2;

/// A span of who asks another.
const CLIENT: u8 = 3;

const ERROR: u8 = 2;

/// Who tells.
pub(super) struct Source<'a> {
    pub(super) run: Option<&'a str>,
}

impl Source<'_> {
    fn resource(&self) -> Value {
        let mut attributes = vec![
            attribute("service.name", "keyward-proxy"),
            attribute("service.version", env!("CARGO_PKG_VERSION")),
        ];
        attributes.extend(self.run.map(|it| attribute("keyward.run", it)));
        json!({ "attributes": attributes })
    }

    /// The body of a request to `/v1/metrics`.
    pub(super) fn metrics(&self, all: &AllSeries, (began, now): (SystemTime, SystemTime)) -> Value {
        let times = (nanoseconds(began), nanoseconds(now));
        let mut metrics: Vec<(Instrument, Vec<Value>)> = Vec::new();
        for ((instrument, attributes), series) in all {
            let point = point(*instrument, attributes, series, &times);
            match metrics.last_mut().filter(|it| it.0 == *instrument) {
                Some((_, points)) => points.push(point),
                None => metrics.push((*instrument, vec![point])),
            }
        }
        let metrics: Vec<Value> = metrics
            .into_iter()
            .map(|(instrument, points)| metric(instrument, &points))
            .collect();
        json!({ "resourceMetrics": [{
            "resource": self.resource(),
            "scopeMetrics": [{ "scope": scope(), "metrics": metrics }],
        }] })
    }

    /// The body of a request to `/v1/traces`.
    pub(super) fn traces(&self, spans: &[Span]) -> Value {
        let spans: Vec<Value> = spans.iter().map(span).collect();
        json!({ "resourceSpans": [{
            "resource": self.resource(),
            "scopeSpans": [{ "scope": scope(), "spans": spans }],
        }] })
    }
}

fn scope() -> Value {
    json!({ "name": "keyward", "version": env!("CARGO_PKG_VERSION") })
}

fn metric(instrument: Instrument, points: &[Value]) -> Value {
    let (name, unit) = (instrument.name(), instrument.unit());
    match instrument.bounds() {
        [] => json!({ "name": name, "unit": unit, "sum": {
            "aggregationTemporality": CUMULATIVE, "isMonotonic": true, "dataPoints": points,
        } }),
        _ => json!({ "name": name, "unit": unit, "histogram": {
            "aggregationTemporality": CUMULATIVE, "dataPoints": points,
        } }),
    }
}

fn point(
    instrument: Instrument,
    attributes: &Attributes,
    series: &Series,
    (began, now): &(String, String),
) -> Value {
    let attributes: Vec<Value> = attributes.iter().map(|it| attribute(it.0, &it.1)).collect();
    let count = series.count.to_string();
    let bounds = instrument.bounds();
    if bounds.is_empty() {
        return json!({
            "attributes": attributes, "startTimeUnixNano": began, "timeUnixNano": now, "asInt": count,
        });
    }
    let buckets: Vec<String> = series.buckets.iter().map(u64::to_string).collect();
    json!({
        "attributes": attributes, "startTimeUnixNano": began, "timeUnixNano": now, "count": count,
        "sum": series.sum, "bucketCounts": buckets, "explicitBounds": bounds,
    })
}

fn span(it: &Span) -> Value {
    let texts = it.attributes.iter().map(|it| attribute(it.0, &it.1));
    let numbers = it.numbers.iter();
    let numbers = numbers
        .map(|(key, number)| json!({ "key": key, "value": { "intValue": number.to_string() } }));
    let attributes: Vec<Value> = texts.chain(numbers).collect();
    let mut span = json!({
        "traceId": digits(&it.trace), "spanId": digits(&it.id), "name": it.name, "kind": CLIENT,
        "startTimeUnixNano": nanoseconds(it.begin), "endTimeUnixNano": nanoseconds(it.end),
        "attributes": attributes,
    });
    if it.error.is_some()
        && let Some(span) = span.as_object_mut()
    {
        span.insert("status".to_owned(), json!({ "code": ERROR }));
    }
    span
}

fn attribute(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, it| {
        // Writing into memory does not fail.
        write!(text, "{it:02x}").unwrap_or_default();
        text
    })
}

fn nanoseconds(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos().to_string()
}
