// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counters, and the two ways in which they are read.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
};

use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    provider::{Provider, Providers},
    refusal::{Fault, Refusal, UpstreamFault},
    usage::{Kind, Tokens},
};

/// Counters of the whole proxy.
#[derive(Debug)]
pub(crate) struct Metrics {
    table: Providers,
    /// One for each row of the provider table, in its order.
    providers: Vec<Counters>,
    /// One for each name in the lists of reasons.
    refusals: Vec<AtomicU64>,
    upstream_faults: Vec<AtomicU64>,
}

#[derive(Debug, Default)]
struct Counters {
    active: AtomicI64,
    /// Answers by the first digit of their status, 1 to 5; at 0, requests without an answer.
    answers: [AtomicU64; 6],
    request_bytes: AtomicU64,
    response_bytes: AtomicU64,
    /// By kind, in the order of `Kind::ALL`.
    tokens: [AtomicU64; Kind::ALL.len()],
}

impl Metrics {
    pub(crate) fn new(table: &Providers) -> Self {
        Self {
            table: table.clone(),
            providers: table.iter().map(|_| Counters::default()).collect(),
            refusals: Refusal::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            upstream_faults: UpstreamFault::ALL
                .iter()
                .map(|_| AtomicU64::new(0))
                .collect(),
        }
    }

