// SPDX-License-Identifier: MIT OR Apache-2.0
//! Values of `anthropic-beta` that a provider does not take: betas end, and clients go on asking for them. If the
//! settings say so, they are dropped, the request is sent again, once, and no later request of the run asks for them.

use std::{
    collections::BTreeSet,
    pin::Pin,
    sync::{Mutex, PoisonError},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use hyper::body::{Body as _, Incoming};
use tokio::time::{Instant, timeout_at};

use super::inspect::decoded;

pub(super) const NAME: HeaderName = HeaderName::from_static("anthropic-beta");

/// Longest refusal that is read. Errors are a few hundred bytes.
const LONGEST: usize = 64 * 1024;

/// Values that are remembered: the workload chooses them.
const REMEMBERED: usize = 256;

/// What the workload asks for in one request. What the injection adds is not among it, and never dropped.
#[derive(Clone, Debug)]
pub(super) struct Asked(pub(super) Vec<String>);

/// What a provider did not take in this run.
#[derive(Debug, Default)]
pub(super) struct Refused(Mutex<BTreeSet<String>>);

impl Refused {
    pub(super) fn contains(&self, value: &str) -> bool {
        let refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        refused.contains(value)
    }

    pub(super) fn remember(&self, values: &[String]) {
        let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for value in values {
            if refused.len() < REMEMBERED {
                refused.insert(value.clone());
            }
        }
    }
}

impl Asked {
    /// Those that a refusal names.
    fn refused(&self, text: &str) -> Vec<String> {
        if !text.contains(NAME.as_str()) {
            return Vec::new();
        }
        let named = |value: &&String| {
            let mut places = text.match_indices(value.as_str());
            places.any(|(at, _)| stands_alone(text, at, value.len()))
        };
        self.0.iter().filter(named).cloned().collect()
    }

    /// Reads an answer with status 400: what is to be dropped, and what was read, which may be the workload's still.
    pub(super) async fn look(
        &self,
        answer: &mut Response<Incoming>,
        end: Instant,
    ) -> (Vec<String>, Option<Bytes>) {
        let mut read = BytesMut::new();
        let mut is_whole = false;
        let reading = async {
            while read.len() <= LONGEST {
                let body = answer.body_mut();
                let next = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
                match next.map(|it| it.map(http_body::Frame::into_data)) {
                    Some(Ok(Ok(data))) => read.extend_from_slice(&data),
                    // Trailers are the end. What broke off, breaks off for the workload, too.
                    None | Some(Ok(Err(_))) => {
                        is_whole = true;
                        return;
                    }
                    Some(Err(_broken)) => return,
                }
            }
        };
        // Late: what is there goes on, and the rest has its own patience.
        drop(timeout_at(end, reading).await);
        let read = read.freeze();
        let most = u64::try_from(LONGEST * 16).unwrap_or(u64::MAX);
        let text = decoded(answer.headers(), &read, most).ok();
        let text = text.filter(|_| is_whole);
        let text = text.as_deref().map(String::from_utf8_lossy);
        let refused = self.refused(text.as_deref().unwrap_or_default());
        (refused, (!read.is_empty()).then_some(read))
    }
}

/// Whether no neighbour makes a longer name of it.
fn stands_alone(text: &str, at: usize, length: usize) -> bool {
    let is_name = |it: &u8| it.is_ascii_alphanumeric() || b"-_.".contains(it);
    let before = text.as_bytes().get(..at).and_then(<[u8]>::last);
    let behind = text.as_bytes().get(at + length);
    // A sentence may end behind it.
    let ends = behind == Some(&b'.') && !text.as_bytes().get(at + length + 1).is_some_and(is_name);
    !before.is_some_and(is_name) && (ends || !behind.is_some_and(is_name))
}

/// The values of all `anthropic-beta`; `None`: not text, so no list of ours.
pub(super) fn values(headers: &HeaderMap) -> Option<Vec<String>> {
    let mut all = Vec::new();
    for value in headers.get_all(&NAME) {
        let values = value.to_str().ok()?.split(',').map(str::trim);
        all.extend(values.filter(|it| !it.is_empty()).map(str::to_owned));
    }
    Some(all)
}

/// Leaves those out that are dropped.
pub(super) fn retain(headers: &mut HeaderMap, mut keep: impl FnMut(&str) -> bool) {
    let Some(mut all) = values(headers) else {
        return;
    };
    all.retain(|it| keep(it));
    match HeaderValue::from_str(&all.join(", ")) {
        Ok(value) if !all.is_empty() => {
            headers.insert(NAME, value);
        }
        Ok(_) | Err(_) => {
            headers.remove(NAME);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_whole_is_refused() {
        let asked = [
            "old-2024-01-01",
            "old",
            "new-2025-01-01",
            "new-2025-01-01.b",
        ];
        let asked = Asked(asked.map(str::to_owned).into());
        let says = "Unexpected value(s) `old-2024-01-01` for the `anthropic-beta` header.";
        assert_eq!(asked.refused(says), ["old-2024-01-01"]);
        let elsewhere = "old-2024-01-01 is bad";
        assert!(asked.refused(elsewhere).is_empty());
        for (text, found) in [
            (
                "anthropic-beta: unknown new-2025-01-01",
                &["new-2025-01-01"][..],
            ),
            ("anthropic-beta: no new-2025-01-01.", &["new-2025-01-01"]),
            (
                "anthropic-beta: no new-2025-01-01.b!",
                &["new-2025-01-01.b"],
            ),
            (
                "anthropic-beta: no old,new-2025-01-01",
                &["old", "new-2025-01-01"],
            ),
            ("anthropic-beta: no bold old_ -old olden", &[]),
            ("anthropic-beta: something else", &[]),
        ] {
            assert_eq!(asked.refused(text), found, "{text}");
        }
    }

    #[test]
    fn so_many_are_remembered() {
        let refused = Refused::default();
        for at in 0..=REMEMBERED {
            refused.remember(&[at.to_string()]);
        }
        assert!(refused.contains("0") && refused.contains("255"));
        assert!(!refused.contains("256"));
    }
}
