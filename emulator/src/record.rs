// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the emulator was sent. Credentials stand here in clear: that is what it is for.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use http::request::Parts;
use serde::Serialize;

use crate::provider::host;
use crate::script::Usage;
use crate::{Options, Provider};

/// One request, or one frame of a WebSocket, as it arrived.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// Milliseconds since the epoch.
    pub time_ms: u64,
    /// Which connection of this emulator, counted from 1.
    pub connection: u64,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub version: String,
    /// Whose API it was taken for.
    pub provider: Provider,
    /// `Host` or `:authority`, without the port.
    pub host: String,
    /// The method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The query, if there was one.
    pub query: Option<String>,
    /// Every header with its value; several of one name are in their order. Bytes that are not UTF-8 are replaced.
    pub headers: Vec<(String, String)>,
    /// A WebSocket handshake, or a frame of that WebSocket.
    pub websocket: bool,
    /// Bytes of the body (or of the frame) that arrived.
    pub body_len: u64,
    /// SHA-256 of the body, in hex.
    pub body_sha256: String,
    /// The body, if bodies are recorded. Bytes that are not UTF-8 are replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Whether the body ended as it should have.
    pub body_complete: bool,
    /// The status that was answered: 101 for a WebSocket and each of its frames.
    pub status: u16,
    /// Tokens that the answer said went in.
    pub input_tokens: u64,
    /// Tokens that the answer said came out.
    pub output_tokens: u64,
}

impl Record {
    /// The values of a header; the name is not case-sensitive.
    pub fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let same = move |(key, _): &&(String, String)| key.eq_ignore_ascii_case(name);
        self.headers
            .iter()
            .filter(same)
            .map(|(_, value)| value.as_str())
    }

    /// Whether any header, the path, the query or a recorded body contains `text`.
    #[must_use]
    pub fn mentions(&self, text: &str) -> bool {
        let elsewhere = [Some(&self.path), self.query.as_ref(), self.body.as_ref()];
        self.headers
            .iter()
            .any(|(name, value)| name.contains(text) || value.contains(text))
            || elsewhere
                .into_iter()
                .flatten()
                .any(|field| field.contains(text))
    }
}

/// What arrived with a request, and how it was answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    pub(crate) connection: u64,
    pub(crate) provider: Provider,
    pub(crate) parts: &'a Parts,
    pub(crate) websocket: bool,
    pub(crate) body: &'a [u8],
    pub(crate) body_complete: bool,
    pub(crate) status: u16,
    pub(crate) usage: Usage,
}

/// Where records go. With neither memory nor a file, nothing is computed.
#[derive(Debug)]
pub(crate) struct Recorder {
    memory: Option<Mutex<Vec<Record>>>,
    file: Option<Mutex<File>>,
    bodies: bool,
}

impl Recorder {
    pub(crate) fn new(options: &Options) -> io::Result<Self> {
        let open = |path: &Path| File::options().create(true).append(true).open(path);
        Ok(Self {
            memory: options.keep_records.then(Mutex::default),
            file: options
                .record_file
                .as_deref()
                .map(open)
                .transpose()?
                .map(Mutex::new),
            bodies: options.record_bodies,
        })
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        let Some(memory) = &self.memory else {
            return Vec::new();
        };
        memory
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Keeps a record. It is in the file, whole, before the answer's first byte leaves.
    pub(crate) fn keep(&self, arrival: &Arrival<'_>) -> io::Result<()> {
        if self.memory.is_none() && self.file.is_none() {
            return Ok(());
        }
        let record = self.record(arrival);
        if let Some(file) = &self.file {
            let mut line = serde_json::to_vec(&record)?;
            line.push(b'\n');
            file.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .write_all(&line)?;
        }
        if let Some(memory) = &self.memory {
            memory
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(record);
        }
        Ok(())
    }

    fn record(&self, arrival: &Arrival<'_>) -> Record {
        let Parts {
            method,
            uri,
            version,
            headers,
            ..
        } = arrival.parts;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, arrival.body);
        Record {
            time_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            connection: arrival.connection,
            version: format!("{version:?}"),
            provider: arrival.provider,
            host: host(arrival.parts),
            method: method.to_string(),
            path: uri.path().to_owned(),
            query: uri.query().map(str::to_owned),
            headers: headers
                .iter()
                .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
                .collect(),
            websocket: arrival.websocket,
            body_len: arrival.body.len().try_into().unwrap_or(u64::MAX),
            body_sha256: digest
                .as_ref()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            body: self.bodies.then(|| text(arrival.body)),
            body_complete: arrival.body_complete,
            status: arrival.status,
            input_tokens: arrival.usage.input,
            output_tokens: arrival.usage.output,
        }
    }
}
