// SPDX-License-Identifier: MIT OR Apache-2.0
//! A stand-in for the model providers: what keyward's demo, tests and benchmarks talk to instead of
//! api.openai.com, api.anthropic.com and the others.
//!
//! It speaks the providers' inference APIs over real TLS (its own certificate authority, HTTP/1.1
//! and HTTP/2 by ALPN, WebSocket where OpenAI has it), refuses every key but the one it was given
//! with the provider's own 401, and records what it was sent. Real clients must be content with it.
//!
//! It is *not* a model, and not a fast web server for anybody else: it answers every prompt with the
//! same text, and it keeps what it is sent, credentials included, because showing which credential
//! arrived is its purpose. Give it made-up keys only.
//!
//! The path of a request, by module: `server` accepts and terminates TLS, `provider` says whose API
//! it is, `auth` checks the key (`sigv4` the signature), `openai`, `anthropic`, `gemini`, `bedrock` (and
//! `compatible`, for Copilot and Azure) write the answer as a `script` of events (or the call of a `tool`), `reply`
//! sends it (for Bedrock in the frames of `event_stream`) at the pace that the [`Behaviour`] asks for, `server::wire` slows it down, cuts it off or
//! puts something `malformed` in its place, `record` keeps what came in.
#![forbid(unsafe_code)]

mod anthropic;
mod auth;
mod authority;
mod bedrock;
mod behaviour;
mod compatible;
mod event_stream;
mod gemini;
mod malformed;
mod openai;
mod options;
mod provider;
mod record;
mod reply;
mod script;
mod server;
mod sigv4;
mod ticker;
mod tool;
mod websocket;

pub use behaviour::{Behaviour, BehaviourError, Cut, Ending};
pub use malformed::Malformed;
pub use options::{Alpn, Options, WebSocketMode};
pub use provider::Provider;
pub use record::Record;
pub use server::{Emulator, Handle, StartError};
pub use sigv4::AccessKey;
pub use tool::Tool;

/// The request header that overrides the [`Behaviour`] for one request, e.g.
/// `x-emulator: events=100, delay-ms=20` or `x-emulator: status=429`.
pub const BEHAVIOUR_HEADER: &str = "x-emulator";
