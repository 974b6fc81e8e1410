// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whose API a request is for.

use std::fmt;

use http::request::Parts;
use serde::Serialize;

/// A provider whose API the emulator speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// api.openai.com.
    OpenAi,
    /// api.anthropic.com.
    Anthropic,
    /// api.githubcopilot.com, and an enterprise's own hosts.
    Copilot,
    /// generativelanguage.googleapis.com.
    Gemini,
    /// aiplatform.googleapis.com, of any region.
    Vertex,
    /// A resource below openai.azure.com.
    Azure,
    /// bedrock-runtime of any region.
    Bedrock,
}

impl Provider {
    /// By host name. A client that came by `localhost` or an address has no provider in its name,
    /// so there the path decides, and where both have it (`/v1/models`), Anthropic's own header.
    pub(crate) fn of(host: &str, parts: &Parts) -> Self {
        match host {
            "api.anthropic.com" => Self::Anthropic,
            "api.openai.com" => Self::OpenAi,
            "generativelanguage.googleapis.com" => Self::Gemini,
            _ if host.ends_with("aiplatform.googleapis.com") => Self::Vertex,
            _ if host.ends_with(".githubcopilot.com") || host.starts_with("copilot-api.") => {
                Self::Copilot
            }
            _ if host.ends_with(".openai.azure.com") => Self::Azure,
            _ if host.starts_with("bedrock-runtime.") => Self::Bedrock,
            _ if parts.uri.path().contains("/messages")
                || parts.headers.contains_key("anthropic-version")
                || parts.headers.contains_key("x-api-key") =>
            {
                Self::Anthropic
            }
            _ => Self::OpenAi,
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Copilot => "copilot",
            Self::Gemini => "gemini",
            Self::Vertex => "vertex",
            Self::Azure => "azure",
            Self::Bedrock => "bedrock",
        })
    }
}

/// The request's host, without a port: `:authority` in HTTP/2, `Host` in HTTP/1.1.
pub(crate) fn host(parts: &Parts) -> String {
    let authority = match parts.uri.authority() {
        Some(authority) => authority.as_str(),
        None => parts
            .headers
            .get(http::header::HOST)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default(),
    };
    let host = match authority.parse::<http::uri::Authority>() {
        Ok(authority) => authority.host().to_owned(),
        Err(_) => authority.to_owned(),
    };
    host.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn provider(uri: &str, headers: &[(&str, &str)]) -> Provider {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        Provider::of(&host(&parts), &parts)
    }

    #[test]
    fn the_host_decides_before_the_path() {
        let openai = [("host", "api.openai.com:8443")];
        assert_eq!(provider("/v1/messages", &openai), Provider::OpenAi);
        assert_eq!(
            provider("https://API.anthropic.com/v1/responses", &[]),
            Provider::Anthropic
        );
    }

    #[test]
    fn every_provider_is_known_by_its_hosts() {
        for (host, expected) in [
            ("api.githubcopilot.com", Provider::Copilot),
            ("api.enterprise.githubcopilot.com", Provider::Copilot),
            ("copilot-api.acme.ghe.com", Provider::Copilot),
            ("generativelanguage.googleapis.com", Provider::Gemini),
            ("us-central1-aiplatform.googleapis.com", Provider::Vertex),
            ("acme.openai.azure.com", Provider::Azure),
            ("bedrock-runtime.us-east-1.amazonaws.com", Provider::Bedrock),
        ] {
            assert_eq!(provider("/v1/messages", &[("host", host)]), expected);
        }
    }

    #[test]
    fn without_a_name_path_and_header_decide() {
        let local = ("host", "127.0.0.1:1");
        assert_eq!(
            provider("/v1/messages/count_tokens", &[local]),
            Provider::Anthropic
        );
        assert_eq!(provider("/v1/models", &[local]), Provider::OpenAi);
        let version = ("anthropic-version", "2023-06-01");
        assert_eq!(
            provider("/v1/models", &[local, version]),
            Provider::Anthropic
        );
    }
}
