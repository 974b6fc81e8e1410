// SPDX-License-Identifier: MIT OR Apache-2.0
//! The steps of a request, in order, with the reason why none of them can move.
//!
//! Below all of this is the guard: what arrives here has one reading.

use std::sync::Arc;

use firewall_common::Reason;
use http::{
    HeaderValue, Method, Request, Response, StatusCode, header, header::HOST, request::Parts,
};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use keyward_policy::Scheme;

use super::{
    After, Answer, Face, Link, accept,
    answer::reason_of,
    body::{Busy, ResponseBody},
    fields, forward, leak,
    target::{self, Target, Unclear},
    websocket,
};
use crate::{egress::Permit, explicit::connect, gateway::websocket as handshake};

/// Answers one request. Never fails: what goes wrong is an answer, too.
pub(super) async fn answer(link: Arc<Link>, request: Request<Incoming>) -> Response<ResponseBody> {
    let busy = Busy::new(&link);
    let (mut parts, body) = request.into_parts();
    let format = accept::format(&parts.headers);
    let mut upgrade = parts.extensions.remove::<OnUpgrade>();
    match serve(&link, parts, body, &mut upgrade).await {
        Ok(Served::Relayed(parts, relayed)) => {
            leave(&link, upgrade);
            Response::from_parts(parts, relayed.into_body(busy))
        }
        Ok(Served::Opened(response)) => {
            response.map(|()| ResponseBody::own(bytes::Bytes::new(), busy))
        }
        Err(answer) => {
            // The guard reads nothing behind a request to upgrade that was not granted.
            let mut response = answer.response(format);
            if link.awaits_tunnel() {
                response
                    .headers_mut()
                    .insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            leave(&link, upgrade);
            response.map(|bytes| ResponseBody::own(bytes, busy))
        }
    }
}

/// hyper hands a connection that could have been upgraded to whoever asks for it, and does not close it.
fn leave(link: &Link, upgrade: Option<OnUpgrade>) {
    if let Some(upgrade) = upgrade {
        link.then(After::Close(upgrade));
    }
}

/// What became of a request.
#[expect(
    clippy::large_enum_variant,
    reason = "it is moved once, and most are the large one"
)]
pub(super) enum Served {
    /// The upstream answered.
    Relayed(http::response::Parts, forward::Relay),
    /// It became a tunnel.
    Opened(Response<()>),
}

async fn serve(
    link: &Arc<Link>,
    mut parts: Parts,
    body: Incoming,
    upgrade: &mut Option<OnUpgrade>,
) -> Result<Served, Answer> {
    // 1. What the guard refused. First, because then nothing of this request is the workload's own:
    //    hyper was given another head in its place.
    if let Some(refusal) = link.next_request() {
        let reason = reason_of(refusal);
        link.egress.deny(link.unnamed(), reason, None);
        return Err(Answer::refused(reason, refusal));
    }

    // 2. Tunnels through the proxy. Before the rest: their target is of another form.
    if parts.method == Method::CONNECT {
        let (host, port) = target::of_connect(&parts.uri, &parts.headers)
            .map_err(|unclear| unclear_answer(link, unclear, true))?;
        return connect::open(link, host, port, upgrade)
            .await
            .map(Served::Opened);
    }

    // 3. Whom it is for. Before the judgement, which is about that.
    let target = target::of(&link.face, &parts.method, &parts.uri, &parts.headers)
        .map_err(|unclear| unclear_answer(link, unclear, false))?;

    // 4. Whether it may be asked. Before a name is looked up or a byte leaves.
    let mut permit = judge(link, &parts.method, &target)?;

    // 5. Whether it is a well-formed WebSocket handshake, if it asks for that at all. Before the stripping, which takes
    //    `Upgrade` away.
    let handshake = match link.awaits_tunnel() {
        true => Some(
            handshake::check(&parts.method, &parts.headers).map_err(|refusal| {
                let reason = reason_of(refusal);
                link.egress.deny(permit.question().clone(), reason, None);
                Answer::refused(reason, refusal)
            })?,
        ),
        false => None,
    };

    // 6. What belongs to this hop alone, and then the host in the spelling that was judged: the other way round,
    //    `Connection: host` could take it away.
    fields::strip_request(&mut parts.headers);
    let authority = target.authority();
    let host = HeaderValue::try_from(&authority).map_err(|_not_a_value| internal())?;
    parts.headers.insert(HOST, host);

    // 7. Secrets in what goes on of the head.
    leak::look(link, &mut permit, &target, &parts.headers)?;

    // 8. Only now anything leaves.
    match handshake {
        Some(handshake) => {
            Box::pin(websocket::open(
                link, permit, target, handshake, parts, upgrade,
            ))
            .await
        }
        None => forward::forward(link, permit, target, parts, body).await,
    }
}

fn judge(link: &Link, method: &Method, target: &Target) -> Result<Permit, Answer> {
    let request = (method.as_str().to_owned(), target.path.clone());
    let question = link.question(
        target.host.clone(),
        target.port,
        Scheme::Http,
        Some(request),
    );
    link.egress
        .judge(question)
        .map_err(|denial| Answer::denied(&denial, false))
}

/// The answer to a request of which nobody knows whom it is for.
fn unclear_answer(link: &Link, unclear: Unclear, connect: bool) -> Answer {
    let malformed = |message: String| {
        link.egress.deny(link.unnamed(), Reason::BadRequest, None);
        Answer::malformed(StatusCode::BAD_REQUEST, Reason::BadRequest, message)
    };
    match unclear {
        Unclear::Mismatch(host, port) => {
            let scheme = if connect { Scheme::Tls } else { Scheme::Http };
            let question = link.question(host, port, scheme, None);
            let denial = link.egress.deny(question, Reason::NameMismatch, None);
            Answer::denied(&denial, true)
        }
        Unclear::NotAHost => malformed("The host is neither a name nor an address.".to_owned()),
        Unclear::NotForAProxy => {
            let own = match &link.face {
                Face::Proxy { own } => own.to_string(),
                Face::Server { .. } => String::new(),
            };
            malformed(format!(
                "This is a forward proxy, not a server: set HTTP_PROXY and HTTPS_PROXY to http://{own}."
            ))
        }
        Unclear::Https(host, port) => {
            let question = link.question(host, port, Scheme::Tls, None);
            link.egress.deny(question, Reason::BadRequest, None);
            Answer::malformed(
                StatusCode::BAD_REQUEST,
                Reason::BadRequest,
                "A proxy does not make TLS for its client: ask for https:// with CONNECT host:port."
                    .to_owned(),
            )
        }
    }
}

/// What should not happen.
pub(super) fn internal() -> Answer {
    tracing::error!("a judged host makes no header");
    Answer::malformed(
        StatusCode::INTERNAL_SERVER_ERROR,
        Reason::InternalError,
        Reason::InternalError.sentence().to_owned(),
    )
}
