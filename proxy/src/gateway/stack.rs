// SPDX-License-Identifier: MIT OR Apache-2.0
//! The layers that a request passes, in order, with the reason why none of them can move.
//!
//! Below all of this is the guard (`guard`): what arrives here has one reading.

use std::sync::Arc;

use http::{HeaderValue, Request, Response, header, request::Parts};
use hyper::body::Incoming;

use super::{
    Link, Serving,
    authorize::authorize,
    body::{RequestBody, ResponseBody},
    current::InForce,
    endpoints, forward,
    inspect::{self, Stop},
    leak, path,
    path::ApiPath,
    request_id, rewrite, strip,
    strip::Stripper,
    tunnel, websocket,
};
use crate::{
    refusal::{Fault, Refusal},
    request_log::Record,
    respond::respond,
    spend::Denied,
};

/// Answers one request. Never fails: a fault is an answer, too, and every answer is logged when its
/// body is gone.
pub(super) async fn answer(link: Arc<Link>, request: Request<Incoming>) -> Response<ResponseBody> {
    let (mut parts, body) = request.into_parts();
    let id = request_id::of(&parts.headers);
    let path = parts.uri.path().to_owned();
    let mut record = Record::new(Arc::clone(&link), parts.method.clone(), path, id.clone());
    let upgrade = parts.headers.contains_key(header::UPGRADE);
    let mut denied = None;
    let fault = match judge(&link, &mut parts, &mut record) {
        Ok(Verdict::Own(response)) => return own(response, upgrade, record),
        Ok(Verdict::Forward(serving, held)) => {
            let mut body = RequestBody::new(body, &link);
            // 11. Whether the run can afford it, and for this model. Last, so that nothing that is refused for another
            //     reason counts; before anything leaves.
            //     What the rules for bodies change is changed first, so that what is admitted is what is sent.
            let admitted = async {
                rewrite::body(&link, &mut parts, &mut body).await?;
                inspect::admit(&link, &mut parts, &mut body, &mut record).await
            };
            match admitted.await {
                Err(stop) => stopped(stop, &mut denied),
                // 12. Only now anything leaves; signed, where the credential is an access key, behind all that changes it.
                Ok(()) => {
                    match forward::forward(&link, serving, &held, parts, body, record).await {
                        Ok(response) => return response,
                        Err((fault, returned)) => {
                            record = returned;
                            fault
                        }
                    }
                }
            }
        }
        // Boxed: a tunnel's state would make every other request's larger.
        Ok(Verdict::Tunnel(handshake, held)) => {
            match inspect::admit_socket(&link, &parts, &mut record) {
                Err(stop) => stopped(stop, &mut denied),
                Ok(()) => {
                    let judge = record.ticket().and_then(|it| it.judge());
                    let opening =
                        tunnel::open(Arc::clone(&link), &held, handshake, parts, judge, record);
                    match Box::pin(opening).await {
                        Ok(response) => return response,
                        Err((fault, returned)) => {
                            record = returned;
                            fault
                        }
                    }
                }
            }
        }
        Err(fault) => fault,
    };
    if let Fault::Internal(what) = fault {
        tracing::error!(what, "internal fault");
    }
    let response = match denied {
        Some(denied) => denied.respond(link.provider()),
        None => leak::answer(fault, &link).unwrap_or_else(|| respond(fault, link.provider())),
    };
    record.answered(response.status(), Some(fault));
    finish(response, upgrade, record)
}

/// The fault of a request that was stopped; what else there is to say of it goes to `denied`.
fn stopped(stop: Stop, denied: &mut Option<Box<Denied>>) -> Fault {
    match stop {
        Stop::Fault(fault) => fault,
        Stop::Denied(it) => denied.insert(it).refusal.into(),
    }
}

/// What becomes of a request.
enum Verdict<'a> {
    /// It is answered here.
    Own(Response<bytes::Bytes>),
    /// It goes to the provider, as it is now, with this credential.
    Forward(&'a Serving, Arc<InForce>),
    /// It becomes a tunnel to the provider, with this credential.
    Tunnel(websocket::Handshake, Arc<InForce>),
}

