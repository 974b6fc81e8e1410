// SPDX-License-Identifier: MIT OR Apache-2.0
//! Removes what a workload may not send on: every credential, what belongs to this hop, and what says
//! where the request came from.
//!
//! This stands before `inject`: the other way round, a workload's header could stay beside ours, or
//! `Connection: authorization` could take ours away.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{
    coding,
    provider::{Carrier, Provider, Providers},
    refusal::Refusal,
};

/// What becomes of a header that the workload sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Goes on.
    Pass,
    /// Does not.
    Drop,
    /// Does not, and may hold nothing but the placeholder.
    Credential,
}

/// Longest header name that is compared with a `-` in place of each `_`; no name in the lists is
/// longer.
const LONGEST: usize = 32;

fn classify(name: &str) -> Class {
    if !name.contains('_') {
        return class_of(name);
    }
    // Some servers read `_` as `-` (CGI made them equal), so a look-alike counts as what it looks like.
    let mut plain = [0u8; LONGEST];
    let Some(plain) = plain.get_mut(..name.len()) else {
        return class_of(name);
    };
    for (to, from) in plain.iter_mut().zip(name.bytes()) {
        *to = if from == b'_' { b'-' } else { from };
    }
    std::str::from_utf8(plain).map_or(Class::Drop, class_of)
}

fn class_of(name: &str) -> Class {
    match name {
        "authorization"
        | "proxy-authorization"
        | "x-api-key"
        | "x-goog-api-key"
        | "api-key"
        | "ocp-apim-subscription-key"
        | "x-amz-security-token"
        | "x-goog-iam-authorization-token"
        | "x-serverless-authorization"
        | "x-auth-token"
        | "x-access-token"
        | "x-github-token" => Class::Credential,
        // Parts of a signature (AWS), which is a credential; without it they say nothing.
        "x-amz-date" | "x-amz-content-sha256" => Class::Drop,
        // Of this hop (RFC 9110, section 7.6.1), or written anew by the client side.
        "host" | "connection" | "keep-alive" | "proxy-connection" | "proxy-authenticate" | "te"
        | "trailer" | "transfer-encoding" | "upgrade" | "http2-settings" | "expect" => Class::Drop,
        // Of the workload's own session or place.
        "cookie" | "cookie2" | "forwarded" | "via" | "x-real-ip" | "x-client-ip"
        | "true-client-ip" | "cf-connecting-ip" => Class::Drop,
        // Ways to be another request than the one that was judged.
        "x-http-method"
        | "x-http-method-override"
        | "x-method-override"
        | "x-original-url"
        | "x-rewrite-url"
        | "x-original-host" => Class::Drop,
        // Whose account is charged is the policy's to say.
        "openai-organization" | "openai-project" | "x-goog-user-project" => Class::Drop,
        _ if name.starts_with("x-forwarded-") => Class::Drop,
        _ => Class::Pass,
    }
}

/// Who says what a credential is.
#[derive(Clone, Copy, Debug)]
pub struct Stripper<'a> {
    /// Whose headers carry this provider's credential, and whether a foreign one is refused.
    provider: &'a Provider,
    /// Whose placeholders are harmless.
    all: &'a Providers,
}

impl<'a> Stripper<'a> {
    /// For requests to `provider`.
    #[must_use]
    pub fn new(provider: &'a Provider, all: &'a Providers) -> Self {
        Self { provider, all }
    }

    /// Judges what may be a credential.
    ///
    /// # Errors
    ///
    /// [`Refusal::ForeignCredential`] if it is neither nothing nor a placeholder, and this provider wants
    /// nothing else.
    pub fn judge(self, value: &[u8]) -> Result<(), Refusal> {
        match self.provider.require_placeholder && !self.is_harmless(value) {
            true => Err(Refusal::ForeignCredential),
            false => Ok(()),
        }
    }

    /// Whether some provider's credential travels in the header of this name, or of one that looks like it.
    fn is_carrier(self, name: &str) -> bool {
        let dash = |it: u8| if it == b'_' { b'-' } else { it };
        let alike =
            |own: &str| own.len() == name.len() && own.bytes().map(dash).eq(name.bytes().map(dash));
        self.all.carriers().iter().any(|it| alike(it.as_str()))
    }

