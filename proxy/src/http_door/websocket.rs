// SPDX-License-Identifier: MIT OR Apache-2.0
//! A WebSocket over plain HTTP.
//!
//! It opens only after the upstream has proven that it accepted this very handshake. Any other answer is an answer like
//! others, and ends the connection: bytes that the workload sends behind its handshake stay in the guard, and reach
//! nobody.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use firewall_common::Reason;
use http::{HeaderValue, Request, Response, StatusCode, header, request::Parts};
use hyper::{Version, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::{
    After, Answer, Link,
    body::RequestBody,
    fields,
    forward::{Relay, ask_upgrade, dial_tunnel, policy_changed, unanswered, write},
    link::regain,
    stack::{Served, internal},
    target::Target,
};
use crate::{
    egress::{Connection, Form, Permit, tunnel},
    gateway::websocket::Handshake,
    scan::Scanned,
};

/// Longest wait for the upstream's answer to a handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(30);

pub(super) async fn open(
    link: &Arc<Link>,
    permit: Permit,
    target: Target,
    handshake: Handshake,
    mut parts: Parts,
    upgrade: &mut Option<OnUpgrade>,
) -> Result<Served, Answer> {
    let (mut sender, address) = dial_tunnel(link, &permit).await?;
    let connection = Arc::new(link.egress.begin_connection(permit.clone()));
    connection.reached(address);
    write(&mut parts, &target, &Form::Path).ok_or_else(internal)?;
    if connection.scanner().is_some() {
        // What is compressed could not be looked at.
        parts.headers.remove(header::SEC_WEBSOCKET_EXTENSIONS);
    }
    ask_upgrade(&mut parts.headers);
    let request = Request::from_parts(parts, RequestBody::empty());
    let sent = tokio::select! {
        sent = timeout(HANDSHAKE_TIME, sender.send_request(request)) => sent,
        () = connection.ended() => return Err(policy_changed(&permit)),
    };
    let mut response = match sent {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => {
            tracing::debug!(%error, "handshake not answered");
            return Err(unanswered(link, &permit, &connection));
        }
        Err(_late) => {
            connection.failed(Reason::Unreachable);
            return Err(Answer::late(permit.question()));
        }
    };
    let accepted = handshake
        .accepted(response.status(), response.headers())
        .map_err(|_unproven| unanswered(link, &permit, &connection))?;
    connection.answered(response.status().as_u16());
    if !accepted {
        let (mut parts, incoming) = response.into_parts();
        fields::strip_response(&mut parts.headers);
        parts
            .headers
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
        parts.version = Version::HTTP_11;
        return Ok(Served::Relayed(
            parts,
            Relay::new(incoming, connection, None, link),
        ));
    }
    let up = hyper::upgrade::on(&mut response);
    let down = upgrade.take().ok_or_else(internal)?;
    let (mut head, _) = response.into_parts();
    fields::strip_response(&mut head.headers);
    ask_upgrade(&mut head.headers);
    head.status = StatusCode::SWITCHING_PROTOCOLS;
    head.version = Version::HTTP_11;
    // From here on the guard lets everything through; hyper takes it only after it sent the 101.
    link.verdicts.open_tunnel();
    link.then(After::Carry(Box::pin(carry(
        down,
        up,
        connection,
        Arc::clone(link),
    ))));
    Ok(Served::Opened(Response::from_parts(head, ())))
}

/// Carries what both sides say from now on.
async fn carry(down: OnUpgrade, up: OnUpgrade, connection: Arc<Connection>, link: Arc<Link>) {
    let both = tokio::try_join!(down, up);
    let (down, up) = match both {
        Ok(both) => both,
        Err(error) => {
            tracing::debug!(%error, "upgrade failed");
            connection.failed(Reason::Unreachable);
            return;
        }
    };
    let Some((client, read)) = regain(down) else {
        tracing::error!("not a connection of ours");
        return;
    };
    let limits = link.egress.limits;
    drop(link);
    let up = TokioIo::new(up);
    let mut client = Scanned::frames(client, connection.scanner(), connection.report());
    if client.unread(BytesMut::into(read)).is_err() {
        connection.failed(Reason::SecretLeak);
        return;
    }
    tunnel::carry_other(client, up, Vec::new(), &connection, &limits).await;
}
