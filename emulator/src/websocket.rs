// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/v1/responses` over WebSocket: each `response.create` is answered by the events that
//! server-sent events would have carried, one text frame each.
//!
//! No extension is agreed to, permessage-deflate either: what a proxy in between reads is plain.

use std::io;

use futures_util::{SinkExt, StreamExt};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::record::{Arrival, Recorder};
use crate::reply::{Answer, Reply};
use crate::script::Usage;
use crate::{Behaviour, Ending, Provider, WebSocketMode, openai};

/// A frame of this size is more than a client has any reason to send.
const MAX_MESSAGE: usize = 64 << 20;

/// Whether this is a client that wants a WebSocket, well-formed or not.
pub(crate) fn is_handshake(parts: &Parts) -> bool {
    parts.method == Method::GET
        && parts.version == Version::HTTP_11
        && has_token(&parts.headers, "upgrade", "websocket")
}

/// The answer to a handshake whose key was right.
pub(crate) fn handshake(parts: &Parts, mode: WebSocketMode) -> Result<Response<Reply>, Answer> {
    if parts.uri.path() != openai::RESPONSES {
        return Err(refuse(StatusCode::NOT_FOUND, "there is no WebSocket here"));
    }
    match mode {
        WebSocketMode::Accept => {}
        WebSocketMode::UpgradeRequired => {
            return Err(refuse(StatusCode::UPGRADE_REQUIRED, "use POST"));
        }
        WebSocketMode::NotFound => return Err(refuse(StatusCode::NOT_FOUND, "Not Found")),
    }
    let version = parts
        .headers
        .get("sec-websocket-version")
        .map(HeaderValue::as_bytes);
    let key = parts
        .headers
        .get("sec-websocket-key")
        .map(HeaderValue::as_bytes);
    let (true, Some(b"13"), Some(key)) = (
        has_token(&parts.headers, "connection", "upgrade"),
        version,
        key,
    ) else {
        return Err(refuse(
            StatusCode::BAD_REQUEST,
            "malformed WebSocket handshake",
        ));
    };
    let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key)) else {
        return Err(refuse(
            StatusCode::BAD_REQUEST,
            "malformed Sec-WebSocket-Key",
        ));
    };

    let mut response = Response::new(Reply::whole(bytes::Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

fn refuse(status: StatusCode, message: &str) -> Answer {
    openai::error(status, "websocket", message)
}

/// Whether a header that is a list of tokens has this one.
fn has_token(headers: &HeaderMap, name: &str, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// One open WebSocket.
pub(crate) struct Session<'a> {
    pub(crate) parts: Parts,
    pub(crate) connection: u64,
    pub(crate) recorder: &'a Recorder,
    pub(crate) behaviour: Behaviour,
}

impl Session<'_> {
    /// Answers requests until the client closes.
    pub(crate) async fn serve(self, upgraded: Upgraded) -> Result<(), SessionError> {
        let mut config = WebSocketConfig::default();
        config.max_message_size = Some(MAX_MESSAGE);
        config.max_frame_size = Some(MAX_MESSAGE);
        let io = TokioIo::new(upgraded);
        let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        while let Some(message) = socket.next().await {
            match message? {
                message @ (Message::Text(_) | Message::Binary(_)) if self.behaviour.echo => {
                    socket.send(message).await?;
                }
                Message::Text(text) => {
                    if self.answer(&mut socket, text.as_str()).await? == Ending::Cut {
                        return Ok(());
                    }
                }
                Message::Binary(_) => {
                    let error = in_band_error("binary frames are not understood");
                    socket.send(Message::text(error)).await?;
                }
                // The library answers pings and closes by itself.
                Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {}
            }
        }
        Ok(())
    }

    async fn answer(
        &self,
        socket: &mut WebSocketStream<TokioIo<Upgraded>>,
        text: &str,
    ) -> Result<Ending, SessionError> {
        let request = serde_json::from_str::<Value>(text).unwrap_or_default();
        if request["type"] != "response.create" {
            self.record(text, Usage::default())?;
            socket
                .send(Message::text(in_band_error("expected a response.create")))
                .await?;
            return Ok(Ending::Complete);
        }
        let script = openai::responses::script(&request, text.len(), &self.behaviour);
        self.record(text, script.usage)?;
        for (index, event) in script.until(self.behaviour.ending).into_iter().enumerate() {
            if index > 0 && !self.behaviour.delay.is_zero() {
                tokio::time::sleep(self.behaviour.delay).await;
            }
            socket.send(Message::text(event.into_data())).await?;
        }
        Ok(self.behaviour.ending)
    }

    fn record(&self, text: &str, usage: Usage) -> io::Result<()> {
        self.recorder.keep(&Arrival {
            connection: self.connection,
            provider: Provider::OpenAi,
            parts: &self.parts,
            websocket: true,
            body: text.as_bytes(),
            body_complete: true,
            status: StatusCode::SWITCHING_PROTOCOLS.as_u16(),
            usage,
        })
    }
}

/// Why a WebSocket ended other than by a close.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("WebSocket: {0}")]
    Protocol(#[from] tungstenite::Error),
    #[error("writing a record: {0}")]
    Record(#[from] io::Error),
}

/// An error as a frame, in OpenAI's form.
fn in_band_error(message: &str) -> String {
    json!({
        "type": "error",
        "status": 400,
        "error": {"type": "invalid_request_error", "code": "invalid_request", "message": message},
    })
    .to_string()
}
