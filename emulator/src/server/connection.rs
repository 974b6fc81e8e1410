// SPDX-License-Identifier: MIT OR Apache-2.0
//! One TLS connection: HTTP/1.1 or HTTP/2, request by request.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::Server;
use super::wire::{Order, Orders, Wire};
use crate::provider::host;
use crate::record::Arrival;
use crate::reply::{Answer, Reply};
use crate::script::{Usage, id};
use crate::websocket::{self, Session};
use crate::{
    BEHAVIOUR_HEADER, Behaviour, Provider, anthropic, auth, bedrock, compatible, gemini, openai,
};

/// How much [`Behaviour::sink`] answers unless told: about what a short reply of either API has.
const SINK_BYTES: usize = 1024;

/// Request headers up to this size are read; a gateway in front has a smaller limit of its own.
const MAX_HEADER_BYTES: u32 = 256 << 10;

/// What the requests of one connection share.
struct Connection {
    number: u64,
    /// Requests so far.
    requests: AtomicU32,
    orders: Orders,
}

/// Serves a connection until either side closes it.
pub(super) async fn serve(server: Arc<Server>, number: u64, stream: TlsStream<TcpStream>) {
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let orders = Orders::default();
    let io = TokioIo::new(Wire::new(stream, orders.clone()));
    let connection = Arc::new(Connection {
        number,
        requests: AtomicU32::new(0),
        orders,
    });
    let service =
        service_fn(move |request| handle(Arc::clone(&server), Arc::clone(&connection), request));
    // How a connection ends is the client's business: the requests on it were recorded.
    if http2 {
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_header_list_size(MAX_HEADER_BYTES)
            .serve_connection(io, service)
            .await
            .ok();
    } else {
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(io, service)
            .with_upgrades()
            .await
            .ok();
    }
}

async fn handle(
    server: Arc<Server>,
    connection: Arc<Connection>,
    mut request: Request<Incoming>,
) -> Result<Response<Reply>, Infallible> {
    // Clients number their requests with odd numbers (RFC 9113, section 5.1.1).
    let stream = 2 * connection.requests.fetch_add(1, Ordering::Relaxed) + 1;
    let upgrade = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    let provider = Provider::of(&host(&parts), &parts);
    let admitted = auth::check(provider, &parts, None, &server.options);
    let behaviour = match behaviour(&server, &parts, admitted.is_ok()) {
        Ok(behaviour) => behaviour,
        Err(answer) => return Ok(answer.into_response(&Behaviour::default())),
    };
    if behaviour.sink && admitted.is_ok() {
        return Ok(sink(body, behaviour.bytes).await);
    }
    if let Some(every) = behaviour.tick
        && admitted.is_ok()
    {
        return Ok(Reply::ticking(every));
    }

    let websocket = websocket::is_handshake(&parts);
    let (body, body_complete) = if websocket {
        (Bytes::new(), true)
    } else {
        collect(body).await
    };
    let mut opened = None;
    // A signature is of the body, too.
    let admitted =
        admitted.and_then(|()| auth::check(provider, &parts, Some(&body), &server.options));
    let answer = match admitted {
        Err(refusal) => {
            let (status, body) = auth::refuse(provider, refusal);
            Answer::Json {
                status,
                body,
                usage: Usage::default(),
            }
        }
        Ok(()) if websocket => match websocket::handshake(&parts, server.options.websocket) {
            Ok(response) => {
                opened = Some(response);
                Answer::json(serde_json::Value::Null)
            }
            Err(answer) => answer,
        },
        Ok(()) => match provider {
            Provider::OpenAi => openai::answer(&parts.method, parts.uri.path(), &body, &behaviour),
            Provider::Anthropic => anthropic::answer(&parts, &body, &behaviour),
            Provider::Copilot => compatible::copilot(&parts, &body, &behaviour),
            Provider::Azure => compatible::azure(&parts, &body, &behaviour),
            Provider::Gemini | Provider::Vertex => gemini::answer(&parts, &body, &behaviour),
            Provider::Bedrock => bedrock::answer(&parts, &body, &behaviour),
        },
    };

    let status = opened.as_ref().map_or(answer.status(), Response::status);
    let kept = server.recorder.keep(&Arrival {
        connection: connection.number,
        provider,
        parts: &parts,
        websocket,
        body: &body,
        body_complete,
        status: status.as_u16(),
        usage: answer.usage(),
    });
    if let Err(error) = kept {
        // An answer without its record would let a test pass that saw nothing.
        let message = format!("the emulator could not write its record: {error}");
        let answer = openai::error(StatusCode::INTERNAL_SERVER_ERROR, "emulator", &message);
        return Ok(answer.into_response(&Behaviour::default()));
    }
    if let Some(response) = opened {
        tokio::spawn(async move {
            if let Ok(upgraded) = upgrade.await {
                let recorder = &server.recorder;
                let session = Session {
                    parts,
                    connection: connection.number,
                    recorder,
                    behaviour,
                };
                // As with HTTP: frames that arrived were recorded.
                session.serve(upgraded).await.ok();
            }
        });
        return Ok(response);
    }
    connection.orders.give(Order::of(&behaviour, stream));
    let malformed = behaviour.malformed.and_then(|it| it.response());
    let mut response = malformed.unwrap_or_else(|| answer.into_response(&behaviour));
    label(provider, &mut response);
    Ok(response)
}

/// The default behaviour with the request's own wishes; or, for the first requests for an answer,
/// what was laid out for them.
fn behaviour(server: &Server, parts: &Parts, admitted: bool) -> Result<Behaviour, Answer> {
    let Some(overrides) = parts.headers.get(BEHAVIOUR_HEADER) else {
        let asks = parts.method == Method::POST && !parts.uri.path().starts_with("/mcp/");
        let mut first = server.first.lock().unwrap_or_else(PoisonError::into_inner);
        let next = if admitted && asks {
            first.pop_front()
        } else {
            None
        };
        return Ok(next.unwrap_or_else(|| server.options.behaviour.clone()));
    };
    let overrides = String::from_utf8_lossy(overrides.as_bytes());
    server.options.behaviour.with(&overrides).map_err(|error| {
        openai::error(
            StatusCode::BAD_REQUEST,
            BEHAVIOUR_HEADER,
            &error.to_string(),
        )
    })
}

/// The whole body, and whether it ended as it should.
async fn collect(mut body: Incoming) -> (Bytes, bool) {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame.map(hyper::body::Frame::into_data) {
            Ok(Ok(data)) => whole.extend_from_slice(&data),
            // Trailers carry nothing that any of these APIs reads.
            Ok(Err(_trailers)) => {}
            Err(_) => return (whole.into(), false),
        }
    }
    (whole.into(), true)
}

/// Reads a body to its end without keeping it, and answers with that many bytes.
async fn sink(mut body: Incoming, bytes: Option<usize>) -> Response<Reply> {
    while let Some(frame) = body.frame().await {
        if frame.is_err() {
            break;
        }
    }
    Response::new(Reply::filler(bytes.unwrap_or(SINK_BYTES)))
}

/// The provider's own request id, in the header where it puts it.
fn label(provider: Provider, response: &mut Response<Reply>) {
    let name = match provider {
        Provider::OpenAi | Provider::Azure | Provider::Gemini | Provider::Vertex => "x-request-id",
        Provider::Copilot => "x-github-request-id",
        Provider::Bedrock => "x-amzn-requestid",
        Provider::Anthropic => "request-id",
    };
    if let Ok(value) = HeaderValue::from_str(&id("req_")) {
        response.headers_mut().insert(name, value);
    }
}
