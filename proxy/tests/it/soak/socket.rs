// SPDX-License-Identifier: MIT OR Apache-2.0
//! The upstream's side of a tunnel: answers each question as it asks to be, and can break off.

use std::{sync::Arc, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::{body::Incoming, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, time::sleep};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

use super::ledger::{Ledger, cost};

/// Agrees, and serves what comes then.
pub(super) fn accept<B>(
    request: Request<Incoming>,
    response: &mut Response<B>,
    ledger: Arc<Ledger>,
) {
    let key = request.headers()[header::SEC_WEBSOCKET_KEY].as_bytes();
    let accept = derive_accept_key(key).parse().unwrap();
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    tokio::spawn(async move {
        // The workload may be gone already.
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            let io = TokioIo::new(upgraded);
            serve(
                WebSocketStream::from_raw_socket(io, Role::Server, None).await,
                &ledger,
            )
            .await;
        }
    });
}

type Socket = WebSocketStream<TokioIo<Upgraded>>;

async fn serve(mut socket: Socket, ledger: &Ledger) {
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Text(text) = message {
            let wanted = serde_json::from_str(&text).unwrap();
            if answer(&mut socket, &wanted, ledger).await.is_none() {
                return;
            }
        }
    }
}

/// `None`: nothing more is to come.
async fn answer(socket: &mut Socket, wanted: &Value, ledger: &Ledger) -> Option<()> {
    let number = |name: &str| wanted[name].as_u64().unwrap();
    let size = |name: &str| usize::try_from(number(name)).unwrap();
    let (id, tag) = (size("id"), &wanted["tag"]);
    let padding = "y".repeat(size("piece_padding"));
    for _ in 0..number("pieces") {
        let delta = json!({ "type": "response.output_text.delta", "tag": tag, "delta": padding });
        socket.send(Message::text(delta.to_string())).await.ok()?;
        sleep(Duration::from_millis(number("pause_ms"))).await;
    }
    let (input, output) = cost(id, size("nth"));
    let usage = json!({ "input_tokens": input, "output_tokens": output });
    let response = json!({ "model": "m", "usage": usage });
    let last =
        json!({ "type": "response.completed", "tag": tag, "response": response }).to_string();
    if wanted["cut"] == true {
        // All but the end of a short frame.
        let frame = [&[0x81, 120], &last.as_bytes()[..100]].concat();
        socket.get_mut().write_all(&frame).await.ok()?;
        socket.get_mut().flush().await.ok()?;
        return None;
    }
    // Said before it can be read.
    ledger.written(id);
    socket.send(Message::text(last)).await.ok()?;
    if wanted["goodbye"] == true {
        socket.close(None).await.ok()?;
    }
    Some(())
}
