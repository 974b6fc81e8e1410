// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a request cost, in tokens, and how it is read from an answer that passes.

mod event_stream;
mod fields;
mod json;
mod messages;
mod reader;
mod sse;
#[cfg(test)]
mod tests;

use std::ops::AddAssign;

pub(crate) use self::messages::Messages;
pub use self::reader::Reader;

/// Tokens of one answer, by kind. The kinds do not overlap: what was read from a cache is not counted
/// as input once more, what was thought is not counted as output once more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Read anew.
    pub input: u64,
    /// Written.
    pub output: u64,
    /// Read from the provider's cache.
    pub cache_read: u64,
    /// Written to the provider's cache.
    pub cache_write: u64,
    /// Thought, and not shown.
    pub reasoning: u64,
}

/// What one answer said of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The model that answered, by the provider's name for it.
    pub model: Option<String>,
    /// Its tokens.
    pub tokens: Tokens,
}

/// A kind of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`Tokens::input`].
    Input,
    /// [`Tokens::output`].
    Output,
    /// [`Tokens::cache_read`].
    CacheRead,
    /// [`Tokens::cache_write`].
    CacheWrite,
    /// [`Tokens::reasoning`].
    Reasoning,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::Input,
        Self::Output,
        Self::CacheRead,
        Self::CacheWrite,
        Self::Reasoning,
    ];

    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::CacheRead => "cache_read",
            Self::CacheWrite => "cache_write",
            Self::Reasoning => "reasoning",
        }
    }

    /// Its field in logs.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::Input => "input_tokens",
            Self::Output => "output_tokens",
            Self::CacheRead => "cache_read_tokens",
            Self::CacheWrite => "cache_write_tokens",
            Self::Reasoning => "reasoning_tokens",
        }
    }
}

impl Tokens {
    /// The count of each kind, in the order of [`Kind::ALL`].
    #[must_use]
    pub const fn kinds(&self) -> [(Kind, u64); 5] {
        [
            (Kind::Input, self.input),
            (Kind::Output, self.output),
            (Kind::CacheRead, self.cache_read),
            (Kind::CacheWrite, self.cache_write),
            (Kind::Reasoning, self.reasoning),
        ]
    }
}

impl AddAssign for Tokens {
    fn add_assign(&mut self, more: Self) {
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        add(&mut self.input, more.input);
        add(&mut self.output, more.output);
        add(&mut self.cache_read, more.cache_read);
        add(&mut self.cache_write, more.cache_write);
        add(&mut self.reasoning, more.reasoning);
    }
}
