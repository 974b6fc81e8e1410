// SPDX-License-Identifier: MIT OR Apache-2.0
//! From a fault to the answer that the workload gets: one exhaustive function.
//!
//! An answer says what the workload's user can act on and nothing of the host: no address, no path, no
//! text of a system error. The details go to the log.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;

use crate::{
    provider::Provider,
    refusal::{Fault, Refusal, UpstreamFault},
    scan::Finding,
};

/// How an answer's body is shaped.
enum Shape {
    /// `{"error":"<title>","message":…,"reason":…}`: what was not even a request.
    Plain(&'static str),
    /// `{"error":{"type":…,"provider":…,"message":…}}`, with this type: what clients know from the
    /// providers' own errors.
    Typed(&'static str),
}

/// The answer to a request that failed.
pub(crate) fn respond(fault: Fault, provider: &Provider) -> Response<Bytes> {
    let (status, shape, close) = describe(fault);
    let message = message(fault);
    let body = match shape {
        Shape::Plain(title) => json!({
            "error": title,
            "message": message,
            "reason": fault.name(),
        }),
        Shape::Typed(kind @ ("provider_not_configured" | "credential_not_ready")) => {
            json!({ "error": {
                "type": kind,
                "provider": provider.name,
                "port": provider.port,
                "message": message,
                "retryable": kind == "credential_not_ready",
            }})
        }
        Shape::Typed(kind) => json!({ "error": {
            "type": kind,
            "reason": fault.name(),
            "provider": provider.name,
            "message": message,
        }}),
    };
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if close {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

/// The answer to a request that holds a secret, by the secret's name.
pub(crate) fn leaked(finding: &Finding, provider: &Provider) -> Response<Bytes> {
    let fault = Refusal::SecretLeak.into();
    let body = json!({ "error": {
        "type": "secret_leak",
        "reason": "secret_leak",
        "finding": finding.to_string(),
        "provider": provider.name,
        "message": finding.message(),
    }});
    respond(fault, provider).map(|_| Bytes::from(body.to_string()))
}

/// Status of the answer to what is refused.
pub(crate) fn status(refusal: Refusal) -> StatusCode {
    describe(refusal.into()).0
}

/// Status of the answer to what is refused, and the `type` of its error.
pub(crate) fn kind(refusal: Refusal) -> (StatusCode, &'static str) {
    let (status, Shape::Plain(kind) | Shape::Typed(kind), _) = describe(refusal.into());
    (status, kind)
}

/// What is said: the reason's sentence, without its full stop, as clients know the texts of errors.
fn message(fault: Fault) -> &'static str {
    let sentence = match fault {
        Fault::Downstream(refusal) => refusal.sentence(),
        Fault::Upstream(fault) => fault.sentence(),
        Fault::Internal(_) => "The gateway failed; its log says more.",
    };
    sentence.trim_end_matches('.')
}

/// Status, shape, and whether the connection is closed afterwards.
fn describe(fault: Fault) -> (StatusCode, Shape, bool) {
    use Refusal as R;
    use Shape::{Plain, Typed};
    use StatusCode as S;
    use UpstreamFault as U;
    match fault {
        Fault::Downstream(refusal) => match refusal {
            R::RequestLine
            | R::Http2Preface
            | R::Http2Upgrade
            | R::BareLineFeed
            | R::BareCarriageReturn
            | R::ControlCharacter
            | R::FoldedHeader
            | R::HeaderName
            | R::MissingHost
            | R::DuplicateHost
            | R::BadHost
            | R::LengthAndEncoding
            | R::DuplicateLength
            | R::BadLength
            | R::BadEncoding
            | R::BadChunk
            | R::NotRelative
            | R::BadTarget
            | R::BadPath
            | R::BadUpgrade
            | R::BadFrame => (S::BAD_REQUEST, Plain("Bad Request"), true),
            R::Version => (
                S::HTTP_VERSION_NOT_SUPPORTED,
                Plain("HTTP Version Not Supported"),
                true,
            ),
            R::BadExpectation => (S::EXPECTATION_FAILED, Plain("Expectation Failed"), true),
            R::HeadTooLarge | R::TooManyHeaders => (
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                Plain("Request Header Fields Too Large"),
                true,
            ),
            R::HeadTimedOut | R::BodyTimedOut => {
                (S::REQUEST_TIMEOUT, Plain("Request Timeout"), true)
            }
            R::BodyTooLarge => (S::PAYLOAD_TOO_LARGE, Plain("Payload Too Large"), true),
            R::Method => (S::METHOD_NOT_ALLOWED, Plain("Method Not Allowed"), true),
            R::PathNotAllowed => (S::FORBIDDEN, Typed("path_not_allowed"), false),
            R::ForeignCredential => (S::FORBIDDEN, Typed("foreign_credential"), false),
            // With what there is to say of it: `Denied::respond`.
            R::RateLimited | R::TooManyAtOnce => {
                (S::TOO_MANY_REQUESTS, Typed("rate_limit_error"), false)
            }
            R::RunsExhausted => (S::TOO_MANY_REQUESTS, Typed("max_runs_exceeded"), false),
            R::TokensExhausted | R::DollarsExhausted => (
                S::FORBIDDEN,
                Typed("effective_tokens_limit_exceeded"),
                false,
            ),
            R::ModelNotAllowed | R::ModelUnreadable | R::ModelNotPriced => {
                (S::FORBIDDEN, Typed("model_policy_violation"), false)
            }
            R::WebSocketNotCarried => (S::UPGRADE_REQUIRED, Typed("websocket_not_carried"), true),
            R::SecretLeak => (S::FORBIDDEN, Typed("secret_leak"), true),
            R::NotConfigured => (
                S::SERVICE_UNAVAILABLE,
                Typed("provider_not_configured"),
                false,
            ),
            R::CredentialNotReady => (S::SERVICE_UNAVAILABLE, Typed("credential_not_ready"), false),
        },
        Fault::Upstream(fault) => match fault {
            U::NotResolved
            | U::Unreachable
            | U::NoProtocol
            | U::TlsFailed
            | U::NoRoots
            | U::Reset
            | U::BodyBroken
            | U::CredentialRepeated
            | U::BadHandshake => (S::BAD_GATEWAY, Typed("upstream_error"), false),
            U::ConnectTimedOut | U::FirstByteTimedOut | U::IdleTimedOut | U::TotalTimedOut => {
                (S::GATEWAY_TIMEOUT, Typed("upstream_error"), false)
            }
        },
        Fault::Internal(_) => (
            S::INTERNAL_SERVER_ERROR,
            Plain("Internal Server Error"),
            true,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Providers;

    fn answer(fault: impl Into<Fault>) -> (u16, serde_json::Value, bool) {
        let response = respond(fault.into(), Providers::builtin().get("openai").unwrap());
        let body = serde_json::from_slice(response.body()).unwrap();
        let closed = response.headers().get(header::CONNECTION).is_some();
        (response.status().as_u16(), body, closed)
    }

    #[test]
    fn shapes_are_the_contracts() {
        let (status, body, closed) = answer(Refusal::NotRelative);
        assert_eq!((status, closed), (400, true));
        assert_eq!(body["error"], "Bad Request");
        assert_eq!(body["message"], "URL must be a relative path");

        let (status, body, _) = answer(Refusal::NotConfigured);
        assert_eq!(status, 503);
        assert_eq!(
            body,
            json!({"error":{"type":"provider_not_configured","provider":"openai","port":10000,
                "message":"No credential is configured for this provider","retryable":false}})
        );
        let (status, body, _) = answer(Refusal::CredentialNotReady);
        assert_eq!(status, 503);
        assert_eq!(body["error"]["type"], "credential_not_ready");
        assert_eq!(body["error"]["port"], 10000);
        assert_eq!(body["error"]["retryable"], true);
        let (status, body, _) = answer(Refusal::ForeignCredential);
        assert_eq!(
            (status, body["error"]["type"].as_str()),
            (403, Some("foreign_credential"))
        );
        let (status, body, closed) = answer(Refusal::BodyTooLarge);
        assert_eq!(
            (status, body["error"].as_str(), closed),
            (413, Some("Payload Too Large"), true)
        );
        let (status, body, _) = answer(UpstreamFault::Unreachable);
        assert_eq!(
            (status, body["error"]["type"].as_str()),
            (502, Some("upstream_error"))
        );
        assert_eq!(answer(UpstreamFault::FirstByteTimedOut).0, 504);
    }

    #[test]
    fn every_fault_has_an_answer_and_framing_faults_close() {
        for refusal in Refusal::ALL {
            let (status, _, closed) = answer(*refusal);
            assert!((400..=505).contains(&status));
            assert!(closed || matches!(status, 403 | 429 | 503), "{refusal:?}");
        }
        for fault in UpstreamFault::ALL {
            assert!(matches!(answer(*fault).0, 502 | 504));
        }
    }
}
