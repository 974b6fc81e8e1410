// SPDX-License-Identifier: MIT OR Apache-2.0
//! A provider that answers as each request asks it to, and can break off.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::sleep,
};
use tokio_rustls::TlsAcceptor;

use super::{ledger::Ledger, socket};
use crate::support::Ca;

pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    hang_up: watch::Sender<()>,
    task: JoinHandle<()>,
}

/// A body that is whatever is put into a channel; an error breaks it off.
struct Pieces(mpsc::Receiver<io::Result<Bytes>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let next = self.get_mut().0.poll_recv(cx);
        next.map(|it| it.map(|piece| piece.map(Frame::data)))
    }
}

impl Upstream {
    pub(super) async fn new(ca: &Ca, alpn: &[&[u8]], ledger: Arc<Ledger>) -> Self {
        let mut config = (*ca.server()).clone();
        config.alpn_protocols = alpn.iter().map(|it| it.to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (hang_up, hung_up) = watch::channel(());
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, ledger) = (acceptor.clone(), Arc::clone(&ledger));
                let mut hung_up = hung_up.clone();
                hung_up.mark_unchanged();
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(move |request| answer(request, Arc::clone(&ledger)));
                    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    let io = TokioIo::new(stream);
                    let serve = async {
                        if http2 {
                            let builder =
                                hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                            drop(builder.serve_connection(io, service).await);
                        } else {
                            let builder = hyper::server::conn::http1::Builder::new();
                            let serve = builder.serve_connection(io, service);
                            drop(serve.with_upgrades().await);
                        }
                    };
                    tokio::select! {
                        () = serve => {}
                        _ = hung_up.changed() => {}
                    }
                });
            }
        });
        Self {
            address,
            hang_up,
            task,
        }
    }

    /// Closes every connection.
    pub(super) fn hang_up(&self) {
        self.hang_up.send_replace(());
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    request: Request<Incoming>,
    ledger: Arc<Ledger>,
) -> Result<Response<Pieces>, Infallible> {
    let (sender, receiver) = mpsc::channel(1);
    let mut response = Response::new(Pieces(receiver));
    if request.method() == http::Method::GET {
        socket::accept(request, &mut response, ledger);
        return Ok(response);
    }
    let Ok(body) = request.into_body().collect().await else {
        *response.status_mut() = http::StatusCode::BAD_REQUEST;
        return Ok(response);
    };
    let wanted: Value = serde_json::from_slice(&body.to_bytes()).unwrap();
    let number = |name: &str| wanted[name].as_u64().unwrap();
    sleep(Duration::from_millis(number("wait_ms"))).await;
    let status = u16::try_from(number("status")).unwrap();
    *response.status_mut() = status.try_into().unwrap();
    let kind = match wanted["stream"].as_bool().unwrap() {
        true => "text/event-stream",
        false => "application/json",
    };
    let headers = response.headers_mut();
    headers.insert("content-type", kind.parse().unwrap());
    tokio::spawn(async move {
        let number = |name: &str| wanted[name].as_u64().unwrap();
        let pieces = pieces(&wanted);
        let last = pieces.len() - 1;
        let cut = wanted["cut"].as_bool().unwrap().then_some(pieces.len() / 2);
        for (at, piece) in pieces.into_iter().enumerate() {
            if cut == Some(at) {
                drop(sender.send(Err(io::Error::other("cut"))).await);
                return;
            }
            // Said before it can be read.
            if at == last {
                ledger.written(usize::try_from(number("id")).unwrap());
            }
            if sender.send(Ok(piece)).await.is_err() {
                return;
            }
            sleep(Duration::from_millis(number("pause_ms"))).await;
        }
    });
    Ok(response)
}

/// The answer that is wanted: each piece has the request's tag.
fn pieces(wanted: &Value) -> Vec<Bytes> {
    let tag = &wanted["tag"];
    let anthropic = wanted["anthropic"].as_bool().unwrap();
    let (input, output) = (&wanted["input"], &wanted["output"]);
    let event = |value: Value| match value["type"].as_str() {
        Some(kind) => Bytes::from(format!("event: {kind}\ndata: {value}\n\n")),
        None => Bytes::from(format!("data: {value}\n\n")),
    };
    let count = wanted["pieces"].as_u64().unwrap();
    let padding = usize::try_from(wanted["piece_padding"].as_u64().unwrap()).unwrap();
    let padding = "y".repeat(padding);
    if wanted["status"] != 200 {
        return vec![Bytes::from(
            json!({ "error": { "message": tag } }).to_string(),
        )];
    }
    if wanted["stream"] == false {
        let usage = match anthropic {
            true => json!({ "input_tokens": input, "output_tokens": output }),
            false => json!({ "prompt_tokens": input, "completion_tokens": output }),
        };
        let text = json!({ "model": "m", "tag": tag, "usage": usage }).to_string();
        let (first, second) = text.split_at(text.find("\"usage").unwrap());
        return [first, second].map(|it| Bytes::from(it.to_owned())).into();
    }
    let mut all = Vec::new();
    if anthropic {
        let message = json!({ "model": "m", "usage": { "input_tokens": input } });
        all.push(event(
            json!({ "type": "message_start", "tag": tag, "message": message }),
        ));
        all.extend((0..count).map(|_| {
            event(json!({ "type": "content_block_delta", "tag": tag, "delta": padding }))
        }));
        let usage = json!({ "output_tokens": output });
        all.push(event(
            json!({ "type": "message_delta", "tag": tag, "usage": usage }),
        ));
    } else {
        all.extend(
            (0..count).map(|_| event(json!({ "model": "m", "tag": tag, "choices": [padding] }))),
        );
        let usage = json!({ "prompt_tokens": input, "completion_tokens": output });
        all.push(event(
            json!({ "model": "m", "tag": tag, "choices": [], "usage": usage }),
        ));
        all.push(Bytes::from_static(b"data: [DONE]\n\n"));
    }
    all
}
