// SPDX-License-Identifier: MIT OR Apache-2.0
//! An AWS access key: an id, a secret that signs requests and is never sent, and for temporary ones a token
//! that is sent along.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use serde::Deserialize;
use zeroize::{Zeroize as _, Zeroizing};

use super::{CredentialError, MAX_CREDENTIAL};
use crate::{calendar::seconds, settings::is_identifier};

/// Longest id; AWS documents 128.
const MAX_ID: usize = 128;

/// An AWS access key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct AccessKey {
    /// No secret: it stands in every request, and in AWS's own logs.
    id: String,
    secret: Zeroizing<Vec<u8>>,
    token: Option<Zeroizing<Vec<u8>>>,
    /// When it ends, if that was said. For whoever fetches the next one: what is sent is the same.
    expires: Option<SystemTime>,
}

/// As `credential_process` of AWS's tools has it. `Version` is not needed.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Written {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    expiration: Option<String>,
}

impl AccessKey {
    /// Reads what `credential_process` prints: JSON with `AccessKeyId`, `SecretAccessKey`, and perhaps
    /// `SessionToken` and `Expiration`.
    pub(super) fn parse(json: &[u8]) -> Result<Self, CredentialError> {
        let written: Written =
            serde_json::from_slice(json).map_err(|_cause| CredentialError::NotAccessKey)?;
        let token = written.session_token.map(String::into_bytes);
        let mut key = Self::new(
            Zeroizing::new(written.access_key_id.into_bytes()),
            Zeroizing::new(written.secret_access_key.into_bytes()),
            token.map(Zeroizing::new),
        )?;
        if let Some(text) = written.expiration {
            let seconds = seconds(&text).ok_or(CredentialError::BadExpiration)?;
            key.expires = Some(UNIX_EPOCH + Duration::from_secs(seconds));
        }
        Ok(key)
    }

    /// Of its parts. White space around each is cut off; an empty token is none.
    pub(super) fn new(
        id: Zeroizing<Vec<u8>>,
        secret: Zeroizing<Vec<u8>>,
        token: Option<Zeroizing<Vec<u8>>>,
    ) -> Result<Self, CredentialError> {
        let id = str::from_utf8(id.trim_ascii())
            .unwrap_or_default()
            .to_owned();
        let token = token.filter(|it| !it.trim_ascii().is_empty());
        let plain = |it: &[u8]| {
            (1..=MAX_CREDENTIAL).contains(&it.len()) && it.iter().all(u8::is_ascii_graphic)
        };
        let trimmed = |it: &Zeroizing<Vec<u8>>| Zeroizing::new(it.trim_ascii().to_vec());
        let (secret, token) = (trimmed(&secret), token.as_ref().map(trimmed));
        let fine = is_identifier(&id, MAX_ID)
            && plain(&secret)
            && token.as_ref().is_none_or(|it| plain(it));
        match fine {
            true => Ok(Self {
                id,
                secret,
                token,
                expires: None,
            }),
            false => Err(CredentialError::NotAccessKey),
        }
    }

    /// As [`Self::parse`] reads it, without its end: whoever reads it fetches no other. Nothing in it needs an escape but `"` and `\`, which no part has that AWS made.
    pub(super) fn write(&self) -> Zeroizing<Vec<u8>> {
        let token = self.token.as_ref().map_or(0, |it| it.len());
        // Never grows, so that no copy is left behind: at worst each byte has an escape.
        let most = 128 + self.id.len() + 2 * (self.secret.len() + token);
        let mut text = Zeroizing::new(Vec::with_capacity(most));
        text.extend_from_slice(b"{\"AccessKeyId\":\"");
        text.extend_from_slice(self.id.as_bytes());
        for (name, value) in [
            ("SecretAccessKey", Some(&self.secret)),
            ("SessionToken", self.token.as_ref()),
        ] {
            let Some(value) = value else { continue };
            text.extend_from_slice(b"\",\"");
            text.extend_from_slice(name.as_bytes());
            text.extend_from_slice(b"\":\"");
            for byte in value.iter() {
                if matches!(byte, b'"' | b'\\') {
                    text.push(b'\\');
                }
                text.push(*byte);
            }
        }
        text.extend_from_slice(b"\"}");
        text
    }

