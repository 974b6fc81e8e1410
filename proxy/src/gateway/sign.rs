// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signs a request with an AWS access key: AWS Signature Version 4, as headers (AWS General Reference,
//! "Create a signed AWS API request").
//!
//! What the workload signed with its placeholder has been stripped. A signature covers the whole body by its digest, so
//! this stands behind everything that changes a request, and each sending has a signature of its own.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header};

use crate::{calendar::civil, credential::AccessKey, provider::Signing};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const DIGEST: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// Signs the requests of one provider with one key. No `Debug`: it holds the key.
pub(crate) struct Signer {
    key: AccessKey,
    token: Option<HeaderValue>,
    service: String,
    region: String,
}

/// Signs one request, as often as it is sent.
pub(super) struct Signature<'a> {
    signer: &'a Signer,
    body: String,
}

impl Signer {
    /// `None`: the target is none of the service's own hosts.
    pub(super) fn new(key: &AccessKey, signing: &Signing) -> Option<Self> {
        let token = match key.token() {
            Some(token) => {
                let mut value = HeaderValue::from_bytes(token).ok()?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        Some(Self {
            key: key.clone(),
            token,
            service: signing.service.clone(),
            region: signing.region.clone()?,
        })
    }

    /// For a request with this body.
    pub(super) fn over(&self, body: &[u8]) -> Signature<'_> {
        Signature {
            signer: self,
            body: hexadecimal(digest(&SHA256, body).as_ref()),
        }
    }

    /// What goes into `Authorization`. The headers are those that are signed, by name, in order.
    fn authorization(
        &self,
        now: &Now,
        (method, path, query): (&str, &str, &str),
        headers: &[(&str, Vec<u8>)],
        body: &str,
    ) -> String {
        let names: Vec<&str> = headers.iter().map(|it| it.0).collect();
        let names = names.join(";");
        let mut canonical = Vec::with_capacity(1024);
        let mut line = |parts: &[&[u8]]| {
            parts.iter().for_each(|it| canonical.extend_from_slice(it));
            canonical.push(b'\n');
        };
        line(&[method.as_bytes()]);
        line(&[canonical_path(path).as_bytes()]);
        line(&[canonical_query(query).as_bytes()]);
        for (name, value) in headers {
            line(&[name.as_bytes(), b":", value]);
        }
        line(&[]);
        line(&[names.as_bytes()]);
        canonical.extend_from_slice(body.as_bytes());

        let scope = format!("{}/{}/{}/aws4_request", now.date, self.region, self.service);
        let canonical = hexadecimal(digest(&SHA256, &canonical).as_ref());
        let text = format!("{ALGORITHM}\n{}\n{scope}\n{canonical}", now.time);
        let signature = self
            .key
            .sign(&now.date, &self.region, &self.service, text.as_bytes());
        format!(
            "{ALGORITHM} Credential={}/{scope}, SignedHeaders={names}, Signature={}",
            self.key.id(),
            hexadecimal(&signature)
        )
    }
}

impl Signature<'_> {
    /// Puts the headers in, in place of an earlier sending's. `None`: one of them is no header, which checked keys and
    /// settings rule out.
    pub(super) fn put<B>(&self, request: &mut Request<B>) -> Option<()> {
        let now = Now::at(SystemTime::now());
        respell(request.uri_mut())?;
        let host = request.uri().authority()?.as_str().to_owned();
        let headers = request.headers_mut();
        headers.insert(DATE, HeaderValue::from_str(&now.time).ok()?);
        headers.insert(DIGEST, HeaderValue::from_str(&self.body).ok()?);
        headers.remove(TOKEN);
        if let Some(token) = &self.signer.token {
            headers.insert(TOKEN, token.clone());
        }
        let signed = signed(request.headers(), &host);
        let what = (
            request.method().as_str(),
            request.uri().path(),
            request.uri().query().unwrap_or_default(),
        );
        let text = self.signer.authorization(&now, what, &signed, &self.body);
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
        Some(())
    }
}

/// What is signed: the host, the type of the body, and everything that AWS reads as its own. The rest may be changed on
/// its way by the library that sends it.
fn signed<'a>(headers: &'a HeaderMap, host: &str) -> Vec<(&'a str, Vec<u8>)> {
    let mut all = vec![(header::HOST.as_str(), host.as_bytes().to_vec())];
    let is_signed =
        |it: &&HeaderName| **it == header::CONTENT_TYPE || it.as_str().starts_with("x-amz");
    for name in headers.keys().filter(is_signed) {
        all.push((
            name.as_str(),
            canonical_value(headers.get_all(name).iter().map(HeaderValue::as_bytes)),
        ));
    }
    all.sort_unstable_by_key(|it| it.0);
    all
}

