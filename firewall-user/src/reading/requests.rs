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
