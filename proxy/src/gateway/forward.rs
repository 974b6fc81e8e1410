// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sends a finished request to its provider and hands the answer on as it comes.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version, header, request::Parts,
};
use tokio::time::Instant;

use super::{
    Link, Serving,
    betas::Asked,
    body::{RequestBody, ResponseBody},
    current::InForce,
    mask::Masked,
    path::ApiPath,
    request_id,
    retry::Retrying,
    sign::{Signature, Signer},
    strip,
};
use crate::{
    patience::Patience,
    refusal::{Fault, UpstreamFault},
    request_log::Record,
};

/// The absolute URI of a request.
pub(super) fn uri(serving: &Serving, path: &ApiPath<'_>, query: Option<&str>) -> Option<Uri> {
    let mut text = String::with_capacity(128);
    path.write_to(&mut text);
    if let Some(query) = query {
        text.push('?');
        text.push_str(query);
    }
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(serving.scheme.clone());
    parts.authority = Some(serving.authority.clone());
    parts.path_and_query = Some(http::uri::PathAndQuery::from_maybe_shared(text).ok()?);
    Uri::from_parts(parts).ok()
}

/// Sends the request and waits for the answer's head; the bodies stream by themselves. A fault comes
/// with the record, for the answer that will be given instead.
pub(super) async fn forward(
    link: &Arc<Link>,
    serving: &Serving,
    held: &InForce,
    mut parts: Parts,
    mut body: RequestBody,
    mut record: Box<Record>,
) -> Result<Response<ResponseBody>, (Fault, Box<Record>)> {
    let limits = &link.shared().limits;
    let end = Instant::now() + limits.total;
    let mut asked = parts.extensions.remove::<Asked>();
    // The version and the extensions are the workload's connection's.
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    let signature = match held.injector.signer() {
        None => body.read_ahead().await.map(|()| None),
        // Boxed, too.
        Some(signer) => Box::pin(sealed(signer, &mut parts, &mut body))
            .await
            .map(Some),
    };
    let signature = match signature {
        Ok(signature) => signature,
        Err(fault) => return Err((fault, record)),
    };
    let mut request = Request::from_parts(parts, body);
    // Boxed: it is rare, and every request would be larger.
    let retry = &link.shared().retry;
    let mut retrying = Retrying::new(retry, asked.is_some(), &mut request).map(Box::new);
    let (reply, first) = loop {
        // Each time anew: a signature is good for minutes.
        if let Some(signature) = &signature
            && signature.put(&mut request).is_none()
        {
            return Err((Fault::Internal("the signature makes no header"), record));
        }
        let late = Instant::now() + limits.first_byte;
        let sent = link.await_until(late.min(end), serving.pool.send(request));
        let mut reply = match sent.await {
            Some(Ok(reply)) => reply,
            Some(Err(fault)) => return Err((blame(link, fault), record)),
            None if end <= late => {
                return Err((blame(link, UpstreamFault::TotalTimedOut), record));
            }
            None => return Err((blame(link, UpstreamFault::FirstByteTimedOut), record)),
        };
        if reply.response.status() == StatusCode::BAD_REQUEST
            && let Some((asked, retrying)) = asked.take().zip(retrying.as_mut())
        {
            let (refused, read) = Box::pin(asked.look(&mut reply.response, late.min(end))).await;
            let Some(again) = retrying.without(&refused) else {
                break (reply, read);
            };
            serving.refused.remember(&refused);
            reply.lease.give_back();
            record.retried();
            request = again;
            continue;
        }
        let answer = &reply.response;
        let next = retrying
            .as_mut()
            .and_then(|it| it.next(answer.status(), answer.headers(), end));
        let Some((wait, again)) = next else {
            break (reply, None);
        };
        // The answer that nobody gets holds a connection, which waits for nothing.
        drop(reply);
        record.retried();
        tokio::time::sleep(wait).await;
        request = again;
    };
    let (mut parts, incoming) = reply.response.into_parts();
    // 101 without a request to upgrade is not an answer.
    if parts.status.is_informational() {
        return Err((UpstreamFault::Reset.into(), record));
    }
    let theirs = parts
        .headers
        .insert(request_id::NAME, record.request_id.clone());
    record.forwarded(parts.status, reply.address, theirs);
    strip::strip_response(&mut parts.headers);
    record.watch(&parts.headers);
    let masked = mask_answer(held, &mut parts.headers, &mut record);
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    let patience = Patience::new(limits.upstream_idle).until(end);
    let body = ResponseBody::relayed(
        (first, incoming),
        Some(reply.lease),
        patience,
        masked,
        record,
    );
    Ok(Response::from_parts(parts, body))
}

/// Covers the credential in an answer's head, and will in its body.
pub(super) fn mask_answer(
    held: &InForce,
    headers: &mut HeaderMap,
    record: &mut Record,
) -> Option<Masked> {
    let mask = held.injector.mask()?;
    if mask.cover_head(headers) {
        record.masked();
    }
    Some(mask.of_body(headers))
}

/// Waits for all of the body, which a signature covers by its digest.
async fn sealed<'a>(
    signer: &'a Signer,
    parts: &mut Parts,
    body: &mut RequestBody,
) -> Result<Signature<'a>, Fault> {
    let all = body.collect().await?;
    if !all.is_empty() {
        let length = HeaderValue::from(all.len());
        parts.headers.insert(header::CONTENT_LENGTH, length);
    }
    Ok(signer.over(&all))
}

/// If the workload's body broke, the upstream's complaint is only its echo.
fn blame(link: &Link, fault: UpstreamFault) -> Fault {
    link.verdicts
        .broken_body()
        .map_or(fault.into(), Fault::from)
}
