// SPDX-License-Identifier: MIT OR Apache-2.0
//! Secrets in a request's head, and the answer to a request that holds one.

use bytes::Bytes;
use http::{HeaderMap, Response};

use super::{Link, request_id};
use crate::{
    refusal::{Fault, Refusal},
    request_log::Record,
    respond::leaked,
};

/// Looks at the path, before anything can refuse the request and write the path down.
pub(super) fn look_at_path(link: &Link, path: &str, record: &mut Record) {
    let scanner = link.shared().scanner.as_ref();
    if let Some(finding) = scanner.and_then(|it| it.find(path.as_bytes())) {
        link.found(&finding);
        record.forget_path();
    }
}

/// Looks at what is sent on of the workload's head. What is found is not written down with it.
pub(super) fn look(
    link: &Link,
    query: Option<&str>,
    headers: &HeaderMap,
    record: &mut Record,
) -> Result<(), Refusal> {
    let Some(scanner) = &link.shared().scanner else {
        return Ok(());
    };
    if let Some(finding) = query.and_then(|it| scanner.find(it.as_bytes())) {
        link.found(&finding);
    }
    for (name, value) in headers {
        if let Some(finding) = scanner.find(value.as_bytes()) {
            link.found(&finding);
            if name == request_id::NAME {
                record.request_id = request_id::of(&HeaderMap::new());
            }
        }
    }
    match link.finding() {
        Some(_) if scanner.blocks() => Err(Refusal::SecretLeak),
        Some(_) | None => Ok(()),
    }
}

/// The answer to a request that was stopped because of a secret, with its name.
pub(super) fn answer(fault: Fault, link: &Link) -> Option<Response<Bytes>> {
    let stopped = fault == Fault::Downstream(Refusal::SecretLeak);
    let finding = link.finding().filter(|_| stopped)?;
    Some(leaked(&finding, link.provider()))
}