    /// Removes what may not go on.
    ///
    /// # Errors
    ///
    /// As [`Self::judge`].
    pub fn strip(self, headers: &mut HeaderMap) -> Result<(), Refusal> {
        // What `Connection` names goes too, whatever it is, but is judged as a credential first.
        let mut doomed: Vec<HeaderName> = Vec::with_capacity(8);
        for name in headers.keys() {
            let class = match self.is_carrier(name.as_str()) {
                true => Class::Credential,
                false => classify(name.as_str()),
            };
            match class {
                Class::Pass => {}
                Class::Drop => doomed.push(name.clone()),
                Class::Credential => {
                    for value in headers.get_all(name) {
                        self.judge(value.as_bytes())?;
                    }
                    doomed.push(name.clone());
                }
            }
        }
        for value in headers.get_all(header::CONNECTION) {
            let tokens = value
                .as_bytes()
                .split(|it| *it == b',')
                .map(<[u8]>::trim_ascii);
            let named = tokens.filter_map(|it| HeaderName::from_bytes(it).ok());
            // `Content-Length` delimits a body that was read already; without it, it would be sent in
            // chunks, which is the same request.
            doomed.extend(named);
        }
        for name in doomed {
            headers.remove(name);
        }
        Ok(())
    }

    /// The query without parameters that carry credentials. `None`: nothing is left of it.
    ///
    /// # Errors
    ///
    /// As [`Self::judge`].
    pub fn strip_query(self, query: &str) -> Result<Option<Cow<'_, str>>, Refusal> {
        let class = |part: &str| {
            let name = part.split_once('=').map_or(part, |it| it.0);
            self.class_of_parameter(&decode(name))
        };
        // `;` separates parameters for some servers.
        let separators = ['&', ';'];
        if query.split(separators).all(|it| class(it) == Class::Pass) {
            return Ok(Some(Cow::Borrowed(query)));
        }
        let secrets = query
            .split(separators)
            .filter(|it| class(it) == Class::Credential);
        for part in secrets {
            let value = part.split_once('=').map_or("", |it| it.1);
            self.judge(decode(value).as_bytes())?;
        }
        let kept = query
            .split(separators)
            .filter(|it| class(it) == Class::Pass);
        let kept: Vec<&str> = kept.collect();
        Ok((!kept.is_empty()).then(|| Cow::Owned(kept.join("&"))))
    }

    /// What becomes of the parameter of this name.
    fn class_of_parameter(self, name: &str) -> Class {
        let plain = |text: &str| -> String {
            let kept = text
                .chars()
                .filter(|it| !matches!(it, '-' | '_' | '$' | '.'));
            kept.map(|it| it.to_ascii_lowercase()).collect()
        };
        let name = plain(name);
        let carriers = self.all.iter().flat_map(|it| &it.injections);
        let is_carrier = carriers
            .into_iter()
            .any(|it| matches!(&it.carrier, Carrier::Query(own) if plain(own) == name));
        match name.as_str() {
            _ if is_carrier => Class::Credential,
            it if SECRET_PARAMETERS.contains(&it) => Class::Credential,
            it if OTHER_REQUEST_PARAMETERS.contains(&it) => Class::Drop,
            _ => Class::Pass,
        }
    }

    /// Whether a credential header's value is nothing, or a placeholder with or without a scheme.
    fn is_harmless(self, value: &[u8]) -> bool {
        let value = value.trim_ascii();
        let token = match value.iter().position(|it| *it == b' ') {
            Some(space) => value.get(space..).unwrap_or_default().trim_ascii(),
            None => value,
        };
        // A scheme alone, as clients send it that have an empty key.
        let bare = matches!(
            token.to_ascii_lowercase().as_slice(),
            b"" | b"bearer" | b"token"
        );
        bare || self.all.is_placeholder(token)
            || signer(value).is_some_and(|it| self.all.is_placeholder(it))
    }
}

