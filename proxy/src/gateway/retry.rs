// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sends a request again after an answer that asks for that, if the settings say so, or after one that refuses what can be
//! left out of it (`betas`).
//!
//! Only an answer by which the provider says that it did nothing, and when it wants to be asked again;
//! and only with a body that was small enough to keep a copy of while it passed. Everything else is the
//! workload's to decide. Where it goes away meanwhile, hyper drops the future that waits here, and
//! nothing is sent again.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use http_body::Body as _;
use tokio::time::Instant;

use super::{betas, body::RequestBody};
use crate::{backoff::part, settings::Retry};

/// The largest body that is kept: above it are the prompts that hold whole files or images, of which a
/// copy for each request would be felt.
const MOST_KEPT: usize = 256 * 1024;

/// A copy of a body, made while it passes.
#[derive(Debug, Default)]
pub(super) struct Copied(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    whole: bool,
    too_large: bool,
}

impl Copied {
    /// A piece passes.
    pub(super) fn add(&self, piece: &[u8]) {
        let mut kept = self.lock();
        if kept.too_large || kept.bytes.len() + piece.len() > MOST_KEPT {
            kept.too_large = true;
            kept.bytes = Vec::new();
        } else {
            kept.bytes.extend_from_slice(piece);
        }
    }

    /// The body passed to its end.
    pub(super) fn end(&self) {
        self.lock().whole = true;
    }

    /// All of the body, if it passed and was kept.
    fn whole(&self) -> Option<Bytes> {
        let kept = self.lock();
        (kept.whole && !kept.too_large).then(|| Bytes::copy_from_slice(&kept.bytes))
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request that may be sent again.
pub(super) struct Retrying<'a> {
    settings: &'a Retry,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    /// `None`: there is no body.
    body: Option<Arc<Copied>>,
    sent: u32,
    waited: Duration,
}

impl<'a> Retrying<'a> {
    /// `None` where a request is never sent again, for another reason (`refusable`) neither: nothing is kept then.
    pub(super) fn new(
        settings: &'a Retry,
        refusable: bool,
        request: &mut Request<RequestBody>,
    ) -> Option<Self> {
        let least = request.body().size_hint().lower();
        let never = settings.statuses.is_empty() && !refusable;
        if never || usize::try_from(least).map_or(true, |it| it > MOST_KEPT) {
            return None;
        }
        let body = (!request.body().is_end_stream()).then(Arc::<Copied>::default);
        if let Some(body) = &body {
            request.body_mut().copy_to(Arc::clone(body));
        }
        Some(Self {
            settings,
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
            body,
            sent: 1,
            waited: Duration::ZERO,
        })
    }

    /// After an answer: how long to wait and what to send then. `None`: the answer is the workload's.
    pub(super) fn next(
        &mut self,
        status: StatusCode,
        answered: &HeaderMap,
        end: Instant,
    ) -> Option<(Duration, Request<RequestBody>)> {
        if !self.settings.statuses.contains(&status.as_u16()) || self.sent >= self.settings.attempts
        {
            return None;
        }
        let asked = Duration::from_secs(
            answered
                .get(header::RETRY_AFTER)?
                .to_str()
                .ok()?
                .parse()
                .ok()?,
        );
        // Never before it was asked for, and not together with everybody who was told the same.
        let wait = asked.checked_add(part(asked / 10 + Duration::from_millis(100)))?;
        let waited = self.waited.checked_add(wait)?;
        if waited > self.settings.most || Instant::now().checked_add(wait)? >= end {
            return None;
        }
        let request = self.again()?;
        (self.sent, self.waited) = (self.sent + 1, waited);
        Some((wait, request))
    }

    /// After a refusal: what to send without these values of `anthropic-beta`, now and from here on. `None`: the refusal
    /// is the workload's.
    pub(super) fn without(&mut self, refused: &[String]) -> Option<Request<RequestBody>> {
        if refused.is_empty() {
            return None;
        }
        betas::retain(&mut self.headers, |it| !refused.iter().any(|no| no == it));
        self.again()
    }

    /// The same request; `None`: its body was not kept.
    fn again(&self) -> Option<Request<RequestBody>> {
        let body = match &self.body {
            None => RequestBody::empty(),
            Some(copied) => RequestBody::again(copied.whole()?),
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        Some(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: &'static str) -> Request<RequestBody> {
        Request::new(RequestBody::again(Bytes::from_static(body.as_bytes())))
    }

    fn settings(most: u64) -> Retry {
        Retry {
            statuses: vec![429],
            attempts: 3,
            most: Duration::from_secs(most),
        }
    }

    fn after(seconds: &'static str) -> HeaderMap {
        let value = http::HeaderValue::from_static(seconds);
        HeaderMap::from_iter([(header::RETRY_AFTER, value)])
    }

    #[test]
    fn only_what_was_set_and_asked_for_is_waited_out() {
        let far = Instant::now() + Duration::from_secs(1000);
        let many = StatusCode::TOO_MANY_REQUESTS;
        assert!(Retrying::new(&Retry::default(), false, &mut request("")).is_none());
        let settings = settings(30);
        let mut retrying = Retrying::new(&settings, false, &mut request("")).unwrap();
        assert!(retrying.next(StatusCode::OK, &after("1"), far).is_none());
        assert!(
            retrying
                .next(StatusCode::SERVICE_UNAVAILABLE, &after("1"), far)
                .is_none()
        );
        assert!(retrying.next(many, &HeaderMap::new(), far).is_none());
        assert!(retrying.next(many, &after("soon"), far).is_none());
        assert!(retrying.next(many, &after("31"), far).is_none());
        assert!(
            retrying
                .next(many, &after("18446744073709551615"), far)
                .is_none()
        );
        let near = Instant::now() + Duration::from_secs(5);
        assert!(retrying.next(many, &after("10"), near).is_none());
        let (wait, _) = retrying.next(many, &after("10"), far).unwrap();
        assert!((Duration::from_secs(10)..=Duration::from_millis(11_100)).contains(&wait));
        // All waits together.
        assert!(retrying.next(many, &after("21"), far).is_none());
        assert!(retrying.next(many, &after("1"), far).is_some());
        assert!(
            retrying.next(many, &after("1"), far).is_none(),
            "the third was the last"
        );
    }

    #[test]
    fn a_body_is_kept_whole_or_not_at_all() {
        let copied = Copied::default();
        copied.add(&[b'a'; MOST_KEPT]);
        assert_eq!(copied.whole(), None, "not to its end");
        copied.end();
        assert_eq!(copied.whole().map(|it| it.len()), Some(MOST_KEPT));
        copied.add(b"b");
        copied.add(b"c");
        assert_eq!(copied.whole(), None);
    }
}
