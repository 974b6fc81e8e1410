// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sends a request to the host that it was judged for, and hands the answer on as it comes.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use firewall_common::Reason;
use http::{Request, StatusCode, Uri, Version, header, request::Parts, uri::PathAndQuery};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::{
    Answer, Link,
    answer::reason_of,
    body::{Busy, RequestBody, ResponseBody},
    fields, leak,
    stack::{Served, internal},
    target::Target,
};
use crate::egress::{Connection, Denial, Dialled, Form, Permit, Undialled, ViaFault};

/// How long a kept connection gets to become ready again after its answer ended.
const SETTLE: Duration = Duration::from_secs(1);

/// A connection to an upstream that carried a request and can carry another.
pub(super) struct Kept {
    sender: SendRequest<RequestBody>,
    permit: Permit,
    address: SocketAddr,
    form: Form,
}

/// An upstream's answer, and what it comes over.
pub(super) struct Relay {
    incoming: Incoming,
    connection: Arc<Connection>,
    kept: Option<Kept>,
    idle: Duration,
}

impl Relay {
    pub(super) fn into_body(self, busy: Busy) -> ResponseBody {
        ResponseBody::relayed(self.incoming, self.connection, self.kept, self.idle, busy)
    }

    pub(super) fn new(
        incoming: Incoming,
        connection: Arc<Connection>,
        kept: Option<Kept>,
        link: &Link,
    ) -> Self {
        Self {
            incoming,
            connection,
            kept,
            idle: link.egress.limits.upstream_idle,
        }
    }
}

pub(super) async fn forward(
    link: &Arc<Link>,
    permit: Permit,
    target: Target,
    mut parts: Parts,
    body: Incoming,
) -> Result<Served, Answer> {
    // Kept only for what leads to the same place in the same way; what it is not good for, it is closed for.
    let kept = match link.take_kept() {
        Some(mut kept) if kept.permit.leads_as(&permit) => {
            match timeout(SETTLE, kept.sender.ready()).await {
                Ok(Ok(())) => Some(kept),
                Ok(Err(_)) | Err(_) => None,
            }
        }
        Some(_) | None => None,
    };
    let mut fresh = kept.is_none();
    let (mut sender, mut address, form) = match kept {
        Some(kept) => (kept.sender, kept.address, kept.form),
        None => dial(link, &permit).await?,
    };
    let connection = Arc::new(link.egress.begin_connection(permit.clone()));
    write(&mut parts, &target, &form).ok_or_else(internal)?;
    let mut request = Request::from_parts(parts, RequestBody::new(body, &connection, link));
    let response = loop {
        connection.reached(address);
        let sent = tokio::select! {
            sent = timeout(link.egress.limits.first_byte, sender.try_send_request(request)) => sent,
            () = connection.ended() => return Err(policy_changed(&permit)),
        };
        let mut error = match sent {
            Ok(Ok(response)) => break response,
            Ok(Err(error)) => error,
            Err(_late) => {
                connection.failed(Reason::Unreachable);
                return Err(Answer::late(permit.question()));
            }
        };
        match error.take_message() {
            // The connection was closed before it took the request: nobody has seen it.
            Some(unsent) if !fresh => {
                fresh = true;
                request = unsent;
                // By the same way: the policy is the same, and so is the form.
                (sender, address, _) = dial(link, &permit).await?;
            }
            Some(_) | None => {
                let error = error.into_error();
                tracing::debug!(%error, "request not answered");
                return Err(unanswered(link, &permit, &connection));
            }
        }
    };
    let (mut parts, incoming) = response.into_parts();
    // 101 to what was no request to upgrade is not an answer.
    if parts.status.is_informational() {
        return Err(unanswered(link, &permit, &connection));
    }
    if matches!(form, Form::Url(_)) && parts.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        connection.failed(Reason::Unreachable);
        let detail = ViaFault::Unauthorized.to_string();
        return Err(Answer::unreachable(permit.question(), Some(&detail), false));
    }
    connection.answered(parts.status.as_u16());
    fields::strip_response(&mut parts.headers);
    parts.version = Version::HTTP_11;
    let kept = Kept {
        sender,
        permit,
        address,
        form,
    };
    let relay = Relay::new(incoming, connection, Some(kept), link);
    Ok(Served::Relayed(parts, relay))
}