    /// What must not be seen: the secret, and the token.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &[u8]> {
        let token = self.token.iter().map(|it| it.as_slice());
        std::iter::once(self.secret.as_slice()).chain(token)
    }

    /// When it ends, if that was said.
    pub(super) fn expires(&self) -> Option<SystemTime> {
        self.expires
    }

    /// Whose it is.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// What is sent along with a signature of a temporary key.
    pub(crate) fn token(&self) -> Option<&[u8]> {
        self.token.as_ref().map(|it| it.as_slice())
    }

    /// The key for requests of one day to one service in one region, which signs `text` (AWS General Reference,
    /// "Signature Version 4": each step's result is the next one's key).
    pub(crate) fn sign(&self, date: &str, region: &str, service: &str, text: &[u8]) -> [u8; 32] {
        let mut key = Zeroizing::new(Vec::with_capacity(4 + self.secret.len()));
        key.extend_from_slice(b"AWS4");
        key.extend_from_slice(&self.secret);
        let mut result = Zeroizing::new([0; 32]);
        for step in [date, region, service, "aws4_request"] {
            let tag = sign(&Key::new(HMAC_SHA256, &key), step.as_bytes());
            result.copy_from_slice(tag.as_ref());
            key.zeroize();
            key.extend_from_slice(result.as_slice());
        }
        let mut signature = [0; 32];
        signature.copy_from_slice(sign(&Key::new(HMAC_SHA256, &key), text).as_ref());
        signature
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_credential_process_prints_is_read() {
        let printed = br#"{
            "Version": 1, "AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": "a/b+c", "SessionToken": "t==",
            "Expiration": "2030-01-01T00:00:00Z"
        }"#;
        let key = AccessKey::parse(printed).unwrap();
        assert_eq!((key.id(), key.token()), ("ASIAEXAMPLE", Some(&b"t=="[..])));
        assert_eq!(key.secrets().collect::<Vec<_>>(), [&b"a/b+c"[..], b"t=="]);
        let end = UNIX_EPOCH + Duration::from_secs(1_893_456_000);
        assert_eq!(key.expires(), Some(end));
        let again = AccessKey::parse(&key.write()).unwrap();
        assert_eq!(again.expires(), None);
        assert_eq!((again.id(), again.token()), (key.id(), key.token()));
        assert!(again.secrets().eq(key.secrets()));
        let odd = AccessKey::new(
            Zeroizing::new(b"A".to_vec()),
            Zeroizing::new(br#"a"b\c"#.to_vec()),
            None,
        );
        let odd = odd.unwrap();
        assert!(AccessKey::parse(&odd.write()).unwrap() == odd);
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        for text in [
            "{",
            "{}",
            r#"{"AccessKeyId":"A"}"#,
            r#"{"AccessKeyId":"","SecretAccessKey":"s"}"#,
            r#"{"AccessKeyId":"a/b","SecretAccessKey":"s"}"#,
            r#"{"AccessKeyId":"A","SecretAccessKey":" "}"#,
            r#"{"AccessKeyId":"A","SecretAccessKey":"s t"}"#,
            r#"{"AccessKeyId":"A","SecretAccessKey":"s","SessionToken":"a\r\nb"}"#,
        ] {
            let found = AccessKey::parse(text.as_bytes()).map(|_| ());
            assert_eq!(found, Err(CredentialError::NotAccessKey), "{text}");
        }
        let endless = r#"{"AccessKeyId":"A","SecretAccessKey":"s","Expiration":null}"#;
        assert_eq!(
            AccessKey::parse(endless.as_bytes()).unwrap().expires(),
            None
        );
        let unclear = endless.replace("null", r#""tomorrow""#);
        let fault = AccessKey::parse(unclear.as_bytes()).map(|_| ());
        assert_eq!(fault, Err(CredentialError::BadExpiration));
    }
}
