// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real secret, and the few things that may be done with one.
//!
//! A [`Credential`] has no `Display` and no `Serialize`, its `Debug` shows nothing, and its bytes are
//! wiped when it is dropped. It becomes text in exactly three places: the frame in which the supervisor
//! hands it to the proxy (`control`), the header that carries it upstream (`Credential::header`), which is
//! marked sensitive so that no library prints it either, and, for services that know nothing better, a
//! parameter of the query (`Credential::parameter`).

pub mod follow;

mod federation;
mod fetch;
mod keep;
mod rotation;
pub(crate) mod runner;

use std::{collections::BTreeMap, fmt};

use http::HeaderValue;
use zeroize::Zeroizing;

pub use self::{
    federation::Federation,
    rotation::{NotReplaced, Rotation},
};
pub(crate) use self::{
    fetch::{Client, Fetcher},
    keep::keep,
};
use crate::provider::{Provider, Providers};

/// Longest credential that is accepted, in bytes: four times the longest signed token seen in use,
/// and still small enough for one header.
pub const MAX_CREDENTIAL: usize = 8 * 1024;

/// One real secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(Zeroizing<Vec<u8>>);

/// Why a value cannot be a credential. Says nothing of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// Nothing is left after white space was cut off.
    #[error("it is empty")]
    Empty,
    /// Longer than [`MAX_CREDENTIAL`].
    #[error("it is longer than {MAX_CREDENTIAL} bytes")]
    TooLong,
    /// It holds a byte that no header may carry, or white space in the middle.
    #[error("it holds white space or a control character; is it the whole file, or two keys?")]
    NotPrintable,
    /// It is the placeholder that workloads get, so injecting it would be pointless.
    #[error("it is the placeholder that keyward gives to workloads, not a real key")]
    Placeholder,
}

impl Credential {
    /// Takes a secret. White space around it is cut off, as files and shells add newlines.
    ///
    /// # Errors
    ///
    /// When what is left is empty, too long or not printable ASCII.
    pub fn new(value: impl Into<Zeroizing<Vec<u8>>>) -> Result<Self, CredentialError> {
        let value = value.into();
        let trimmed = value.trim_ascii();
        if trimmed.is_empty() {
            return Err(CredentialError::Empty);
        }
        if trimmed.len() > MAX_CREDENTIAL {
            return Err(CredentialError::TooLong);
        }
        if !trimmed.iter().all(u8::is_ascii_graphic) {
            return Err(CredentialError::NotPrintable);
        }
        Ok(Self(Zeroizing::new(trimmed.to_vec())))
    }

    /// Takes a secret that is not one of the placeholders.
    ///
    /// # Errors
    ///
    /// As [`Credential::new`], and [`CredentialError::Placeholder`].
    pub fn real(
        value: impl Into<Zeroizing<Vec<u8>>>,
        providers: &Providers,
    ) -> Result<Self, CredentialError> {
        let credential = Self::new(value)?;
        match providers.is_placeholder(credential.expose()) {
            true => Err(CredentialError::Placeholder),
            false => Ok(credential),
        }
    }

    /// Whether `other` is this secret. The time does not tell where they differ.
    #[must_use]
    pub fn matches(&self, other: &[u8]) -> bool {
        let difference = self
            .0
            .iter()
            .zip(other)
            .fold(0u8, |all, (ours, theirs)| all | (ours ^ theirs));
        self.0.len() == other.len() && difference == 0
    }

    /// Whether the secret starts with `prefix`: providers mark the kind of a token that way.
    #[must_use]
    pub fn has_prefix(&self, prefix: &str) -> bool {
        self.0.starts_with(prefix.as_bytes())
    }

    /// The header value `{scheme}{secret}`, marked sensitive. `scheme` carries its own space.
    pub(crate) fn header(&self, scheme: &str) -> Option<HeaderValue> {
        let mut text = Zeroizing::new(Vec::with_capacity(scheme.len() + self.0.len()));
        text.extend_from_slice(scheme.as_bytes());
        text.extend_from_slice(&self.0);
        let mut value = HeaderValue::from_bytes(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// `{name}={secret}` for a query, everything escaped that is not unreserved.
    pub(crate) fn parameter(&self, name: &str) -> Zeroizing<String> {
        use std::fmt::Write as _;
        let mut text = Zeroizing::new(String::with_capacity(name.len() + 1 + 3 * self.0.len()));
        text.push_str(name);
        text.push('=');
        for byte in self.0.iter().copied() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                text.push(char::from(byte));
            } else {
                // Writing to a string does not fail.
                let _infallible = write!(text, "%{byte:02X}");
            }
        }
        text
    }

    /// The bytes, for the frame between supervisor and proxy only.
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(**)")
    }
}

/// What the proxy was given: secrets by the name of their slot, which for what is injected as it is, is the
/// provider's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials(BTreeMap<String, Credential>);

impl Credentials {
    /// None at all: every gateway port answers 503.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Fills a slot, in place of an earlier value.
    pub fn insert(&mut self, slot: &str, credential: Credential) {
        self.0.insert(slot.to_owned(), credential);
    }