/// A new connection to where the permit leads.
async fn dial(
    link: &Arc<Link>,
    permit: &Permit,
) -> Result<(SendRequest<RequestBody>, SocketAddr, Form), Answer> {
    let dialled = link.egress.dialler.dial_http(permit).await;
    let (dialled, form) = dialled.map_err(|it| not_dialled(link, permit, it, false))?;
    let (sender, address) = begin(link, permit, dialled).await?;
    Ok((sender, address, form))
}

/// The same for what is to be no plain HTTP any more.
pub(super) async fn dial_tunnel(
    link: &Arc<Link>,
    permit: &Permit,
) -> Result<(SendRequest<RequestBody>, SocketAddr), Answer> {
    let dialled = link.egress.dialler.dial(permit).await;
    let dialled = dialled.map_err(|it| not_dialled(link, permit, it, false))?;
    begin(link, permit, dialled).await
}

/// HTTP on a new connection.
async fn begin(
    link: &Link,
    permit: &Permit,
    dialled: Dialled,
) -> Result<(SendRequest<RequestBody>, SocketAddr), Answer> {
    let Dialled { stream, address } = dialled;
    let (sender, connection) = http1::Builder::new()
        .preserve_header_case(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_broken| not_dialled(link, permit, Undialled::default(), false))?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "upstream connection ended");
        }
    });
    Ok((sender, address))
}

/// The answer when what is allowed could not be dialled, or turned out not to be allowed.
pub(crate) fn not_dialled(
    link: &Link,
    permit: &Permit,
    undialled: Undialled,
    close: bool,
) -> Answer {
    let reason = undialled.reason();
    if reason == Reason::Unreachable {
        let connection = link.egress.begin_connection(permit.clone());
        connection.failed(reason);
        return Answer::unreachable(permit.question(), undialled.detail.as_deref(), close);
    }
    let (question, rule) = (permit.question().clone(), permit.rule().cloned());
    let denial = link
        .egress
        .deny_with(question, reason, rule, undialled.remedy);
    Answer::denied(&denial, close)
}

/// The answer when the upstream gave none, or none that is one.
pub(super) fn unanswered(link: &Link, permit: &Permit, connection: &Connection) -> Answer {
    // If the workload's body broke, the upstream's silence is only its echo.
    if let Some(refusal) = link.verdicts.broken_body() {
        connection.failed(reason_of(refusal));
        if let Some(finding) = link.finding() {
            return leak::answer(&finding);
        }
        return Answer::refused(reason_of(refusal), refusal);
    }
    connection.failed(Reason::Unreachable);
    let detail = "It closed the connection without an answer.";
    Answer::unreachable(permit.question(), Some(detail), false)
}

/// The answer to a request that a new policy ended.
pub(super) fn policy_changed(permit: &Permit) -> Answer {
    let denial = Denial {
        question: permit.question().clone(),
        reason: Reason::PolicyChanged,
        rule: None,
        remedy: None,
    };
    Answer::denied(&denial, true)
}

/// Writes the request line for whoever gets it: a path for a server, a URL for a proxy.
pub(super) fn write(parts: &mut Parts, target: &Target, form: &Form) -> Option<()> {
    let path = match form {
        // No URL has this for a path; what allows it allows the other.
        Form::Url(_) if target.path == "*" => "/",
        Form::Url(_) | Form::Path => &target.path,
    };
    let mut uri = http::uri::Parts::default();
    uri.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    if let Form::Url(authorization) = form {
        uri.scheme = Some(http::uri::Scheme::HTTP);
        uri.authority = Some(target.authority().parse().ok()?);
        if let Some(value) = authorization {
            let name = header::PROXY_AUTHORIZATION;
            parts.headers.insert(name, value.clone());
        }
    }
    parts.uri = Uri::from_parts(uri).ok()?;
    parts.version = Version::HTTP_11;
    Some(())
}

/// Puts back what asks for a WebSocket.
pub(super) fn ask_upgrade(headers: &mut http::HeaderMap) {
    use http::HeaderValue;
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}