/// Whose access key signed: `AWS4-… Credential=ID/date/region/service/aws4_request, SignedHeaders=…, Signature=…`. With
/// the placeholder as the id, the signature was made with the placeholder, too, or is worth as little.
fn signer(value: &[u8]) -> Option<&[u8]> {
    let value = value.strip_prefix(b"AWS4-")?;
    let space = value.iter().position(|it| *it == b' ')?;
    let parameters = value.get(space..)?.trim_ascii_start();
    let scope = parameters.strip_prefix(b"Credential=")?;
    scope.split(|it| *it == b'/').next()
}

/// Query parameters that carry credentials, without punctuation, in lower case.
const SECRET_PARAMETERS: [&str; 14] = [
    "key",
    "apikey",
    "accesstoken",
    "oauthtoken",
    "xgoogapikey",
    "xamzsecuritytoken",
    "xamzcredential",
    "xamzsignature",
    "xgoogcredential",
    "xgoogsignature",
    "clientsecret",
    "sig",
    "subscriptionkey",
    "authorization",
];

/// Query parameters with which Google's servers, and others, take headers or another method from the URL:
/// ways to be another request than the one that was judged.
const OTHER_REQUEST_PARAMETERS: [&str; 4] = [
    "httpheaders",
    "httpmethod",
    "xhttpmethodoverride",
    "xhttpmethod",
];

/// Percent-decodes as a form does; what is not an escape stays as it is.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let escape = behind.get(..2).filter(|_| *first == b'%');
        let value = escape
            .and_then(|it| std::str::from_utf8(it).ok())
            .and_then(|it| u8::from_str_radix(it, 16).ok());
        match value {
            Some(value) => {
                bytes.push(value);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Cuts `Accept-Encoding` to codings that a later layer is able to read.
pub(crate) fn cut_encodings(headers: &mut HeaderMap) {
    let readable = |it: &&str| {
        let name = it.split_once(';').map_or(*it, |parts| parts.0).trim();
        coding::NAMES
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name))
    };
    let mut values = headers.get_all(header::ACCEPT_ENCODING).iter();
    let Some(first) = values.next() else { return };
    let single = values.next().is_none();
    let text = first.to_str().unwrap_or_default();
    if single && text.split(',').all(|it| readable(&it.trim())) {
        return;
    }
    let all = headers.get_all(header::ACCEPT_ENCODING).iter();
    let kept: Vec<&str> = all
        .filter_map(|it| it.to_str().ok())
        .flat_map(|it| it.split(','))
        .map(str::trim)
        .filter(readable)
        .collect();
    let value = match kept.is_empty() {
        true => HeaderValue::from_static("identity"),
        false => {
            HeaderValue::from_str(&kept.join(", ")).unwrap_or(HeaderValue::from_static("identity"))
        }
    };
    headers.insert(header::ACCEPT_ENCODING, value);
}

/// Removes from a response what belongs to the upstream's hop, or to its own relation with us.
pub(crate) fn strip_response(headers: &mut HeaderMap) {
    const DROPPED: [HeaderName; 9] = [
        header::CONNECTION,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        header::TRANSFER_ENCODING,
        header::TRAILER,
        header::UPGRADE,
        // Cookies of the upstream's load balancer; the workload's are never sent back to it.
        header::SET_COOKIE,
        // Invitations to come by another way.
        header::ALT_SVC,
        HeaderName::from_static("proxy-authenticate"),
    ];
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(|it| it.as_bytes().split(|byte| *byte == b','))
            .filter_map(|it| HeaderName::from_bytes(it.trim_ascii()).ok())
            .filter(|it| *it != header::CONTENT_LENGTH)
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    drop_overridden_length(headers);
    // Most answers have none of them, and few other headers: cheaper to see than to look each one up.
    if headers.keys().any(|it| DROPPED.contains(it)) {
        for name in DROPPED {
            headers.remove(name);
        }
    }
}

