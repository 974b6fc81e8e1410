// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real secret, and the few things that may be done with one.
//!
//! A [`Credential`] has no `Display` and no `Serialize`, its `Debug` shows nothing, and its bytes are
//! wiped when it is dropped. It becomes text in exactly three places: the frame in which the supervisor
//! hands it to the proxy (`control`), the header that carries it upstream (`Credential::header`), which is
//! marked sensitive so that no library prints it either, and, for services that know nothing better, a
//! parameter of the query (`Credential::parameter`). An AWS access key's secret gets no further than the frame: it
//! signs (`AccessKey::sign`).

pub mod follow;

mod access_key;
mod federation;
mod fetch;
mod keep;
mod rotation;
pub(crate) mod runner;

use std::{collections::BTreeMap, fmt, time::SystemTime};

use http::HeaderValue;
use zeroize::Zeroizing;

pub(crate) use self::{
    access_key::AccessKey,
    fetch::{Client, Fetcher},
    keep::keep,
};
pub use self::{
    federation::Federation,
    rotation::{NotReplaced, Rotation},
};
use crate::{
    percent,
    provider::{AccessKeyVariables, Provider, Providers},
};

/// Longest credential that is accepted, in bytes: four times the longest signed token seen in use,
/// and still small enough for one header.
pub const MAX_CREDENTIAL: usize = 8 * 1024;

/// Slots of what a collector of telemetry is told: `telemetry:NAME` is the value of that header, `telemetry:` a token that is
/// sent as `Authorization: Bearer`. No provider's name has a colon.
pub(crate) const TELEMETRY: &str = "telemetry:";

/// One real secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(Form);

/// How a secret is used.
#[derive(Clone, PartialEq, Eq)]
enum Form {
    /// It is sent as it is.
    Sent(Zeroizing<Vec<u8>>),
    /// It signs.
    Signs(AccessKey),
}

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
    /// It begins like JSON and is no AWS access key.
    #[error(
        "it is no AWS access key: JSON with AccessKeyId, SecretAccessKey and perhaps SessionToken"
    )]
    NotAccessKey,
    /// It is an AWS access key with an `Expiration` that cannot be read.
    #[error("the Expiration of the AWS access key is no time such as 2030-01-01T00:00:00Z")]
    BadExpiration,
    /// Of an AWS access key one half is there.
    #[error(
        "an AWS access key has an id and a secret, and only one of them is set: set both or neither"
    )]
    HalfAccessKey,
}

impl Credential {
    /// Takes a secret. White space around it is cut off, as files and shells add newlines. JSON is taken for an AWS
    /// access key, as `credential_process` of AWS's tools prints it.
    ///
    /// # Errors
    ///
    /// When what is left is empty, too long or not printable ASCII, or JSON that is no access key.
    pub fn new(value: impl Into<Zeroizing<Vec<u8>>>) -> Result<Self, CredentialError> {
        let value = value.into();
        let trimmed = value.trim_ascii();
        if trimmed.is_empty() {
            return Err(CredentialError::Empty);
        }
        if trimmed.len() > MAX_CREDENTIAL {
            return Err(CredentialError::TooLong);
        }
        if trimmed.starts_with(b"{") {
            return AccessKey::parse(trimmed).map(Self::from);
        }
        if !trimmed.iter().all(u8::is_ascii_graphic) {
            return Err(CredentialError::NotPrintable);
        }
        Ok(Self(Form::Sent(Zeroizing::new(trimmed.to_vec()))))
    }

    /// Takes an AWS access key in its parts: id, secret, and perhaps a session token, each with white space around it
    /// or not.
    ///
    /// # Errors
    ///
    /// When one of them cannot be a part of one.
    pub fn access_key(
        id: Zeroizing<Vec<u8>>,
        secret: Zeroizing<Vec<u8>>,
        token: Option<Zeroizing<Vec<u8>>>,
    ) -> Result<Self, CredentialError> {
        AccessKey::new(id, secret, token).map(Self::from)
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
        Self::new(value)?.unless_placeholder(providers)
    }

    fn unless_placeholder(self, providers: &Providers) -> Result<Self, CredentialError> {
        let mut secrets = self.secrets();
        match secrets.any(|it| providers.is_placeholder(it)) {
            true => Err(CredentialError::Placeholder),
            false => {
                drop(secrets);
                Ok(self)
            }
        }
    }

    /// Whether `other` is this secret, or a secret part of it. The time does not tell where they differ.
    #[must_use]
    pub fn matches(&self, other: &[u8]) -> bool {
        let same = |own: &[u8]| {
            let pairs = own.iter().zip(other);
            let difference = pairs.fold(0u8, |all, (ours, theirs)| all | (ours ^ theirs));
            own.len() == other.len() && difference == 0
        };
        self.secrets().any(same)
    }

    /// Whether the secret starts with `prefix`: providers mark the kind of a token that way. An access key has no
    /// such mark.
    #[must_use]
    pub fn has_prefix(&self, prefix: &str) -> bool {
        self.expose().starts_with(prefix.as_bytes())
    }

    /// When it ends, if it says so.
    #[must_use]
    pub fn expires(&self) -> Option<SystemTime> {
        self.as_access_key().and_then(AccessKey::expires)
    }

    /// The AWS access key, if it is one.
    pub(crate) fn as_access_key(&self) -> Option<&AccessKey> {
        match &self.0 {
            Form::Sent(_) => None,
            Form::Signs(key) => Some(key),
        }
    }

