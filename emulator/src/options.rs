// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an emulator is started with. Nothing here is read from the environment: the binary does that.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::{AccessKey, Behaviour, Provider};

/// How the emulator is to listen, whom it lets in, and what it keeps.
#[derive(Clone, Debug)]
pub struct Options {
    /// Addresses to listen on; port 0 takes a free one. They are bound on the calling thread, so
    /// in the caller's network namespace.
    pub listen: Vec<SocketAddr>,
    /// Further names and addresses for the certificate, besides those of the
    /// providers, localhost, 127.0.0.1 and `::1`.
    pub names: Vec<String>,
    /// The only key that OpenAI's API accepts.
    pub openai_key: String,
    /// The only key that Anthropic's API accepts.
    pub anthropic_key: String,
    /// The only key that each of the others accepts. One without a key lets nobody in.
    pub more_keys: BTreeMap<Provider, String>,
    /// The only AWS access key whose signatures Bedrock accepts, besides its key there. Without one it accepts none.
    pub access_key: Option<AccessKey>,
    /// What a WebSocket handshake gets.
    pub websocket: WebSocketMode,
    /// Which protocols are offered by ALPN.
    pub alpn: Alpn,
    /// What every answer looks like unless the request says otherwise.
    pub behaviour: Behaviour,
    /// What the first requests for an answer get instead, in order: each as in an `x-emulator` header.
    /// (A request for an answer is a POST with the right key, elsewhere than at Copilot's tools.)
    pub first: Vec<String>,
    /// Keep records in memory, for [`Handle::records`](crate::Handle::records).
    pub keep_records: bool,
    /// Append records to this file, one JSON object a line.
    pub record_file: Option<PathBuf>,
    /// Put whole bodies into the records, not only their length and digest.
    pub record_bodies: bool,
}

impl Options {
    /// A free port on 127.0.0.1, everything accepted and kept in memory.
    #[must_use]
    pub fn new(openai_key: impl Into<String>, anthropic_key: impl Into<String>) -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
            names: Vec::new(),
            openai_key: openai_key.into(),
            anthropic_key: anthropic_key.into(),
            more_keys: BTreeMap::new(),
            access_key: None,
            websocket: WebSocketMode::Accept,
            alpn: Alpn::Both,
            behaviour: Behaviour::default(),
            first: Vec::new(),
            keep_records: true,
            record_file: None,
            record_bodies: false,
        }
    }
}

/// What a WebSocket handshake on `/v1/responses` gets. The key is checked first in every mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WebSocketMode {
    /// 101, and events as text frames. No extension is ever agreed to.
    #[default]
    Accept,
    /// 426 Upgrade Required: how a provider says that it has no WebSocket here.
    UpgradeRequired,
    /// 404 Not Found, with the connection kept alive.
    NotFound,
}

/// The protocols offered by ALPN. A client that sends no ALPN gets HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Alpn {
    /// HTTP/2 preferred, HTTP/1.1 too: as the providers do.
    #[default]
    Both,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only.
    Http2,
}
