// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each fuzz target does with its bytes.
//!
//! Apart from the targets, which only nightly can build, so that the seeds and the corpus are run on every compiler:
//! `proxy/tests/corpus.rs` includes this file.

pub mod client_hello;
pub mod control;
pub mod dns;
pub mod head_guard;
pub mod http_door;
pub mod path;
pub mod policy;
pub mod rules;
pub mod websocket;