    /// Reads the first variable of each provider's `credential_variables` that `lookup` has and that
    /// is not empty, in the table's order.
    ///
    /// # Errors
    ///
    /// Every variable whose value cannot be a credential, by name.
    pub fn from_variables(
        providers: &Providers,
        mut lookup: impl FnMut(&str) -> Option<Zeroizing<Vec<u8>>>,
    ) -> Result<Self, Vec<(String, CredentialError)>> {
        let mut found = Self::new();
        let mut faults = Vec::new();
        for provider in providers.iter() {
            let set = provider.credential_variables.iter().find_map(|name| {
                let value = lookup(name)?;
                // An empty variable is how shells and CI systems write "not set".
                (!value.trim_ascii().is_empty()).then_some((name, value))
            });
            let Some((name, value)) = set else { continue };
            match Credential::real(value, providers) {
                Ok(it) => found.insert(&provider.name, it),
                Err(fault) => faults.push((name.clone(), fault)),
            }
        }
        if faults.is_empty() {
            Ok(found)
        } else {
            Err(faults)
        }
    }

    /// What is in this slot.
    #[must_use]
    pub fn get(&self, slot: &str) -> Option<&Credential> {
        self.0.get(slot)
    }

    /// Whether `provider` can be served, now or once its credential is fetched.
    #[must_use]
    pub fn serve(&self, provider: &Provider) -> bool {
        provider.federation.is_some() || self.get(&provider.name).is_some()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The slots, and what is in them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Credential)> {
        self.0.iter().map(|(slot, it)| (slot.as_str(), it))
    }

    /// The slot whose secret stands somewhere in `text`: under another name, in a URL, in a header.
    ///
    /// A secret shorter than eight bytes counts only if it is the whole text: it may stand in anything by chance.
    #[must_use]
    pub fn found_in(&self, text: &[u8]) -> Option<&str> {
        const SHORT: usize = 8;
        let holds = |secret: &[u8]| match secret.len() {
            0..SHORT => text.trim_ascii() == secret,
            length => text.windows(length).any(|window| window == secret),
        };
        self.iter()
            .find(|(_, it)| holds(it.expose()))
            .map(|(slot, _)| slot)
    }

    /// Whether `value` is one of these secrets, whoever it belongs to.
    #[must_use]
    pub fn contains(&self, value: &[u8]) -> bool {
        let trimmed = value.trim_ascii();
        self.0.values().any(|it| it.matches(trimmed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(text: &str) -> Result<Credential, CredentialError> {
        Credential::new(text.as_bytes().to_vec())
    }

    #[test]
    fn debug_shows_nothing() {
        let it = credential("sk-very-secret").unwrap();
        assert_eq!(format!("{it:?}"), "Credential(**)");
        let header = it.header("Bearer ").unwrap();
        assert_eq!(header.as_bytes(), b"Bearer sk-very-secret");
        assert!(header.is_sensitive());
        assert_eq!(format!("{header:?}"), "Sensitive");
    }

    #[test]
    fn white_space_around_is_cut_and_inside_is_refused() {
        assert!(credential(" sk-1\n").unwrap().matches(b"sk-1"));
        assert_eq!(credential(" \n"), Err(CredentialError::Empty));
        assert_eq!(credential("a b"), Err(CredentialError::NotPrintable));
        assert_eq!(credential("a\r\nx: y"), Err(CredentialError::NotPrintable));
        assert_eq!(
            credential(&"x".repeat(MAX_CREDENTIAL + 1)),
            Err(CredentialError::TooLong)
        );
    }

    #[test]
    fn matching_is_exact() {
        let it = credential("sk-1").unwrap();
        assert!(it.matches(b"sk-1"));
        assert!(!it.matches(b"sk-"));
        assert!(!it.matches(b"sk-12"));
        assert!(!it.matches(b"sk-2"));
    }

    #[test]
    fn variables_are_read_in_order_and_faults_are_all_named() {
        let found = Credentials::from_variables(&Providers::builtin(), |name| match name {
            "OPENAI_API_KEY" => Some(Zeroizing::new(b"sk-real\n".to_vec())),
            "ANTHROPIC_API_KEY" => Some(Zeroizing::new(Vec::new())),
            _ => None,
        })
        .unwrap();
        assert!(found.get("openai").is_some_and(|it| it.matches(b"sk-real")));
        assert!(found.get("anthropic").is_none());
        assert!(found.contains(b" sk-real"));
        assert!(!found.contains(b"sk-other"));

        let faults = Credentials::from_variables(&Providers::builtin(), |name| match name {
            "OPENAI_API_KEY" => Some(Zeroizing::new(b"sk-placeholder-for-api-proxy".to_vec())),
            "ANTHROPIC_API_KEY" => Some(Zeroizing::new(b"two keys".to_vec())),
            _ => None,
        })
        .unwrap_err();
        assert_eq!(
            faults,
            [
                ("OPENAI_API_KEY".to_owned(), CredentialError::Placeholder),
                (
                    "ANTHROPIC_API_KEY".to_owned(),
                    CredentialError::NotPrintable
                )
            ]
        );
    }
}
