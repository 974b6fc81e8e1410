// SPDX-License-Identifier: MIT OR Apache-2.0
//! The credential in answers: a provider that repeats what it was sent, as pages for debugging and some error messages
//! do, would hand it to the workload.
//!
//! An answer is looked through for the one credential that its request was sent with, in the forms in which it is repeated.
//! What is found is covered by as many asterisks, so no length changes and nothing else is touched. Inside a coding that
//! cannot be done: there the answer is broken off in front of the piece that holds it.

mod coded;
mod stream;

use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};
use http::{HeaderMap, HeaderValue, header};

pub(super) use self::stream::{Masked, Repeated};
use crate::{
    credential::Credential,
    percent,
    scan::encodings::{self, SHORTEST, Secret},
};

/// What stands where the credential stood.
const COVER: u8 = b'*';

/// Looks for one credential.
///
/// No `Debug`: it holds the credential in the clear, as the request's prepared header does.
pub(crate) struct Mask {
    search: AhoCorasick,
    forms: Vec<Secret>,
}

impl Mask {
    /// `None`: all of it is too short to be looked for.
    ///
    /// # Errors
    ///
    /// When the forms make no automaton.
    pub(crate) fn new(credential: &Credential) -> Result<Option<Arc<Self>>, String> {
        let forms: Vec<_> = credential
            .secrets()
            .filter(|secret| secret.len() >= SHORTEST)
            .flat_map(|secret| encodings::of(secret).into_iter().chain(escaped(secret)))
            .collect();
        if forms.is_empty() {
            return Ok(None);
        }
        let search = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(forms.iter().map(|it| it.as_slice()))
            .map_err(|error| format!("the credential's forms: {error}"))?;
        Ok(Some(Arc::new(Self { search, forms })))
    }

    /// Covers the credential in an answer's head.
    #[must_use]
    pub(super) fn cover_head(&self, headers: &mut HeaderMap) -> bool {
        let mut covered = false;
        // Most values have no room for it.
        let shortest = self.search.min_pattern_len();
        for value in headers.values_mut() {
            if value.len() < shortest || !self.is_in(value.as_bytes()) {
                continue;
            }
            let mut bytes = value.as_bytes().to_vec();
            self.cover(&mut bytes);
            // It was a value before, and asterisks make it no worse.
            *value = HeaderValue::from_bytes(&bytes).unwrap_or(HeaderValue::from_static("*"));
            covered = true;
        }
        covered
    }

    /// For the body behind this head.
    pub(super) fn of_body(self: &Arc<Self>, headers: &HeaderMap) -> Masked {
        let coding = headers.get(header::CONTENT_ENCODING);
        let coding = coding.and_then(|it| it.to_str().ok()).unwrap_or_default();
        Masked::new(Arc::clone(self), coding)
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        self.search.is_match(bytes)
    }

    fn cover(&self, bytes: &mut [u8]) {
        let mut from = 0;
        while let Some(found) = bytes.get(from..).and_then(|it| self.search.find(it)) {
            let (start, end) = (from + found.start(), from + found.end());
            if let Some(found) = bytes.get_mut(start..end) {
                found.fill(COVER);
            }
            from = end;
        }
    }

    /// How many of the last bytes could be the beginning of the credential.
    fn begun(&self, bytes: &[u8]) -> usize {
        let begun = |form: &Secret| {
            let first = form.first()?;
            let from = bytes.len().saturating_sub(form.len() - 1);
            let tail = bytes.get(from..)?;
            memchr::memchr_iter(*first, tail)
                .filter_map(|at| tail.get(at..))
                .find(|end| form.starts_with(end))
                .map(<[u8]>::len)
        };
        self.forms.iter().filter_map(begun).max().unwrap_or(0)
    }

    /// How many bytes in front of a piece may belong to what ends in it.
    fn reach(&self) -> usize {
        let longest = self.forms.iter().map(|it| it.len()).max();
        longest.unwrap_or(1) - 1
    }
}

/// As it stands in a URL and in a JSON text whose writer escapes slashes, where that is something else.
fn escaped(secret: &[u8]) -> impl Iterator<Item = Secret> + use<> {
    let mut url = String::with_capacity(percent::LONGEST * secret.len());
    percent::encode(secret, &mut url);
    let url = Secret::new(url.into_bytes());
    let mut json = Secret::new(Vec::with_capacity(2 * secret.len()));
    for byte in secret.iter().copied() {
        if matches!(byte, b'/' | b'"' | b'\\') {
            json.push(b'\\');
        }
        json.push(byte);
    }
    let differ = [url, json].into_iter().zip([secret.len(); 2]);
    differ
        .filter(|(form, length)| form.len() != *length)
        .map(|(form, _)| form)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(super) const KEY: &str = "sk-real/key+0123456789";

    pub(super) fn mask() -> Arc<Mask> {
        let key = Credential::new(KEY.as_bytes().to_vec()).unwrap();
        Mask::new(&key).unwrap().unwrap()
    }

    fn covered(text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        mask().cover(&mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn every_form_is_covered_and_nothing_else() {
        for form in [
            KEY,
            "sk-real%2Fkey%2B0123456789",
            r"sk-real\/key+0123456789",
            "736b2d7265616c2f6b65792b30313233343536373839",
        ] {
            let text = format!(r#"{{"a":"{form}","b":"{form}x"}}"#);
            let stars = "*".repeat(form.len());
            assert_eq!(
                covered(&text),
                format!(r#"{{"a":"{stars}","b":"{stars}x"}}"#)
            );
        }
        for innocent in ["", "sk-real/key+012345678", "SK-REAL/KEY+0123456789"] {
            assert_eq!(covered(innocent), innocent);
        }
    }

    #[test]
    fn base64_is_covered_wherever_the_credential_stands_in_it() {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        for before in ["", "u:", "user:", "Bearer "] {
            let text = STANDARD.encode(format!("{before}{KEY}"));
            let covered = covered(&text);
            let left = covered.bytes().filter(|it| *it != COVER).count();
            // What its neighbours have a part in stays.
            assert!(left <= before.len() * 4 / 3 + 5, "{covered}");
            assert_eq!(covered.len(), text.len());
        }
    }

    #[test]
    fn what_could_be_its_beginning_is_known() {
        let mask = mask();
        for (text, begun) in [
            ("", 0),
            ("x", 0),
            ("xs", 1),
            ("xsk-", 3),
            ("sk-real/key+012345678", 21),
            ("sk-sk-real", 7),
            ("sk-realx", 0),
        ] {
            assert_eq!(mask.begun(text.as_bytes()), begun, "{text}");
        }
    }

    #[test]
    fn a_head_is_covered() {
        let mut headers = HeaderMap::new();
        headers.insert(
            "x-echo",
            HeaderValue::from_static("Bearer sk-real/key+0123456789"),
        );
        headers.insert("x-other", HeaderValue::from_static("value"));
        assert!(mask().cover_head(&mut headers));
        assert_eq!(
            headers["x-echo"],
            format!("Bearer {}", "*".repeat(KEY.len()))
        );
        assert_eq!(headers["x-other"], "value");
        assert!(!mask().cover_head(&mut headers));
    }

    #[test]
    fn a_short_credential_is_not_looked_for() {
        let key = Credential::new(b"sk-1".to_vec()).unwrap();
        assert!(Mask::new(&key).unwrap().is_none());
    }
}
