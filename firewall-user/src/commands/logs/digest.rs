// SPDX-License-Identifier: GPL-3.0-or-later
//! What a run came to, as one JSON document. Fields are added and never renamed: scripts read it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::reading::{
    Advice, Denials, HostTally, PlaceError, Requests, RunLog, Tally, advice, help,
};

/// A whole run.
#[derive(Debug, Serialize)]
pub struct Digest {
    run: String,
    started: Option<String>,
    command: Option<String>,
    user: Option<String>,
    mode: Option<String>,
    status: Option<i64>,
    duration_ms: Option<f64>,
    totals: Sums,
    hosts: Vec<Host>,
    other_denials: Vec<Other>,
    gateway: Vec<Model>,
}

#[derive(Debug, Serialize)]
struct Sums {
    allowed: u64,
    looked_up: u64,
    denied: u64,
    audited: u64,
    failed: u64,
    bytes_up: u64,
    bytes_down: u64,
    lines_lost: u64,
    lines_unreadable: u64,
}

#[derive(Debug, Serialize)]
struct Host {
    host: String,
    ports: Vec<u16>,
    allowed: u64,
    looked_up: u64,
    denied: u64,
    audited: u64,
    failed: u64,
    bytes_up: u64,
    bytes_down: u64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    rules: Vec<Rule>,
    reasons: BTreeMap<String, u64>,
    comms: BTreeMap<String, u64>,
    remedies: Vec<String>,
    advice: Option<String>,
}

#[derive(Debug, Serialize)]
struct Rule {
    rule: String,
    at: String,
}

#[derive(Debug, Serialize)]
struct Other {
    what: String,
    count: u64,
    reason: String,
    comms: BTreeMap<String, u64>,
    advice: Option<String>,
}

#[derive(Debug, Serialize)]
struct Model {
    provider: String,
    model: Option<String>,
    requests: u64,
    denied: u64,
    failed: u64,
    request_bytes: u64,
    response_bytes: u64,
    input_tokens: u64,
    output_tokens: u64,
    cache_read_tokens: u64,
    cache_write_tokens: u64,
    reasoning_tokens: u64,
    first_byte_p50_ms: Option<f64>,
    first_byte_p99_ms: Option<f64>,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

/// Reads both logs of a run.
pub(crate) fn read(log: &RunLog) -> Result<(Tally, Requests), PlaceError> {
    let (audit, requests) = (log.audit(), log.requests());
    let tally = Tally::read(&audit).map_err(|error| PlaceError::at(&audit, error))?;
    let requests = Requests::read(&requests).map_err(|error| PlaceError::at(&requests, error))?;
    Ok((tally, requests))
}

/// How long a run took, as far as its log tells.
pub(crate) fn duration(tally: &Tally) -> Option<f64> {
    let told = tally.end.as_deref().and_then(|line| line.duration_ms);
    told.or_else(|| {
        let span = tally.last?.duration_since(tally.first?);
        Some(span.as_secs_f64() * 1000.0)
    })
}

impl Digest {
    /// Of what was read.
    pub fn new(run: &str, tally: &Tally, requests: &Requests) -> Self {
        let start = tally.start.as_deref();
        let totals = &tally.totals;
        Self {
            run: run.to_owned(),
            started: tally.first.map(|time| time.to_string()),
            command: start.and_then(|line| line.program.clone()),
            user: start.and_then(|line| line.user.clone()),
            mode: start.and_then(|line| line.mode.clone()),
            status: tally.end.as_deref().and_then(|line| line.status),
            duration_ms: duration(tally),
            totals: Sums {
                allowed: totals.allowed,
                looked_up: totals.looked_up,
                denied: totals.denied,
                audited: totals.audited,
                failed: totals.failed,
                bytes_up: totals.bytes_up,
                bytes_down: totals.bytes_down,
                lines_lost: tally.lost,
                lines_unreadable: tally.unreadable,
            },
            hosts: tally
                .hosts
                .iter()
                .map(|(name, host)| Host::new(name, host))
                .collect(),
            other_denials: others(tally),
            gateway: models(requests),
        }
    }

    /// As JSON, in one line.
    pub fn json(&self) -> serde_json::Result<String> {
        Ok(crate::reading::Shown::in_json(&serde_json::to_string(
            self,
        )?))
    }
}

impl Host {
    fn new(name: &str, host: &HostTally) -> Self {
        // What was denied is what people want to change; what would have been denied comes next.
        let denials = [&host.denied, &host.audited, &host.failed];
        let worst = denials.into_iter().find(|it| it.attempts() > 0);
        let mut reasons = BTreeMap::new();
        for (reason, tally) in denials.into_iter().flat_map(|it| &it.reasons) {
            *reasons.entry(reason.clone()).or_default() += tally.count;
        }
        Self {
            host: name.to_owned(),
            ports: host.ports.iter().copied().collect(),
            allowed: host.allowed,
            looked_up: host.looked_up,
            denied: host.denied.attempts(),
            audited: host.audited.answered_attempts(),
            failed: host.failed.attempts(),
            bytes_up: host.bytes_up,
            bytes_down: host.bytes_down,
            p50_ms: host.spans.percentile(50),
            p99_ms: host.spans.percentile(99),
            rules: host
                .rules
                .iter()
                .map(|(rule, at)| Rule {
                    rule: rule.clone(),
                    at: at.clone(),
                })
                .collect(),
            reasons,
            comms: host.comms.clone(),
            remedies: worst
                .map(|it| it.remedies().iter().cloned().collect())
                .unwrap_or_default(),
            advice: worst.and_then(in_words),
        }
    }
}

fn others(tally: &Tally) -> Vec<Other> {
    let things = tally.worst_things().into_iter();
    things
        .map(|(thing, tally)| Other {
            what: thing.what(),
            count: tally.count,
            reason: thing.reason.clone(),
            comms: tally.comms.clone(),
            advice: help(thing, tally).map(words),
        })
        .collect()
}

fn models(requests: &Requests) -> Vec<Model> {
    let models = requests.by_model.iter();
    models
        .map(|((provider, model), tally)| Model {
            provider: provider.clone(),
            model: (!model.is_empty()).then(|| model.clone()),
            requests: tally.count,
            denied: tally.denied,
            failed: tally.failed,
            request_bytes: tally.request_bytes,
            response_bytes: tally.response_bytes,
            input_tokens: tally.input_tokens,
            output_tokens: tally.output_tokens,
            cache_read_tokens: tally.cache_read_tokens,
            cache_write_tokens: tally.cache_write_tokens,
            reasoning_tokens: tally.reasoning_tokens,
            first_byte_p50_ms: tally.first_bytes.percentile(50),
            first_byte_p99_ms: tally.first_bytes.percentile(99),
            p50_ms: tally.spans.percentile(50),
            p99_ms: tally.spans.percentile(99),
        })
        .collect()
}

/// What to do about denials, in one line.
pub(crate) fn in_words(denials: &Denials) -> Option<String> {
    advice(denials).map(words)
}

pub(crate) fn words(advice: Advice) -> String {
    match advice {
        Advice::Allow { flag, .. } => flag,
        Advice::Note(note) => note,
    }
}
