// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a run may spend, as it is written and checked.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::spend::{Picodollars, Prices, RawPrice, SpendLimits, UnknownModel, Weights};

/// What a run may spend. Absent: not limited.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct RawSpend {
    /// Most inference requests in any 60 seconds, to all providers together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u64>,
    /// Most inference requests in any 3600 seconds, to all providers together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_hour: Option<u64>,
    /// Bytes of bodies, of requests and answers, of all providers together, in any 60 seconds, after which the next request
    /// is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_minute: Option<u64>,
    /// Most inference requests in this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs: Option<u64>,
    /// Most tokens in this run, weighted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// What a token of each kind counts; 1 where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_weights: Option<RawWeights>,
    /// Most US dollars in this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dollars: Option<f64>,
    /// What is done about a model without a price, where dollars are limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_model: Option<UnknownModel>,
    /// Prices of further models, or other ones: US dollars per million tokens.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub prices: BTreeMap<String, RawPrice>,
    /// Most inference requests and WebSockets at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent_requests: Option<u64>,
}

/// What a token of each kind counts.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the kinds are those of `usage::Tokens`")]
pub struct RawWeights {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<f64>,
}

pub(super) fn parse(raw: &RawSpend, faults: &mut Vec<String>) -> SpendLimits {
    for (name, value) in [
        ("requests-per-minute", raw.requests_per_minute),
        ("requests-per-hour", raw.requests_per_hour),
        ("bytes-per-minute", raw.bytes_per_minute),
        ("runs", raw.runs),
        ("tokens", raw.tokens),
        ("concurrent-requests", raw.concurrent_requests),
    ] {
        if value == Some(0) {
            faults.push(format!(
                "spend.{name}: 0 would refuse everything; leave the provider's credential out instead"
            ));
        }
    }
    if raw.tokens.is_none() && raw.token_weights.is_some() {
        faults.push("spend.token-weights: without tokens they have no effect".to_owned());
    }
    if raw.dollars.is_none() && (raw.unknown_model.is_some() || !raw.prices.is_empty()) {
        faults.push(
            "spend.unknown-model, spend.prices: without dollars they have no effect".to_owned(),
        );
    }
    let mut fixed = |at: &str, value: f64, most: f64, digits: u32| {
        if !(0.0..=most).contains(&value) {
            faults.push(format!("spend.{at}: {value} is not between 0 and {most}"));
            return 0;
        }
        // By way of text: it rounds, and cannot overflow in silence.
        let scaled = value * f64::from(10_u32.pow(digits));
        format!("{scaled:.0}").parse().unwrap_or(u64::MAX)
    };
    let given = raw.token_weights.clone().unwrap_or_default();
    let mut weight = |name: &str, value: Option<f64>| {
        value.map_or(1000, |it| {
            fixed(&format!("token-weights.{name}"), it, 1000.0, 3)
        })
    };
    let weights = Weights {
        input: weight("input", given.input),
        output: weight("output", given.output),
        cache_read: weight("cache-read", given.cache_read),
        cache_write: weight("cache-write", given.cache_write),
        reasoning: weight("reasoning", given.reasoning),
    };
    let dollars = raw
        .dollars
        .map(|it| Picodollars(u128::from(fixed("dollars", it, 1_000_000.0, 6)) * 1_000_000));
    if dollars == Some(Picodollars(0)) {
        faults.push("spend.dollars: 0 would refuse everything".to_owned());
    }
    let prices = match dollars {
        Some(_) => Prices::new(&raw.prices, faults),
        None => Prices::default(),
    };
    SpendLimits {
        requests_per_minute: raw.requests_per_minute,
        requests_per_hour: raw.requests_per_hour,
        bytes_per_minute: raw.bytes_per_minute,
        runs: raw.runs,
        tokens: raw.tokens,
        weights,
        dollars,
        unknown_model: raw.unknown_model.unwrap_or_default(),
        prices: Arc::new(prices),
        concurrent_requests: raw.concurrent_requests,
    }
}
