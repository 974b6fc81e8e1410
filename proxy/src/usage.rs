// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a request cost, in tokens, and how it is read from an answer that passes.

mod decode;
mod event_stream;
mod fields;
mod json;
mod messages;
mod reader;
mod sse;
#[cfg(test)]
mod tests;

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
