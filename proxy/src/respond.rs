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
    let (status, shape, message, close) = describe(fault);
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

/// Status of the answer to what is refused, and what is said.
pub(crate) fn refused(refusal: Refusal) -> (StatusCode, &'static str) {
    let (status, _, message, _) = describe(refusal.into());
    (status, message)
}

/// Status of the answer to what is refused, and the `type` of its error.
pub(crate) fn kind(refusal: Refusal) -> (StatusCode, &'static str) {
    let (status, Shape::Plain(kind) | Shape::Typed(kind), ..) = describe(refusal.into());
    (status, kind)
}

/// Status, shape, what is said, and whether the connection is closed afterwards.
fn describe(fault: Fault) -> (StatusCode, Shape, &'static str, bool) {
    use Refusal as R;
    use Shape::{Plain, Typed};
    use StatusCode as S;
    use UpstreamFault as U;
    let malformed = |message| (S::BAD_REQUEST, Plain("Bad Request"), message, true);
    let unreachable = |message| (S::BAD_GATEWAY, Typed("upstream_error"), message, false);
    let late = |message| (S::GATEWAY_TIMEOUT, Typed("upstream_error"), message, false);
    match fault {
        Fault::Downstream(refusal) => match refusal {
            R::RequestLine => malformed("the request line is malformed"),
            R::Version => (
                S::HTTP_VERSION_NOT_SUPPORTED,
                Plain("HTTP Version Not Supported"),
                "only HTTP/1.1 is spoken here",
                true,
            ),
            R::Http2Preface | R::Http2Upgrade => malformed("only HTTP/1.1 is spoken here"),
            R::BareLineFeed => malformed("lines must end in CRLF"),
            R::BareCarriageReturn => malformed("a carriage return must be followed by a line feed"),
            R::ControlCharacter => {
                malformed("control characters are not allowed in a request head")
            }
            R::FoldedHeader => malformed("header lines must not be folded"),
            R::HeaderName => malformed("a header line has no well-formed name"),
            R::MissingHost => malformed("the Host header is missing"),
            R::DuplicateHost => malformed("there is more than one Host header"),
            R::BadHost => malformed("the Host header is malformed"),
            R::LengthAndEncoding => {
                malformed("Content-Length and Transfer-Encoding exclude each other")
            }
            R::DuplicateLength => malformed("there is more than one Content-Length"),
            R::BadLength => malformed("Content-Length must be a plain number"),
            R::BadEncoding => malformed("Transfer-Encoding must be chunked, once"),
            R::BadChunk => malformed("the chunked body is malformed"),
            R::BadExpectation => (
                S::EXPECTATION_FAILED,
                Plain("Expectation Failed"),
                "only 100-continue can be expected",
                true,
            ),
            R::HeadTooLarge | R::TooManyHeaders => (
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                Plain("Request Header Fields Too Large"),
                "the request head is over the limit",
                true,
            ),
            R::HeadTimedOut | R::BodyTimedOut => (
                S::REQUEST_TIMEOUT,
                Plain("Request Timeout"),
                "the request did not come in time",
                true,
            ),
            R::BodyTooLarge => (
                S::PAYLOAD_TOO_LARGE,
                Plain("Payload Too Large"),
                "the request body is over the limit",
                true,
            ),
            R::Method => (
                S::METHOD_NOT_ALLOWED,
                Plain("Method Not Allowed"),
                "this method is not served here",
                true,
            ),
            R::NotRelative => malformed("URL must be a relative path"),
            R::BadTarget => malformed(
                "the target must be http://host/path, or host:port for CONNECT, without user and password",
            ),
            R::BadPath => malformed("the path is ambiguous or malformed"),
            R::PathNotAllowed => (
                S::FORBIDDEN,
                Typed("path_not_allowed"),
                "this method and path are not part of what the policy allows for this provider",
                false,
            ),
            R::ForeignCredential => (
                S::FORBIDDEN,
                Typed("foreign_credential"),
                "the request carries a credential of its own; send the placeholder, or none: the \
                 gateway puts the real one in",
                false,
            ),
            // With what there is to say of it: `Denied::respond`.
            R::RateLimited | R::TooManyAtOnce => (
                S::TOO_MANY_REQUESTS,
                Typed("rate_limit_error"),
                "a limit for this stretch of time is reached",
                false,
            ),
            R::RunsExhausted => (
                S::TOO_MANY_REQUESTS,
                Typed("max_runs_exceeded"),
                "this run's limit of inference requests is reached",
                false,
            ),
            R::TokensExhausted | R::DollarsExhausted => (
                S::FORBIDDEN,
                Typed("effective_tokens_limit_exceeded"),
                "this run's budget is used up",
                false,
            ),
            R::ModelNotAllowed | R::ModelUnreadable | R::ModelNotPriced => (
                S::FORBIDDEN,
                Typed("model_policy_violation"),
                "the policy does not allow this model",
                false,
            ),
            R::BadUpgrade => malformed("this is not a well-formed WebSocket handshake"),
            R::BadFrame => malformed("this is not a frame of a WebSocket"),
            R::WebSocketNotCarried => (
                S::UPGRADE_REQUIRED,
                Typed("websocket_not_carried"),
                "no WebSocket is carried here; send a plain request",
                true,
            ),
            R::SecretLeak => (
                S::FORBIDDEN,
                Typed("secret_leak"),
                "what was sent holds a secret",
                true,
            ),
            R::NotConfigured => (
                S::SERVICE_UNAVAILABLE,
                Typed("provider_not_configured"),
                "no credential is configured for this provider",
                false,
            ),
            R::CredentialNotReady => (
                S::SERVICE_UNAVAILABLE,
                Typed("credential_not_ready"),
                "the credential for this provider is being fetched; try again in a moment",
                false,
            ),
        },
        Fault::Upstream(fault) => match fault {
            U::NotResolved => unreachable("the provider's name could not be resolved"),
            U::Unreachable => unreachable("the provider could not be reached"),
            U::NoProtocol => {
                unreachable("the provider does not speak the HTTP version that this needs")
            }
            U::TlsFailed => unreachable("the provider's certificate could not be verified"),
            U::NoRoots => unreachable("there is no trusted root to verify the provider with"),
            U::Reset => unreachable("the provider closed the connection without an answer"),
            U::BodyBroken => unreachable("the provider's answer broke off"),
            U::CredentialRepeated => unreachable("the provider's answer repeats the credential"),
            U::BadHandshake => unreachable("the provider's WebSocket handshake is not valid"),
            U::ConnectTimedOut => late("the connection to the provider took too long"),
            U::FirstByteTimedOut => late("the provider did not answer in time"),
            U::IdleTimedOut => late("the provider stopped answering"),
            U::TotalTimedOut => late("the exchange with the provider took too long"),
        },
        Fault::Internal(_) => (
            S::INTERNAL_SERVER_ERROR,
            Plain("Internal Server Error"),
            "the gateway failed; its log says more",
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
                "message":"no credential is configured for this provider","retryable":false}})
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
