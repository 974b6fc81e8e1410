// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who is let in: the one key, and the provider's own 401 for any other.

use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::sigv4::{self, Fault};
use crate::{Options, Provider};

/// Why a request was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No credential in any form that the provider takes.
    Missing,
    /// At least one credential, and one of them is not the key.
    Wrong,
    /// A signature that is not the access key's over this request.
    Signature(Fault),
}

/// Checks the credential, or the signature. Without the body, a signature is held to the digest that the request states.
pub(crate) fn check(
    provider: Provider,
    parts: &Parts,
    body: Option<&[u8]>,
    options: &Options,
) -> Result<(), Refusal> {
    let mut authorization = parts.headers.get_all(AUTHORIZATION).iter();
    let signed = authorization.any(|it| it.as_bytes().starts_with(b"AWS4-"));
    match (provider, signed, &options.access_key) {
        (Provider::Bedrock, true, Some(key)) => {
            sigv4::verify(parts, body, "bedrock", key).map_err(Refusal::Signature)
        }
        (Provider::Bedrock, true, None) => Err(Refusal::Signature(Fault::UnrecognizedClient)),
        _ => check_key(provider, &parts.headers, options),
    }
}

/// Checks the credential. Where a provider takes two forms, and both came, both must be the key: a
/// proxy that left the workload's placeholder beside the real key must not pass for correct.
fn check_key(provider: Provider, headers: &HeaderMap, options: &Options) -> Result<(), Refusal> {
    let bearers = headers.get_all(AUTHORIZATION).iter().map(|value| {
        value
            .as_bytes()
            .strip_prefix(b"Bearer ")
            .unwrap_or_default()
    });
    let (key, offered): (_, Vec<&[u8]>) = match provider {
        Provider::OpenAi => (Some(&options.openai_key), bearers.collect()),
        Provider::Anthropic => {
            let keys = headers
                .get_all("x-api-key")
                .iter()
                .map(http::HeaderValue::as_bytes);
            (Some(&options.anthropic_key), bearers.chain(keys).collect())
        }
        Provider::Copilot => {
            // Enterprises' hosts know a GitHub token by another scheme.
            let token = |value: &'_ [u8]| value.starts_with(b"token ");
            let tokens = headers
                .get_all(AUTHORIZATION)
                .iter()
                .map(|it| it.as_bytes());
            let tokens = tokens.map(|it| match token(it) {
                true => it.strip_prefix(b"token ").unwrap_or_default(),
                false => it.strip_prefix(b"Bearer ").unwrap_or_default(),
            });
            (options.more_keys.get(&provider), tokens.collect())
        }
        Provider::Bedrock => (options.more_keys.get(&provider), bearers.collect()),
        Provider::Gemini | Provider::Vertex | Provider::Azure => {
            let name = if provider == Provider::Azure {
                "api-key"
            } else {
                "x-goog-api-key"
            };
            let keys = headers
                .get_all(name)
                .iter()
                .map(http::HeaderValue::as_bytes);
            (
                options.more_keys.get(&provider),
                bearers.chain(keys).collect(),
            )
        }
    };
    if offered.is_empty() {
        Err(Refusal::Missing)
    } else if offered
        .iter()
        .all(|credential| key.is_some_and(|key| *credential == key.as_bytes()))
    {
        Ok(())
    } else {
        Err(Refusal::Wrong)
    }
}

/// The 401 as the provider writes it; AWS's for a signature is 403.
pub(crate) fn refuse(provider: Provider, refusal: Refusal) -> (StatusCode, Value) {
    if let Refusal::Signature(fault) = refusal {
        let body = json!({"__type": fault.name(), "message": fault.message()});
        return (StatusCode::FORBIDDEN, body);
    }
    let body = match (provider, refusal) {
        (Provider::OpenAi, Refusal::Missing) => json!({"error": {
            "message": "You didn't provide an API key. You need to provide your API key in an \
                        Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
            "type": "invalid_request_error", "param": null, "code": null,
        }}),
        (Provider::OpenAi, Refusal::Wrong | Refusal::Signature(_)) => json!({"error": {
            "message": "Incorrect API key provided. You can find your API key at \
                        https://platform.openai.com/account/api-keys.",
            "type": "invalid_request_error", "param": null, "code": "invalid_api_key",
        }}),
        (Provider::Anthropic, Refusal::Missing) => {
            crate::anthropic::error("authentication_error", "x-api-key header is required")
        }
        (Provider::Anthropic, Refusal::Wrong | Refusal::Signature(_)) => {
            crate::anthropic::error("authentication_error", "invalid x-api-key")
        }
        (Provider::Gemini | Provider::Vertex, _) => crate::gemini::error(
            StatusCode::UNAUTHORIZED,
            "Request had invalid authentication credentials.",
        ),
        (Provider::Copilot, _) => json!({"error": {
            "message": "unauthorized: the token is missing or not valid", "code": "unauthorized",
        }}),
        (Provider::Azure, _) => json!({"error": {
            "message": "Access denied due to invalid subscription key or wrong API endpoint.",
            "code": "401",
        }}),
        (Provider::Bedrock, _) => {
            json!({"message": "The security token included in the request is invalid."})
        }
    };
    (StatusCode::UNAUTHORIZED, body)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    type Pair = (&'static str, &'static str);

    fn headers(pairs: &[Pair]) -> HeaderMap {
        let pair = |(name, value): &Pair| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn only_the_key_is_let_in() {
        let options = Options::new("sk-real", "sk-ant-real");
        let cases: &[(Provider, &[Pair], Result<(), Refusal>)] = &[
            (
                Provider::OpenAi,
                &[("authorization", "Bearer sk-real")],
                Ok(()),
            ),
            (
                Provider::OpenAi,
                &[("authorization", "Bearer sk-real2")],
                Err(Refusal::Wrong),
            ),
            (
                Provider::OpenAi,
                &[("authorization", "Bearer ")],
                Err(Refusal::Wrong),
            ),
            (
                Provider::OpenAi,
                &[("authorization", "Basic sk-real")],
                Err(Refusal::Wrong),
            ),
            (
                Provider::OpenAi,
                &[("x-api-key", "sk-real")],
                Err(Refusal::Missing),
            ),
            (Provider::OpenAi, &[], Err(Refusal::Missing)),
            (Provider::Anthropic, &[("x-api-key", "sk-ant-real")], Ok(())),
            (
                Provider::Anthropic,
                &[("authorization", "Bearer sk-ant-real")],
                Ok(()),
            ),
            (
                Provider::Anthropic,
                &[("x-api-key", "sk-real")],
                Err(Refusal::Wrong),
            ),
            (
                Provider::Anthropic,
                &[
                    ("x-api-key", "sk-ant-real"),
                    ("authorization", "Bearer placeholder"),
                ],
                Err(Refusal::Wrong),
            ),
        ];
        for (provider, pairs, expected) in cases {
            let checked = check_key(*provider, &headers(pairs), &options);
            assert_eq!(checked, *expected, "{provider} {pairs:?}");
        }
    }

    #[test]
    fn two_values_of_one_header_must_both_be_the_key() {
        let options = Options::new("sk-real", "sk-ant-real");
        let mut two = headers(&[("authorization", "Bearer sk-real")]);
        two.append(AUTHORIZATION, HeaderValue::from_static("Bearer other"));
        assert_eq!(
            check_key(Provider::OpenAi, &two, &options),
            Err(Refusal::Wrong)
        );
    }
}