    /// The header value `{scheme}{secret}`, marked sensitive. `scheme` carries its own space. `None`: it is not sent.
    pub(crate) fn header(&self, scheme: &str) -> Option<HeaderValue> {
        let Form::Sent(secret) = &self.0 else {
            return None;
        };
        let mut text = Zeroizing::new(Vec::with_capacity(scheme.len() + secret.len()));
        text.extend_from_slice(scheme.as_bytes());
        text.extend_from_slice(secret);
        let mut value = HeaderValue::from_bytes(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// `{name}={secret}` for a query, everything escaped that is not unreserved. `None`: it is not sent.
    pub(crate) fn parameter(&self, name: &str) -> Option<Zeroizing<String>> {
        let Form::Sent(secret) = &self.0 else {
            return None;
        };
        let mut text = Zeroizing::new(String::with_capacity(
            name.len() + 1 + percent::LONGEST * secret.len(),
        ));
        text.push_str(name);
        text.push('=');
        percent::encode(secret, &mut text);
        Some(text)
    }

    /// What is sent; of an access key, nothing.
    pub(crate) fn expose(&self) -> &[u8] {
        match &self.0 {
            Form::Sent(secret) => secret,
            Form::Signs(_) => &[],
        }
    }

    /// What must not be seen anywhere.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &[u8]> {
        let (sent, key) = match &self.0 {
            Form::Sent(secret) => (Some(secret.as_slice()), None),
            Form::Signs(key) => (None, Some(key)),
        };
        sent.into_iter()
            .chain(key.into_iter().flat_map(AccessKey::secrets))
    }

    /// As [`Self::new`] takes it, for the frame between supervisor and proxy only.
    pub(crate) fn written(&self) -> Zeroizing<Vec<u8>> {
        match &self.0 {
            Form::Sent(secret) => secret.clone(),
            Form::Signs(key) => key.write(),
        }
    }
}

impl From<AccessKey> for Credential {
    fn from(key: AccessKey) -> Self {
        Self(Form::Signs(key))
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
    /// is not empty, in the table's order; where there is none, its `access_key_variables`.
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
            // An empty variable is how shells and CI systems write "not set".
            let mut set = |name: &String| lookup(name).filter(|it| !it.trim_ascii().is_empty());
            let sent = provider.credential_variables.iter();
            let sent = sent.map(|name| (name, set(name)));
            let sent = sent.into_iter().find_map(|(name, it)| Some((name, it?)));
            let (name, credential) = match (sent, &provider.access_key_variables) {
                (Some((name, value)), _) => (name, Credential::real(value, providers)),
                (None, Some(AccessKeyVariables { id, secret, token })) => {
                    match (set(id), set(secret)) {
                        (None, None) => continue,
                        (Some(_), None) => (secret, Err(CredentialError::HalfAccessKey)),
                        (None, Some(_)) => (id, Err(CredentialError::HalfAccessKey)),
                        (Some(key), Some(value)) => {
                            let token = token.as_ref().and_then(set);
                            let credential = Credential::access_key(key, value, token);
                            (
                                secret,
                                credential.and_then(|it| it.unless_placeholder(providers)),
                            )
                        }
                    }
                }
                (None, None) => continue,
            };
            match credential {
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
            .find(|(_, it)| it.secrets().any(holds))
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
    fn an_access_key_is_known_by_its_secrets_and_never_sent() {
        let json = r#"{ "AccessKeyId": "AKIA1", "SecretAccessKey": "s3cret/key", "SessionToken": "t0ken-1==" }"#;
        let it = credential(json).unwrap();
        assert_eq!(format!("{it:?}"), "Credential(**)");
        assert!(it.matches(b"s3cret/key") && it.matches(b"t0ken-1==") && !it.matches(b"AKIA1"));
        assert!(it.header("Bearer ").is_none() && it.parameter("key").is_none());
        assert!(credential(str::from_utf8(&it.written()).unwrap()) == Ok(it.clone()));
        let mut all = Credentials::new();
        all.insert("bedrock", it);
        assert_eq!(all.found_in(b"x=s3cret/key"), Some("bedrock"));
        assert_eq!(all.found_in(b"x=AKIA1"), None);
        assert_eq!(credential("{}"), Err(CredentialError::NotAccessKey));
    }

    #[test]
    fn an_api_key_counts_more_than_an_access_key_and_half_of_one_is_a_fault() {
        let read = |set: &[(&str, &str)]| {
            Credentials::from_variables(&Providers::builtin(), |name| {
                let value = set.iter().find(|it| it.0 == name)?.1;
                Some(Zeroizing::new(value.as_bytes().to_vec()))
            })
        };
        let id = ("AWS_ACCESS_KEY_ID", "AKIA1");
        let secret = ("AWS_SECRET_ACCESS_KEY", "s3cret/key\n");
        let token = ("AWS_SESSION_TOKEN", "t0ken-1==");
        let of = |set: &[(&str, &str)]| read(set).unwrap().get("bedrock").cloned();
        assert!(of(&[id, secret]).unwrap().as_access_key().is_some());
        assert!(of(&[id, secret, token]).unwrap().matches(b"t0ken-1=="));
        let key = ("AWS_BEARER_TOKEN_BEDROCK", "ABSK1");
        assert!(of(&[key, id, secret]).unwrap().matches(b"ABSK1"));
        assert_eq!(of(&[token]), None);
        for (half, missing) in [(id, secret.0), (secret, id.0)] {
            let fault = (missing.to_owned(), CredentialError::HalfAccessKey);
            assert_eq!(read(&[half]), Err(vec![fault]));
        }
        let placeholder = "bedrock-api-key-placeholder-for-credential-isolation";
        let fault = read(&[("AWS_ACCESS_KEY_ID", placeholder), (secret.0, placeholder)]);
        let expected = (secret.0.to_owned(), CredentialError::Placeholder);
        assert_eq!(fault, Err(vec![expected]));
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
