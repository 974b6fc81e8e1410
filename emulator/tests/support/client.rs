// SPDX-License-Identifier: MIT OR Apache-2.0
//! A small client for the tests: one connection, one protocol, and what became of the body.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use keyward_emulator::Handle;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// A `POST` of JSON.
pub(crate) fn post(host: &str, path: &str, body: &Value) -> Request<String> {
    let uri = format!("https://{host}{path}");
    Request::post(uri)
        .header("host", host)
        .body(body.to_string())
        .unwrap()
}

/// A `GET`.
pub(crate) fn get(host: &str, path: &str) -> Request<String> {
    let uri = format!("https://{host}{path}");
    Request::get(uri)
        .header("host", host)
        .body(String::new())
        .unwrap()
}

/// What came back.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    /// The body ended as it should.
    pub(crate) complete: bool,
    /// The body had neither ended nor failed when the time was up.
    pub(crate) open: bool,
    body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    async fn read(response: http::Response<Incoming>, time: Duration) -> Self {
        let (parts, mut incoming) = response.into_parts();
        let mut reply = Self {
            status: parts.status,
            headers: parts.headers,
            complete: false,
            open: false,
            body: Vec::new(),
        };
        let reading = async {
            loop {
                match incoming.frame().await {
                    Some(Ok(frame)) => reply.body.extend(frame.into_data().unwrap_or_default()),
                    Some(Err(_)) => return,
                    None => return reply.complete = true,
                }
            }
        };
        let timed_out = tokio::time::timeout(time, reading).await.is_err();
        reply.open = timed_out;
        reply
    }
}

/// One connection.
pub(crate) enum Client {
    Http1(http1::SendRequest<String>),
    Http2(http2::SendRequest<String>),
}

impl Client {
    pub(crate) async fn connect(emulator: &Handle, http2: bool) -> Self {
        Self::try_connect(emulator, http2).await.unwrap()
    }

    pub(crate) async fn try_connect(emulator: &Handle, http2: bool) -> io::Result<Self> {
        Self::connect_with_ca(emulator, emulator.ca_pem(), http2).await
    }

    pub(crate) async fn connect_with_ca(
        emulator: &Handle,
        ca: &str,
        http2: bool,
    ) -> io::Result<Self> {
        let alpn: &[u8] = if http2 { b"h2" } else { b"http/1.1" };
        let io = TokioIo::new(tls(emulator, ca, alpn).await?);
        Ok(if http2 {
            let executor = TokioExecutor::new();
            let (sender, connection) = http2::handshake(executor, io).await.unwrap();
            tokio::spawn(connection);
            Self::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            Self::Http1(sender)
        })
    }

    pub(crate) async fn send(&mut self, request: Request<String>) -> Reply {
        self.send_for(request, Duration::from_secs(10)).await
    }

    /// Sends, and reads the answer until it ends or the time is up.
    pub(crate) async fn send_for(&mut self, mut request: Request<String>, time: Duration) -> Reply {
        let response = match self {
            Self::Http1(sender) => {
                *request.uri_mut() = request.uri().path().parse().unwrap();
                sender.ready().await.unwrap();
                sender.send_request(request).await.unwrap()
            }
            Self::Http2(sender) => {
                request.headers_mut().remove("host");
                sender.send_request(request).await.unwrap()
            }
        };
        Reply::read(response, time).await
    }
}

/// An open WebSocket.
#[derive(Debug)]
pub(crate) struct Socket(WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>);

impl Socket {
    /// Sends a request and reads events up to `response.completed`.
    pub(crate) async fn ask(&mut self, request: &Value) -> Vec<Value> {
        self.0
            .send(Message::text(request.to_string()))
            .await
            .unwrap();
        let mut events = Vec::new();
        loop {
            let message = self.0.next().await.unwrap().unwrap();
            let event: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
            let last = event["type"] == "response.completed";
            events.push(event);
            if last {
                return events;
            }
        }
    }
}

/// Opens a WebSocket, or says which status refused it. It offers compression, as real clients do,
/// and insists that it is not taken up.
pub(crate) async fn websocket(emulator: &Handle, credential: &str) -> Result<Socket, StatusCode> {
    let io = TokioIo::new(tls(emulator, emulator.ca_pem(), b"http/1.1").await.unwrap());
    let (mut sender, connection) = http1::handshake::<_, String>(io).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    let request = Request::get("/v1/responses")
        .header("host", "api.openai.com")
        .header("connection", "keep-alive, Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header(
            "sec-websocket-extensions",
            "permessage-deflate; client_max_window_bits",
        )
        .header("authorization", credential)
        .body(String::new())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(response.status());
    }
    // The example of RFC 6455, section 1.3.
    assert_eq!(
        response.headers()["sec-websocket-accept"],
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
    assert!(!response.headers().contains_key("sec-websocket-extensions"));
    let upgraded = hyper::upgrade::on(response).await.unwrap();
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await;
    Ok(Socket(socket))
}

/// A connection and nothing on it.
pub(crate) async fn tls(
    emulator: &Handle,
    ca: &str,
    alpn: &[u8],
) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let stream = TcpStream::connect(emulator.addr()).await?;
    let name = ServerName::try_from("api.openai.com").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}
