// SPDX-License-Identifier: MIT OR Apache-2.0
//! AWS Signature Version 4, as the receiver judges it: everything is worked out again from the request as it came and
//! from a secret of one's own, and compared.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::{digest, hmac};
use http::request::Parts;

use crate::provider::host;

/// The only AWS access key that is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessKey {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: String,
    /// Its session token, if it is a temporary one.
    pub token: Option<String>,
}

/// How far the signer's clock may be from this one.
const SKEW: Duration = Duration::from_secs(300);

/// Why a signature is refused, with AWS's name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Incomplete(&'static str),
    UnrecognizedClient,
    Signature(&'static str),
}

impl Fault {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Incomplete(_) => "IncompleteSignatureException",
            Self::UnrecognizedClient => "UnrecognizedClientException",
            Self::Signature(_) => "InvalidSignatureException",
        }
    }

    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Incomplete(what) | Self::Signature(what) => what,
            Self::UnrecognizedClient => "The security token included in the request is invalid.",
        }
    }
}

/// Judges a request for `service`. Without its body, the digest in the headers is believed; if there is none, nothing
/// is wrong yet.
pub(crate) fn verify(
    parts: &Parts,
    body: Option<&[u8]>,
    service: &str,
    key: &AccessKey,
) -> Result<(), Fault> {
    let header = |name: &str| {
        let mut all = parts.headers.get_all(name).iter();
        let text = all.next().and_then(|it| it.to_str().ok());
        text.filter(|_| all.next().is_none())
    };
    let authorization = header("authorization")
        .and_then(|it| it.strip_prefix("AWS4-HMAC-SHA256 "))
        .ok_or(Fault::Incomplete("Authorization is not AWS4-HMAC-SHA256"))?;
    let part = |name: &str| {
        let mut all = authorization.split(',').map(str::trim);
        all.find_map(|it| it.strip_prefix(name)?.strip_prefix('='))
    };
    let missing = Fault::Incomplete("Authorization lacks a part");
    let credential = part("Credential").ok_or(missing)?;
    let signed = part("SignedHeaders").ok_or(missing)?;
    let signature = part("Signature").ok_or(missing)?;
    let scope: Vec<&str> = credential.split('/').collect();
    let &[id, date, region, for_service, "aws4_request"] = scope.as_slice() else {
        return Err(Fault::Incomplete("Credential is no scope"));
    };
    if id != key.id || header("x-amz-security-token") != key.token.as_deref() {
        return Err(Fault::UnrecognizedClient);
    }
    // The host of a regional service has the region behind its first label.
    if for_service != service || host(parts).split('.').nth(1) != Some(region) {
        return Err(Fault::Signature(
            "Credential should be scoped to this service and region.",
        ));
    }
    let time = header("x-amz-date").ok_or(Fault::Incomplete("x-amz-date is missing"))?;
    let far = || Fault::Signature("Signature expired, or not yet current.");
    let at = seconds(time).ok_or_else(far)?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    if !time.starts_with(date) || now.abs_diff(at) > SKEW.as_secs() {
        return Err(far());
    }
    let signed_names: Vec<&str> = signed.split(';').collect();
    let amazons = parts
        .headers
        .keys()
        .filter(|it| it.as_str().starts_with("x-amz-"));
    let unsigned = amazons
        .into_iter()
        .any(|it| !signed_names.contains(&it.as_str()));
    if unsigned || !signed_names.contains(&"host") || !signed_names.is_sorted() {
        return Err(Fault::Signature(
            "Host and x-amz- headers have to be signed, in order.",
        ));
    }

    let claimed = header("x-amz-content-sha256");
    let of_body = body.map(sha256);
    let Some(digest) = of_body.or_else(|| claimed.map(str::to_owned)) else {
        // Most services are not told it: only the body will show.
        return Ok(());
    };
    if claimed.is_some_and(|it| it != digest) {
        return Err(Fault::Signature("The digest is not the body's."));
    }
    let headers: Vec<String> = signed_names
        .iter()
        .map(|it| format!("{it}:{}\n", value(parts, it)))
        .collect();
    let query = parameters(parts.uri.query().unwrap_or_default());
    let canonical = format!(
        "{}\n{}\n{query}\n{}\n{signed}\n{digest}",
        parts.method,
        path(parts.uri.path()),
        headers.concat(),
    );
    let scope = format!("{date}/{region}/{service}/aws4_request");
    let text = format!(
        "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
        sha256(canonical.as_bytes())
    );
    let mut secret = format!("AWS4{}", key.secret).into_bytes();
    for step in [date, region, service, "aws4_request", &text] {
        let signing = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        secret = hmac::sign(&signing, step.as_bytes()).as_ref().to_vec();
    }
    match hex(&secret) == signature {
        true => Ok(()),
        false => Err(Fault::Signature(
            "The request signature we calculated does not match the signature you provided.",
        )),
    }
}