/// The values of a header, in their order, each without white space around it, and with one space for several.
fn canonical_value<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut all = Vec::new();
    for (index, value) in values.enumerate() {
        if index > 0 {
            all.push(b',');
        }
        let words = value.split(|it| matches!(it, b' ' | b'\t'));
        for (index, word) in words.filter(|it| !it.is_empty()).enumerate() {
            if index > 0 {
                all.push(b' ');
            }
            all.extend_from_slice(word);
        }
    }
    all
}

/// Has the query sent as it is signed: what a `+` or a name without `=` means is then nobody's to guess.
fn respell(uri: &mut Uri) -> Option<()> {
    let query = uri.query().map(|it| (canonical_query(it), it));
    let Some((canonical, _)) = query.filter(|(canonical, sent)| canonical != sent) else {
        return Some(());
    };
    let target = match canonical.as_str() {
        "" => uri.path().to_owned(),
        canonical => format!("{}?{canonical}", uri.path()),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target.parse().ok()?);
    *uri = Uri::from_parts(parts).ok()?;
    Some(())
}

/// The path as it is sent, without empty and dot segments, escaped once more: all services but S3 want it so.
fn canonical_path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    let is_open = path.ends_with('/') && !segments.is_empty();
    let mut out = String::with_capacity(path.len() * 2);
    for segment in segments {
        out.push('/');
        escape(segment.as_bytes(), &mut out);
    }
    if is_open || out.is_empty() {
        out.push('/');
    }
    out
}

/// The parameters, read as a form's, each escaped anew, in the order of their names.
fn canonical_query(query: &str) -> String {
    let parameters = query.split('&').filter(|it| !it.is_empty());
    let anew = |text: &str| {
        let mut out = String::with_capacity(text.len());
        escape(&unescape(text), &mut out);
        out
    };
    let mut all: Vec<(String, String)> = parameters
        .map(|it| it.split_once('=').unwrap_or((it, "")))
        .map(|(name, value)| (anew(name), anew(value)))
        .collect();
    all.sort_unstable();
    let all: Vec<String> = all
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    all.join("&")
}

fn escape(bytes: &[u8], out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            out.push(char::from(*byte));
        } else {
            out.push('%');
            for digit in [byte >> 4, byte & 15] {
                out.push(char::from(DIGITS[usize::from(digit & 15)]));
            }
        }
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        let escaped = behind.first_chunk().filter(|_| *first == b'%');
        let value = escaped.and_then(|pair: &[u8; 2]| {
            let digit = |it: u8| char::from(it).to_digit(16);
            u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()
        });
        match (value, first) {
            (Some(value), _) => {
                out.push(value);
                rest = behind.get(2..).unwrap_or_default();
            }
            (None, b'+') => out.push(b' '),
            (None, other) => out.push(*other),
        }
    }
    out
}

fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |it: u8| char::from(DIGITS[usize::from(it & 15)]);
    bytes
        .iter()
        .flat_map(|it| [digit(it >> 4), digit(*it)])
        .collect()
}

/// A moment, as signatures write it.
struct Now {
    /// `20150830`.
    date: String,
    /// `20150830T123600Z`.
    time: String,
}