/// Everything that happens before a byte leaves, in order. Nothing here waits.
fn judge<'a>(link: &'a Link, parts: &mut Parts, record: &mut Record) -> Result<Verdict<'a>, Fault> {
    // 1. What the guard refused. First, because then nothing of this request is the workload's own:
    //    hyper was given another head in its place.
    if let Some(refusal) = link.next_request() {
        record.forget_head();
        return Err(refusal.into());
    }

    // 2. One spelling of the path. Before anything compares it: own endpoints, routes.
    let target = parts
        .uri
        .path_and_query()
        .map_or("/", |it| it.as_str())
        .to_owned();
    let target = path::normalise(&target)?;

    // 3. Own endpoints. Before the rest, so that they answer on every port, with or without a
    //    credential, and are never forwarded, whatever the policy allows.
    if let Some(answer) = endpoints::answer(link, &parts.method, &target.path, &parts.headers) {
        return answer.map(Verdict::Own).map_err(Fault::from);
    }

    // 4. A provider without a credential serves nothing.
    //    One whose credential is not there yet, or not any more, serves nothing for now.
    let Some(serving) = &link.gateway.serving else {
        return Err(Refusal::NotConfigured.into());
    };
    let held = serving.current.get();
    let Some(held) = held.as_ref() else {
        return Err(Refusal::CredentialNotReady.into());
    };

    // 5. Whether it is a well-formed WebSocket handshake, if it asks for an upgrade at all. Before the
    //    routes, which treat a WebSocket differently; before the stripping, which takes `Upgrade` away.
    let mut handshake = match parts.headers.contains_key(header::UPGRADE) {
        // A signature is for one request and its body.
        true if held.injector.signer().is_some() => return Err(Refusal::WebSocketNotCarried.into()),
        true => Some(websocket::check(&parts.method, &parts.headers)?),
        false => None,
    };

    leak::look_at_path(link, &target.path, record);

    // 6. Whether it may be asked. Before the body is touched and before the credential is near.
    let provider = link.provider();
    let api_path = ApiPath::new(&target.path, &provider.base_path, &provider.versions);
    authorize(
        &parts.method,
        &api_path,
        handshake.is_some(),
        &provider.routes,
    )?;

    // 7. The size that it announces. After the routes, so that a refusal says the more useful thing.
    let announced = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|it| it.to_str().ok());
    if announced
        .and_then(|it| it.parse().ok())
        .is_some_and(|it: u64| it > link.shared().limits.body)
    {
        return Err(Refusal::BodyTooLarge.into());
    }

    // 8. Strip. After the handshake was read, before the injection: the other way round, a header of
    //    the workload could stay beside ours or name ours in `Connection`.
    let stripper = Stripper::new(provider, &link.shared().providers);
    stripper.strip(&mut parts.headers)?;
    let query = match target.query {
        Some(query) => stripper.strip_query(query)?,
        None => None,
    };
    if let Some(handshake) = &mut handshake {
        handshake.strip(&mut parts.headers, stripper)?;
    }
    strip::cut_encodings(&mut parts.headers);
    parts
        .headers
        .insert(request_id::NAME, record.request_id.clone());

    // 9. Secrets in what goes on of the head. After the stripping, which takes away what may be one; before the
    //    injection, which puts one in.
    leak::look(link, query.as_deref(), &parts.headers, record)?;

    // What the settings take out of the head; what the injection adds stays.
    let rules = &link.shared().rewrite;
    if let Some(asked) = rewrite::head(rules, &serving.refused, &mut parts.headers) {
        parts.extensions.insert(asked);
    }

    // 10. Inject, and only into a request for this provider's own target: the URI is made of the
    //    settings and of a path that cannot climb, never of the workload's `Host`.
    held.injector.inject(&mut parts.headers);
    let query = held.injector.inject_query(query);
    parts.uri = forward::uri(serving, &api_path, query.as_deref()).ok_or(Fault::Internal(
        "the target, the base path and the path make no URI",
    ))?;

    Ok(match handshake {
        Some(handshake) => Verdict::Tunnel(handshake, Arc::clone(held)),
        None => Verdict::Forward(serving, Arc::clone(held)),
    })
}

/// An answer of our own that is not a fault.
fn own(
    response: Response<bytes::Bytes>,
    upgrade: bool,
    mut record: Box<Record>,
) -> Response<ResponseBody> {
    record.answered(response.status(), None);
    finish(response, upgrade, record)
}

fn finish(
    response: Response<bytes::Bytes>,
    upgrade: bool,
    record: Box<Record>,
) -> Response<ResponseBody> {
    let id = record.request_id.clone();
    let mut response = response.map(|bytes| ResponseBody::own(bytes, Some(record)));
    response.headers_mut().insert(request_id::NAME, id);
    // The guard reads nothing behind a request to upgrade that was not granted.
    if upgrade {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
