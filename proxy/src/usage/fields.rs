// SPDX-License-Identifier: MIT OR Apache-2.0
//! What providers call their numbers, and what the numbers mean.
//!
//! The names of one family do not occur in another with another meaning, so they are read by what they
//! are and not by whose answer it is: a provider may speak more than one family's language.

use super::{Tokens, Usage};

/// Numbers as an answer has them. Of each, the last one that was said counts: streams repeat them as
/// they grow, and say each where it is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    model: Option<String>,
    /// All of the input, or what is left of it without the caches, by the family.
    input: Option<u64>,
    output: Option<u64>,
    total: Option<u64>,
    /// Part of the input.
    input_cached: Option<u64>,
    /// Part of the input.
    input_written: Option<u64>,
    /// Beside the input.
    cache_read: Option<u64>,
    /// Beside the input.
    cache_write: Option<u64>,
    /// Beside the input.
    tools: Option<u64>,
    /// Part of the output, for all but a few.
    reasoning: Option<u64>,
    /// Beside the output.
    thoughts: Option<u64>,
}

impl Fields {
    /// An account begins, at `key`.
    pub(super) fn begin(&mut self, key: &[u8]) {
        // Gemini's is whole each time, and leaves out what is zero.
        if key == b"usageMetadata" {
            let model = self.model.take();
            *self = Self {
                model,
                ..Self::default()
            };
        }
    }

    pub(super) fn set_model(&mut self, name: &str) {
        if self.model.as_deref() != Some(name) {
            self.model = Some(name.to_owned());
        }
    }

    pub(super) fn set(&mut self, key: &[u8], number: u64) {
        let field = match key {
            b"input_tokens" | b"prompt_tokens" | b"promptTokenCount" | b"inputTokens"
            | b"inputTokenCount" => &mut self.input,
            b"output_tokens"
            | b"completion_tokens"
            | b"candidatesTokenCount"
            | b"responseTokenCount"
            | b"outputTokens"
            | b"outputTokenCount" => &mut self.output,
            b"total_tokens" => &mut self.total,
            b"cachedContentTokenCount" => &mut self.input_cached,
            b"cache_read_input_tokens" | b"cacheReadInputTokens" | b"cacheReadInputTokenCount" => {
                &mut self.cache_read
            }
            b"cache_creation_input_tokens"
            | b"cacheWriteInputTokens"
            | b"cacheWriteInputTokenCount" => &mut self.cache_write,
            b"toolUsePromptTokenCount" => &mut self.tools,
            b"thoughtsTokenCount" => &mut self.thoughts,
            _ => return,
        };
        *field = Some(number);
    }

    pub(super) fn set_input_detail(&mut self, key: &[u8], number: u64) {
        match key {
            b"cached_tokens" => self.input_cached = Some(number),
            b"cache_write_tokens" => self.input_written = Some(number),
            _ => {}
        }
    }

    pub(super) fn set_output_detail(&mut self, key: &[u8], number: u64) {
        if key == b"reasoning_tokens" {
            self.reasoning = Some(number);
        }
    }

    /// What it comes to; `None` if nothing was said.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.input.or(self.output)?;
        let of = |field: Option<u64>| field.unwrap_or_default();
        let (cached, written) = (of(self.input_cached), of(self.input_written));
        let input = of(self.input).saturating_sub(cached.saturating_add(written));
        let (output, reasoning) = (of(self.output), of(self.reasoning));
        // A few that speak chat completions count what was thought beside what was written.
        let sum = of(self.input).saturating_add(output);
        let beside = reasoning > output || self.total == Some(sum.saturating_add(reasoning));
        let output = match beside {
            true => output,
            false => output.saturating_sub(reasoning),
        };
        let tokens = Tokens {
            input: input.saturating_add(of(self.tools)),
            output,
            // Some say it both ways; it is the same number.
            cache_read: self.input_cached.unwrap_or(of(self.cache_read)),
            cache_write: self.input_written.unwrap_or(of(self.cache_write)),
            reasoning: reasoning.saturating_add(of(self.thoughts)),
        };
        Some(Usage {
            model: self.model.clone(),
            tokens,
        })
    }

    /// The model alone, where there is no account.
    pub(super) fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }
}
