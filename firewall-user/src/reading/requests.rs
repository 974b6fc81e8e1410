// SPDX-License-Identifier: GPL-3.0-or-later
//! What was asked of the providers: by provider and model, and the requests themselves as far as there is room.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::line::Request;
use super::lines::Lines;
use super::spans::Spans;

/// Most pairs of provider and model that are told apart: the workload chooses the model's name.
const MAX_APART: usize = 100;

/// Most requests that are listed one by one.
const MAX_LISTED: usize = 500;

/// The requests at the gateway.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    /// By provider and model.
    pub by_model: BTreeMap<(String, String), ModelTally>,
    /// The first of them, one by one.
    pub listed: Vec<Request>,
    /// All of them.
    pub count: u64,
    /// Lines that could not be read.
    pub unreadable: u64,
}

/// The requests to one provider for one model.
#[derive(Clone, Debug, Default)]
pub struct ModelTally {
    /// How many.
    pub count: u64,
    /// How many were refused by a rule.
    pub denied: u64,
    /// How many failed on the way, or with a status of 400 and more.
    pub failed: u64,
    /// Bytes from the workload.
    pub request_bytes: u64,
    /// Bytes to the workload.
    pub response_bytes: u64,
    /// Tokens that went in, as far as they were counted.
    pub input_tokens: u64,
    /// Tokens that came out, as far as they were counted.
    pub output_tokens: u64,
    /// Tokens read from the provider's cache, as far as they were counted.
    pub cache_read_tokens: u64,
    /// Tokens written to the provider's cache, as far as they were counted.
    pub cache_write_tokens: u64,
    /// Tokens of what was thought and not shown, as far as they were counted.
    pub reasoning_tokens: u64,
    /// From the head to the answer's head.
    pub first_bytes: Spans,
    /// From the head to the end of the answer.
    pub spans: Spans,
}

impl Requests {
    /// Of a whole log. A log that is not there has nothing in it.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut requests = Self::default();
        if let Some(mut lines) = Lines::open(path)? {
            // What else is in this log is passed over without a word.
            lines.for_each(
                |line| Some(Request::parse(line)),
                |line| {
                    line.into_iter().for_each(|it| requests.add(it));
                },
            )?;
            requests.unreadable = lines.unreadable();
        }
        Ok(requests)
    }

    /// All providers and models together.
    pub fn total(&self) -> ModelTally {
        let mut total = ModelTally::default();
        self.by_model.values().for_each(|it| total.merge(it));
        total
    }

    fn add(&mut self, request: Request) {
        self.count += 1;
        let model = request.model.clone().unwrap_or_default();
        let mut key = (request.provider.clone(), model);
        if self.by_model.len() >= MAX_APART && !self.by_model.contains_key(&key) {
            key = (String::new(), "…".to_owned());
        }
        self.by_model.entry(key).or_default().add(&request);
        if self.listed.len() < MAX_LISTED {
            self.listed.push(request);
        }
    }
}

impl ModelTally {
    /// All of the input: read anew, read from the cache and written to it.
    pub fn all_input(&self) -> u64 {
        let anew = self.input_tokens.saturating_add(self.cache_write_tokens);
        anew.saturating_add(self.cache_read_tokens)
    }

    /// All of the output, with what was not shown.
    pub fn all_output(&self) -> u64 {
        self.output_tokens.saturating_add(self.reasoning_tokens)
    }

    /// How much of the input came from the provider's cache, in percent.
    pub fn cache_hits(&self) -> Option<u64> {
        let all = u128::from(self.all_input());
        let percent = (u128::from(self.cache_read_tokens) * 100).checked_div(all)?;
        u64::try_from(percent).ok()
    }

    /// Adds all of another's.
    fn merge(&mut self, other: &Self) {
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        add(&mut self.count, other.count);
        add(&mut self.denied, other.denied);
        add(&mut self.failed, other.failed);
        add(&mut self.request_bytes, other.request_bytes);
        add(&mut self.response_bytes, other.response_bytes);
        add(&mut self.input_tokens, other.input_tokens);
        add(&mut self.output_tokens, other.output_tokens);
        add(&mut self.cache_read_tokens, other.cache_read_tokens);
        add(&mut self.cache_write_tokens, other.cache_write_tokens);
        add(&mut self.reasoning_tokens, other.reasoning_tokens);
        self.first_bytes.merge(&other.first_bytes);
        self.spans.merge(&other.spans);
    }

    fn add(&mut self, request: &Request) {
        self.count += 1;
        let is_denied = request.decision == "denied";
        let is_bad = request.decision == "failed" || request.status.is_some_and(|it| it >= 400);
        self.denied += u64::from(is_denied);
        self.failed += u64::from(is_bad && !is_denied);
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        add(&mut self.request_bytes, request.request_bytes);
        add(&mut self.response_bytes, request.response_bytes);
        add(
            &mut self.input_tokens,
            request.input_tokens.unwrap_or_default(),
        );
        add(
            &mut self.output_tokens,
            request.output_tokens.unwrap_or_default(),
        );
        for (sum, count) in [
            (&mut self.cache_read_tokens, request.cache_read_tokens),
            (&mut self.cache_write_tokens, request.cache_write_tokens),
            (&mut self.reasoning_tokens, request.reasoning_tokens),
        ] {
            add(sum, count.unwrap_or_default());
        }
        request
            .first_byte_ms
            .into_iter()
            .for_each(|it| self.first_bytes.add(it));
        request
            .duration_ms
            .into_iter()
            .for_each(|it| self.spans.add(it));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_model() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), include_str!("samples/requests.jsonl")).unwrap();
        let requests = Requests::read(file.path()).unwrap();
        assert_eq!(requests.count, 5);
        let openai = &requests.by_model[&("openai".to_owned(), String::new())];
        assert_eq!((openai.count, openai.denied, openai.failed), (4, 1, 1));
        assert_eq!(requests.unreadable, 0);
        let total = requests.total();
        assert_eq!(
            (total.count, total.all_input(), total.all_output()),
            (5, 2000, 400)
        );
        assert_eq!(total.cache_hits(), Some(35));
        assert_eq!(openai.cache_hits(), None);
        let p99 = total.first_bytes.percentile(99).unwrap();
        assert!((p99 / 410.0 - 1.0).abs() < 0.02, "{p99}");
    }

    #[test]
    fn a_flood_of_models_is_counted_together() {
        let mut requests = Requests::default();
        for number in 0..1000 {
            requests.add(Request {
                model: Some(format!("m{number}")),
                ..Request::default()
            });
        }
        assert_eq!(requests.by_model.len(), MAX_APART + 1);
        assert_eq!(requests.listed.len(), MAX_LISTED);
        assert_eq!(requests.count, 1000);
    }
}