impl Now {
    fn at(time: SystemTime) -> Self {
        let since = time
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let ((year, month, day), second) = (civil(since / 86_400), since % 86_400);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let date = format!("{year:04}{month:02}{day:02}");
        let time = format!("{date}T{hour:02}{minute:02}{second:02}Z");
        Self { date, time }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde::Deserialize;

    use super::*;
    use crate::credential::Credential;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Vectors {
        vector: Vec<Vector>,
    }

    /// A request, and AWS's own signature of it.
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Vector {
        name: String,
        request: String,
        #[serde(default)]
        headers: Vec<(String, String)>,
        #[serde(default)]
        token: Option<String>,
        #[serde(default)]
        body: String,
        signed: String,
        signature: String,
    }

    fn signer(token: Option<&str>) -> Signer {
        let part = |text: &str| zeroize::Zeroizing::new(text.as_bytes().to_vec());
        let secret = part("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let key = Credential::access_key(part("AKIDEXAMPLE"), secret, token.map(part)).unwrap();
        let signing = Signing {
            service: "service".to_owned(),
            hosts: Vec::new(),
            region: Some("us-east-1".to_owned()),
        };
        Signer::new(key.as_access_key().unwrap(), &signing).unwrap()
    }

    #[test]
    fn awss_own_vectors_hold() {
        let vectors: Vectors = toml::from_str(include_str!("../../tests/data/sigv4.toml")).unwrap();
        assert!(vectors.vector.len() > 10);
        let now = Now::at(UNIX_EPOCH + Duration::from_secs(1_440_938_160));
        assert_eq!(now.time, "20150830T123600Z");
        for it in vectors.vector {
            let mut headers = HeaderMap::new();
            let token = it
                .token
                .as_ref()
                .map(|it| ("x-amz-security-token", it.as_str()));
            let given = it
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()));
            for (name, value) in given
                .chain([("x-amz-date", now.time.as_str())])
                .chain(token)
            {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                headers.append(name, HeaderValue::from_str(value).unwrap());
            }
            // These sign every header.
            let mut all = vec![("host", b"example.amazonaws.com".to_vec())];
            all.extend(headers.keys().map(|name| {
                let values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
                (name.as_str(), canonical_value(values))
            }));
            all.sort_unstable_by_key(|it| it.0);
            let (method, target) = it.request.split_once(' ').unwrap();
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            let signer = signer(it.token.as_deref());
            let body = signer.over(it.body.as_bytes()).body;
            assert_eq!(
                signer.authorization(&now, (method, path, query), &all, &body),
                format!(
                    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                     SignedHeaders={}, Signature={}",
                    it.signed, it.signature
                ),
                "{}",
                it.name
            );
        }
    }

    #[test]
    fn what_was_escaped_is_escaped_once_more() {
        for (path, canonical) in [
            ("/", "/"),
            ("", "/"),
            ("/model/a%3A0/converse", "/model/a%253A0/converse"),
            ("/model/a:0/converse", "/model/a%3A0/converse"),
            ("/a//b/../c/", "/a/c/"),
            ("/..", "/"),
        ] {
            assert_eq!(canonical_path(path), canonical, "{path}");
        }
        for (query, canonical) in [
            ("", ""),
            ("b=2&a=1&&a=0", "a=0&a=1&b=2"),
            ("a=x+y%2fz&b", "a=x%20y%2Fz&b="),
            ("a=%zz", "a=%25zz"),
        ] {
            assert_eq!(canonical_query(query), canonical, "{query}");
        }
    }

    #[test]
    fn the_query_is_sent_as_it_is_signed() {
        for (sent, respelt) in [
            ("/a?b=2&a=x+y&c", "/a?a=x%20y&b=2&c="),
            ("/a?", "/a?"),
            ("/a?&&", "/a"),
            ("/a?b=c", "/a?b=c"),
            ("/a%2Fb", "/a%2Fb"),
        ] {
            let mut uri: Uri = format!("https://svc.test{sent}").parse().unwrap();
            respell(&mut uri).unwrap();
            assert_eq!(
                uri.to_string(),
                format!("https://svc.test{respelt}"),
                "{sent}"
            );
        }
    }

    #[test]
    fn a_second_sending_replaces_the_first_ones_headers() {
        let (signer, body) = (signer(Some("t0ken")), "{}");
        let mut request = Request::post("https://svc.us-east-1.test:8443/a?b=c")
            .body(body)
            .unwrap();
        let headers = request.headers_mut();
        headers.insert("x-amzn-trace", HeaderValue::from_static("x"));
        headers.insert("user-agent", HeaderValue::from_static("x"));
        let signature = signer.over(body.as_bytes());
        for _ in 0..2 {
            signature.put(&mut request).unwrap();
            let headers = request.headers();
            let all: Vec<_> = headers.get_all(header::AUTHORIZATION).iter().collect();
            let [text] = all.as_slice() else {
                unreachable!()
            };
            assert!(text.is_sensitive() && headers[TOKEN].is_sensitive());
            let names = "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token;x-amzn-trace, ";
            assert!(
                text.to_str().unwrap().contains(names),
                "{}",
                text.to_str().unwrap()
            );
            assert_eq!(headers.len(), 6);
        }
    }
}