/// A header's values as they are signed. In HTTP/2 the host is no header.
fn value(parts: &Parts, name: &str) -> String {
    if name == "host"
        && let Some(authority) = parts.uri.authority()
    {
        return authority.to_string();
    }
    let values = parts.headers.get_all(name).iter().map(|it| {
        let text = String::from_utf8_lossy(it.as_bytes()).into_owned();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    });
    values.collect::<Vec<_>>().join(",")
}

/// What was sent, escaped again.
fn path(path: &str) -> String {
    let segments = path.split('/').map(|it| quote(it.as_bytes()));
    segments.collect::<Vec<_>>().join("/")
}

fn parameters(query: &str) -> String {
    let pair = |it: &str| {
        let (name, value) = it.split_once('=').unwrap_or((it, ""));
        // What is escaped was escaped by the signer, once.
        let again = |text: &str| quote(text.as_bytes()).replace("%25", "%");
        format!("{}={}", again(name), again(value))
    };
    let mut all: Vec<String> = query
        .split('&')
        .filter(|it| !it.is_empty())
        .map(pair)
        .collect();
    all.sort();
    all.join("&")
}

fn quote(bytes: &[u8]) -> String {
    let each = bytes.iter().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(*byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    });
    each.collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}

/// Since the epoch, of `20150830T123600Z`.
fn seconds(time: &str) -> Option<u64> {
    let digits = |from: usize, to: usize| time.get(from..to)?.parse::<u64>().ok();
    if time.len() != 16 || time.get(8..9) != Some("T") || !time.ends_with('Z') {
        return None;
    }
    let (year, month, day) = (digits(0, 4)?, digits(4, 6)?, digits(6, 8)?);
    let (hour, minute, second) = (digits(9, 11)?, digits(11, 13)?, digits(13, 15)?);
    // Days before the year, and before the month as if the year began in March.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year.checked_sub(1)?, month + 9)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    let days = days.checked_sub(719_469)?;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(seconds("20150830T123600Z"), Some(1_440_938_160));
        assert_eq!(seconds("19700101T000000Z"), Some(0));
        assert_eq!(seconds("20000229T000001Z"), Some(951_782_401));
        for wrong in ["", "20150830", "20150830T12360Z0", "2015083xT123600Z"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_old_signature_is_refused_before_it_is_compared() {
        // The vector get-vanilla of AWS's test suite, for another host.
        let request = Request::get("https://service.us-east-1.amazonaws.com/")
            .header("x-amz-date", "20150830T123600Z")
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                 SignedHeaders=host;x-amz-date, \
                 Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            );
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let mut key = AccessKey {
            id: "AKIDEXAMPLE".to_owned(),
            secret: "x".to_owned(),
            token: None,
        };
        let judged = |key: &AccessKey, service| verify(&parts, Some(b""), service, key);
        let expired = Fault::Signature("Signature expired, or not yet current.");
        assert_eq!(judged(&key, "service"), Err(expired));
        assert!(matches!(judged(&key, "other"), Err(Fault::Signature(_))));
        key.token = Some("t".to_owned());
        assert_eq!(judged(&key, "service"), Err(Fault::UnrecognizedClient));
    }
}
