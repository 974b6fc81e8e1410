// SPDX-License-Identifier: MIT OR Apache-2.0
//! The load client: HTTP/1.1, keep-alive, one thread, raw sockets. It is the same for every
//! contestant, and cheap enough not to be what is measured.

mod closed_loop;
mod connection;
mod events;
mod message;
mod response;

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;

pub(crate) use self::closed_loop::{Load, closed_loop};
pub(crate) use self::connection::Connection;
pub(crate) use self::events::{Arrivals, Streams};

/// Where requests go.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// For the emulator itself, which speaks TLS only.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// One request, ready to be written.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    bytes: Vec<u8>,
    answer: Answer,
}

/// How the answer to a request ends.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// As a response of HTTP says.
    Http,
    /// After so many bytes.
    Sized(u64),
}

impl Request {
    /// A `POST` as an agent sends it, with the credential it has. `wish` is the emulator's
    /// behaviour.
    pub(crate) fn post(path: &str, credential: &str, wish: &str, body: &[u8]) -> Self {
        let head = format!(
            "POST {path} HTTP/1.1\r\n\
             Host: api.openai.com\r\n\
             User-Agent: keyward-bench\r\n\
             Accept: application/json\r\n\
             Authorization: Bearer {credential}\r\n\
             Content-Type: application/json\r\n\
             Content-Length: {}\r\n\
             X-Emulator: {wish}\r\n\r\n",
            body.len(),
        );
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        Self {
            bytes,
            answer: Answer::Http,
        }
    }
}