    /// A request began.
    pub(crate) fn begin(&self, provider: &Provider) {
        if let Some(counters) = self.of(provider) {
            counters.active.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A request ended.
    pub(crate) fn end(
        &self,
        provider: &Provider,
        status: Option<StatusCode>,
        fault: Option<Fault>,
        received: u64,
        sent: u64,
    ) {
        if let Some(counters) = self.of(provider) {
            counters.active.fetch_sub(1, Ordering::Relaxed);
            let class = usize::from(status.map_or(0, |it| it.as_u16() / 100));
            if let Some(answers) = counters.answers.get(class) {
                answers.fetch_add(1, Ordering::Relaxed);
            }
            counters
                .request_bytes
                .fetch_add(received, Ordering::Relaxed);
            counters.response_bytes.fetch_add(sent, Ordering::Relaxed);
        }
        let counter = match fault {
            Some(Fault::Downstream(refusal)) => Refusal::ALL
                .iter()
                .position(|it| *it == refusal)
                .and_then(|at| self.refusals.get(at)),
            Some(Fault::Upstream(fault)) => UpstreamFault::ALL
                .iter()
                .position(|it| *it == fault)
                .and_then(|at| self.upstream_faults.get(at)),
            Some(Fault::Internal(_)) | None => None,
        };
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// An answer said what it cost.
    pub(crate) fn spend(&self, provider: &Provider, tokens: &Tokens) {
        if let Some(counters) = self.of(provider) {
            for (counter, (_, count)) in counters.tokens.iter().zip(tokens.kinds()) {
                counter.fetch_add(count, Ordering::Relaxed);
            }
        }
    }

    fn of(&self, provider: &Provider) -> Option<&Counters> {
        let at = self.table.iter().position(|it| it.port == provider.port)?;
        self.providers.get(at)
    }

    /// Names and counts of the reasons that occurred.
    fn reasons(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let refusals = Refusal::ALL.iter().map(|it| it.name()).zip(&self.refusals);
        let faults = UpstreamFault::ALL
            .iter()
            .map(|it| it.name())
            .zip(&self.upstream_faults);
        let counts = refusals.chain(faults);
        counts
            .map(|(name, count)| (name, load(count)))
            .filter(|it| it.1 > 0)
    }

    /// Totals over all providers.
    pub(crate) fn summary(&self) -> Value {
        let sum = |of: fn(&Counters) -> u64| self.providers.iter().map(of).sum::<u64>();
        let active: i64 = self
            .providers
            .iter()
            .map(|it| it.active.load(Ordering::Relaxed))
            .sum();
        json!({
            "total_requests": sum(|it| it.answers.iter().map(load).sum()),
            "total_errors": sum(|it| it.answers.iter().skip(4).map(load).sum()),
            "active_requests": active,
            "request_bytes": sum(|it| load(&it.request_bytes)),
            "response_bytes": sum(|it| load(&it.response_bytes)),
        })
    }

    /// Everything, as JSON.
    pub(crate) fn json(&self) -> Value {
        let rows = self
            .table
            .iter()
            .zip(&self.providers)
            .map(|(provider, counters)| {
                let answers: Vec<u64> = counters.answers.iter().map(load).collect();
                let tokens = Kind::ALL.iter().zip(&counters.tokens);
                let tokens: serde_json::Map<String, Value> = tokens
                    .map(|(kind, count)| (kind.name().to_owned(), load(count).into()))
                    .collect();
                let row = json!({
                    "tokens": tokens,
                    "active": counters.active.load(Ordering::Relaxed),
                    "unanswered": answers.first(),
                    "1xx": answers.get(1), "2xx": answers.get(2), "3xx": answers.get(3),
                    "4xx": answers.get(4), "5xx": answers.get(5),
                    "request_bytes": load(&counters.request_bytes),
                    "response_bytes": load(&counters.response_bytes),
                });
                (provider.name.clone(), row)
            });
        let providers: serde_json::Map<String, Value> = rows.collect();
        let reasons: serde_json::Map<String, Value> = self
            .reasons()
            .map(|(name, count)| (name.to_owned(), count.into()))
            .collect();
        json!({ "summary": self.summary(), "providers": providers, "reasons": reasons })
    }

    /// Everything, as Prometheus text.
    pub(crate) fn prometheus(&self) -> String {
        let mut out = String::with_capacity(4096);
        let mut family = |name: &str, kind: &str, help: &str, lines: &[(String, i128)]| {
            // Writing into memory does not fail.
            writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}").unwrap_or_default();
            for (labels, value) in lines {
                writeln!(out, "{name}{{{labels}}} {value}").unwrap_or_default();
            }
        };
        let rows = || self.table.iter().zip(&self.providers);
        let label = |provider: &Provider| format!("provider=\"{}\"", provider.name);
        let each = |of: fn(&Counters) -> i128| -> Vec<(String, i128)> {
            rows()
                .map(|(provider, counters)| (label(provider), of(counters)))
                .collect()
        };
        let classes = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
        let answers = rows().flat_map(|(provider, counters)| {
            classes
                .iter()
                .zip(&counters.answers)
                .map(move |(class, count)| {
                    (
                        format!("{},status=\"{class}\"", label(provider)),
                        i128::from(load(count)),
                    )
                })
        });
        let answers: Vec<_> = answers.collect();
        family(
            "keyward_requests_total",
            "counter",
            "Requests by class of answer.",
            &answers,
        );
        let active = each(|it| i128::from(it.active.load(Ordering::Relaxed)));
        family(
            "keyward_requests_active",
            "gauge",
            "Requests under way.",
            &active,
        );
        let received = each(|it| i128::from(load(&it.request_bytes)));
        family(
            "keyward_request_bytes_total",
            "counter",
            "Bytes of request bodies.",
            &received,
        );
        let sent = each(|it| i128::from(load(&it.response_bytes)));
        family(
            "keyward_response_bytes_total",
            "counter",
            "Bytes of answer bodies.",
            &sent,
        );
        let tokens = rows().flat_map(|(provider, counters)| {
            let kinds = Kind::ALL.iter().zip(&counters.tokens);
            kinds.map(move |(kind, count)| {
                (
                    format!("{},kind=\"{}\"", label(provider), kind.name()),
                    i128::from(load(count)),
                )
            })
        });
        let tokens: Vec<_> = tokens.collect();
        family(
            "keyward_tokens_total",
            "counter",
            "Tokens that answers said they cost, by kind; the kinds do not overlap.",
            &tokens,
        );
        let reasons: Vec<_> = self
            .reasons()
            .map(|(name, count)| (format!("reason=\"{name}\""), i128::from(count)))
            .collect();
        family(
            "keyward_refusals_total",
            "counter",
            "Requests not served, by reason.",
            &reasons,
        );
        out
    }
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
