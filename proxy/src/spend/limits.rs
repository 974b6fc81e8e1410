// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a run may spend, checked.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Picodollars, Prices};
use crate::usage::Tokens;

/// What a run may spend, at all providers together. `None`: not limited.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpendLimits {
    /// Inference requests in any 60 seconds.
    pub requests_per_minute: Option<u64>,
    /// Inference requests in any 3600 seconds.
    pub requests_per_hour: Option<u64>,
    /// Bytes of bodies in any 60 seconds.
    pub bytes_per_minute: Option<u64>,
    /// Inference requests in all.
    pub runs: Option<u64>,
    /// Tokens in all, weighted.
    pub tokens: Option<u64>,
    /// What a token counts.
    pub weights: Weights,
    /// Money in all.
    pub dollars: Option<Picodollars>,
    /// What is done about a model without a price.
    pub unknown_model: UnknownModel,
    /// What models cost.
    pub prices: Arc<Prices>,
    /// Requests and WebSockets at a time.
    pub concurrent_requests: Option<u64>,
}

/// What is done about a model without a price.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownModel {
    /// It is refused.
    #[default]
    Refuse,
    /// It counts as much as the dearest that is known.
    Dearest,
}

/// Thousandths of what a token of each kind counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the kinds are those of `usage::Tokens`")]
pub struct Weights {
    pub input: u64,
    pub output: u64,
    pub cache_read: u64,
    pub cache_write: u64,
    pub reasoning: u64,
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            input: 1000,
            output: 1000,
            cache_read: 1000,
            cache_write: 1000,
            reasoning: 1000,
        }
    }
}

impl Weights {
    /// Thousandths of weighted tokens.
    pub(super) fn of(&self, tokens: &Tokens) -> u128 {
        let part = |count: u64, weight: u64| u128::from(count) * u128::from(weight);
        part(tokens.input, self.input)
            + part(tokens.output, self.output)
            + part(tokens.cache_read, self.cache_read)
            + part(tokens.cache_write, self.cache_write)
            + part(tokens.reasoning, self.reasoning)
    }
}

impl SpendLimits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requests_per_minute.is_none()
            && self.requests_per_hour.is_none()
            && self.bytes_per_minute.is_none()
            && self.runs.is_none()
            && self.tokens.is_none()
            && self.dollars.is_none()
            && self.concurrent_requests.is_none()
    }
}