/// A length beside a transfer encoding means nothing, and the body was read without it (RFC 9112, section 6.3): passed on, it
/// would cut the body off and make it look whole.
pub(crate) fn drop_overridden_length(headers: &mut HeaderMap) {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        headers.remove(header::CONTENT_LENGTH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACEHOLDER: &str = "sk-placeholder-for-api-proxy";

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    /// In which OpenAI takes a foreign credential in silence.
    fn lenient_table() -> Providers {
        let raw = toml::from_str("[openai]\nrequire-placeholder = false").unwrap();
        Providers::parse(&raw, &mut Vec::new())
    }

    fn left(lines: &[(&str, &str)]) -> Result<Vec<String>, Refusal> {
        let mut headers = headers(lines);
        let table = Providers::builtin();
        Stripper::new(table.get("openai").unwrap(), &table).strip(&mut headers)?;
        Ok(headers.keys().map(ToString::to_string).collect())
    }

    #[test]
    fn every_header_of_the_contract_is_stripped() {
        for name in [
            "host",
            "cookie",
            "forwarded",
            "via",
            "x-forwarded-for",
            "x-forwarded-anything",
            "x-real-ip",
            "connection",
            "keep-alive",
            "te",
            "trailer",
            "upgrade",
            "expect",
            "transfer-encoding",
            "proxy-connection",
            "openai-organization",
            "openai-project",
            "x_forwarded_for",
            "X_Real-IP",
            "x-http-method-override",
        ] {
            assert_eq!(
                left(&[(name, "x"), ("kept", "x")]),
                Ok(vec!["kept".to_owned()]),
                "{name}"
            );
        }
        for name in [
            "session_id",
            "content-type",
            "anthropic-beta",
            "user-agent",
            "x-stainless-os",
        ] {
            assert_eq!(left(&[(name, "x")]), Ok(vec![name.to_owned()]));
        }
    }

    #[test]
    fn credentials_are_the_placeholder_or_refused() {
        for name in [
            "authorization",
            "x-api-key",
            "x-goog-api-key",
            "api-key",
            "proxy-authorization",
            "x_api_key",
        ] {
            for harmless in [
                PLACEHOLDER,
                "",
                "Bearer",
                "Bearer sk-placeholder-for-api-proxy",
                "token  sk-placeholder-for-api-proxy",
            ] {
                assert_eq!(left(&[(name, harmless)]), Ok(vec![]), "{name}: {harmless}");
            }
            for foreign in [
                "sk-own",
                "Bearer sk-own",
                "Bearer sk-placeholder-for-api-proxyx",
                "Bearer sk-placeholder-for-api-proxy sk-own",
                "Basic c2s6b3du",
            ] {
                assert_eq!(
                    left(&[(name, foreign)]),
                    Err(Refusal::ForeignCredential),
                    "{name}: {foreign}"
                );
            }
            let second = [(name, PLACEHOLDER), (name, "sk-own")];
            assert_eq!(left(&second), Err(Refusal::ForeignCredential));
            let hidden = [("connection", name), (name, "sk-own")];
            assert_eq!(left(&hidden), Err(Refusal::ForeignCredential));
        }
        let mut lenient = headers(&[("authorization", "Bearer sk-own")]);
        let table = lenient_table();
        let stripper = Stripper::new(table.get("openai").unwrap(), &table);
        stripper.strip(&mut lenient).unwrap();
        assert!(lenient.is_empty());
    }

    #[test]
    fn every_providers_own_header_is_a_credential() {
        let raw = "[corp]\nport = 10010\ntarget = 'gw.test'\ninject = [{ header = 'x-corp-key' }]";
        let table = Providers::parse(&toml::from_str(raw).unwrap(), &mut Vec::new());
        let stripper = Stripper::new(table.get("openai").unwrap(), &table);
        for name in ["x-corp-key", "x_corp_key", "X-Corp_Key"] {
            let mut harmless = headers(&[(name, "corp-placeholder-for-credential-isolation")]);
            assert_eq!(stripper.strip(&mut harmless), Ok(()), "{name}");
            assert!(harmless.is_empty(), "{name}");
            let mut foreign = headers(&[(name, "own")]);
            assert_eq!(
                stripper.strip(&mut foreign),
                Err(Refusal::ForeignCredential)
            );
        }
        for (name, value) in [
            ("x-amz-security-token", "own"),
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=A/1/us-east-1/bedrock/aws4_request",
            ),
        ] {
            assert_eq!(left(&[(name, value)]), Err(Refusal::ForeignCredential));
        }
        let signed = |id: &str| {
            format!(
                "AWS4-HMAC-SHA256 Credential={id}/20260101/us-east-1/bedrock/aws4_request, SignedHeaders=host, Signature=0"
            )
        };
        let placeholder = "bedrock-api-key-placeholder-for-credential-isolation";
        assert_eq!(left(&[("authorization", &signed(placeholder))]), Ok(vec![]));
        for foreign in [
            signed("AKIAOWN"),
            signed(&format!("{placeholder}x")),
            signed(""),
            signed(placeholder).replace("Credential", "SignedHeaders=host, Credential"),
        ] {
            let judged = left(&[("authorization", &foreign)]);
            assert_eq!(judged, Err(Refusal::ForeignCredential), "{foreign}");
        }
        for name in ["x-amz-date", "x-amz-content-sha256", "x-goog-user-project"] {
            assert_eq!(left(&[(name, "x")]), Ok(vec![]), "{name}");
        }
        assert_eq!(
            left(&[("x-amzn-bedrock-trace", "x")]),
            Ok(vec!["x-amzn-bedrock-trace".to_owned()])
        );
    }

    #[test]
    fn no_parameter_makes_another_request_of_it() {
        let table = Providers::builtin();
        let stripper = Stripper::new(table.get("gemini").unwrap(), &table);
        for query in [
            "$httpHeaders=authorization:%20x",
            "%24httpMethod=DELETE",
            "x-http-method-override=PUT",
        ] {
            assert_eq!(stripper.strip_query(query), Ok(None), "{query}");
        }
        assert_eq!(
            stripper.strip_query("alt=sse&$httpMethod=PUT&$alt=json"),
            Ok(Some(Cow::Borrowed("alt=sse&$alt=json")))
        );
        assert_eq!(
            stripper.strip_query("X-Amz-Signature=0"),
            Err(Refusal::ForeignCredential)
        );
    }

    #[test]
    fn what_connection_names_goes() {
        let lines = [
            ("connection", "close, X-One ,x-two"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("x-three", "3"),
        ];
        assert_eq!(left(&lines), Ok(vec!["x-three".to_owned()]));
    }

    #[test]
    fn query_credentials_are_removed_or_refused() {
        let table = Providers::builtin();
        let strict = Stripper::new(table.get("openai").unwrap(), &table);
        let cut = |query: &str| strict.strip_query(query).map(|it| it.map(Cow::into_owned));
        assert_eq!(cut("a=1&b=%20&c"), Ok(Some("a=1&b=%20&c".to_owned())));
        for name in [
            "key",
            "KEY",
            "api_key",
            "apiKey",
            "api-key",
            "%6bey",
            "access_token",
        ] {
            let with = |value| format!("a=1&{name}={value}&b=2");
            assert_eq!(
                cut(&with(PLACEHOLDER)),
                Ok(Some("a=1&b=2".to_owned())),
                "{name}"
            );
            assert_eq!(
                cut(&with("sk-own")),
                Err(Refusal::ForeignCredential),
                "{name}"
            );
        }
        assert_eq!(cut("key="), Ok(None));
        assert_eq!(cut("a=1;key=sk-own"), Err(Refusal::ForeignCredential));
        let table = lenient_table();
        let lenient = Stripper::new(table.get("openai").unwrap(), &table);
        assert_eq!(
            lenient.strip_query("key=sk-own&a"),
            Ok(Some(Cow::Borrowed("a")))
        );
        assert_eq!(
            cut("monkey=1&keys=2"),
            Ok(Some("monkey=1&keys=2".to_owned()))
        );
    }

    #[test]
    fn encodings_are_cut_to_readable_ones() {
        for (before, after) in [
            ("gzip, deflate, br", "gzip, deflate, br"),
            ("gzip, x-other, br;q=0.5", "gzip, br;q=0.5"),
            ("zstd;q=1", "identity"),
            ("compress", "identity"),
            ("*", "identity"),
        ] {
            let mut headers = headers(&[("accept-encoding", before)]);
            cut_encodings(&mut headers);
            assert_eq!(headers[header::ACCEPT_ENCODING], after);
        }
    }
}
