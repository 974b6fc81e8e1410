// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a request was not simply forwarded: one list, from which the answer's body, the log line and
//! the metric label take the same name.
//!
//! The types say whose fault it was: the workload's ([`Refusal`]), the provider's side
//! ([`UpstreamFault`]), or ours ([`Fault::Internal`]). What each is answered with is decided in one
//! place, `respond`.

/// Everything that stops a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The workload's request is not acceptable, or not allowed.
    Downstream(Refusal),
    /// The provider, or the way to it, failed.
    Upstream(UpstreamFault),
    /// Something that should not happen here; the text goes to the log only.
    Internal(&'static str),
}

/// Defines an enum whose variants have a stable name each.
macro_rules! named {
    ($(#[$meta:meta])* $enum:ident { $($(#[$variant_meta:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $enum {
            $($(#[$variant_meta])* $variant,)*
        }

        impl $enum {
            /// Every variant, in the order of the list.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Stable name: in answers, log lines and metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

named! {
    /// What the workload sent is refused.
    Refusal {
        /// The request line is not `METHOD SP target SP HTTP/1.1`.
        RequestLine = "bad_request_line",
        /// A version of HTTP other than 1.1.
        Version = "http_version_not_supported",
        /// The HTTP/2 connection preface.
        Http2Preface = "http2_prior_knowledge",
        /// `Upgrade: h2c`.
        Http2Upgrade = "http2_upgrade",
        /// A line that ends in LF without CR.
        BareLineFeed = "bare_line_feed",
        /// A CR that no LF follows.
        BareCarriageReturn = "bare_carriage_return",
        /// NUL or another control character.
        ControlCharacter = "control_character",
        /// A header line that begins with white space.
        FoldedHeader = "folded_header",
        /// A header name that is empty, holds a separator, or is followed by white space.
        HeaderName = "bad_header_name",
        /// No `Host`.
        MissingHost = "missing_host",
        /// More than one `Host`.
        DuplicateHost = "duplicate_host",
        /// A `Host` that is not an authority.
        BadHost = "bad_host",
        /// `Content-Length` and `Transfer-Encoding` together.
        LengthAndEncoding = "length_and_transfer_encoding",
        /// More than one `Content-Length`.
        DuplicateLength = "duplicate_content_length",
        /// A `Content-Length` that is not a plain number.
        BadLength = "bad_content_length",
        /// A `Transfer-Encoding` other than `chunked`, once.
        BadEncoding = "bad_transfer_encoding",
        /// A chunk size line or chunk end that is not exactly as it should be.
        BadChunk = "bad_chunk",
        /// An expectation other than `100-continue`.
        BadExpectation = "bad_expectation",
        /// The head is larger than the limit.
        HeadTooLarge = "head_too_large",
        /// More header lines than the limit.
        TooManyHeaders = "too_many_headers",
        /// The head did not come in time.
        HeadTimedOut = "head_timed_out",
        /// The body stopped coming.
        BodyTimedOut = "body_timed_out",
        /// The body is larger than the limit.
        BodyTooLarge = "body_too_large",
        /// `CONNECT`, `TRACE`, or another method than `GET` and `HEAD` on an own endpoint.
        Method = "method_not_allowed",
        /// The target is absolute, or starts with `//`, or is `*`.
        NotRelative = "not_a_relative_path",
        /// The target is not one that a proxy takes.
        BadTarget = "bad_target",
        /// The path has an ambiguous spelling: bad escapes, or dot segments beside encoded slashes.
        BadPath = "bad_path",
        /// The provider's routes do not have this method and path.
        PathNotAllowed = "path_not_allowed",
        /// The request carries a credential that is not the placeholder.
        ForeignCredential = "foreign_credential",
        /// An upgrade that is not a well-formed WebSocket handshake.
        BadUpgrade = "bad_upgrade",
        /// What comes through a WebSocket is no frame of one.
        BadFrame = "bad_websocket_frame",
        /// A WebSocket where only plain requests are served.
        WebSocketNotCarried = "websocket_not_carried",
        /// More requests or bytes than the limit for this stretch of time.
        RateLimited = "rate_limit_error",
        /// More requests at a time than the limit.
        TooManyAtOnce = "concurrent_limit",
        /// The run has made as many inference requests as it may.
        RunsExhausted = "max_runs_exceeded",
        /// The run has used as many tokens as it may.
        TokensExhausted = "effective_tokens_limit_exceeded",
        /// The run has spent as much money as it may.
        DollarsExhausted = "dollar_limit_exceeded",
        /// The policy does not allow this model.
        ModelNotAllowed = "model_policy_violation",
        /// A rule needs the model, and the request does not name one, once, in a way that can be read.
        ModelUnreadable = "model_not_readable",
        /// Money is limited, and the model has no known price.
        ModelNotPriced = "model_not_priced",
        /// A secret in what was sent.
        SecretLeak = "secret_leak",
        /// This provider has no credential.
        NotConfigured = "provider_not_configured",
        /// The credential is being fetched, or could not be fetched again in time.
        CredentialNotReady = "credential_not_ready",
    }
}

named! {
    /// The provider, or the way to it, failed.
    UpstreamFault {
        /// The host's name has no address.
        NotResolved = "upstream_not_resolved",
        /// No address accepted a connection.
        Unreachable = "upstream_unreachable",
        /// The certificate was not acceptable, or TLS failed otherwise.
        TlsFailed = "upstream_tls_failed",
        /// The upstream has none of the protocols that it was offered: a WebSocket, say, needs HTTP/1.1.
        NoProtocol = "upstream_no_protocol",
        /// There is no trusted root to verify with.
        NoRoots = "upstream_no_roots",
        /// The connection broke before the answer's head was there.
        Reset = "upstream_reset",
        /// Name, TCP and TLS took too long.
        ConnectTimedOut = "upstream_connect_timed_out",
        /// No answer in time.
        FirstByteTimedOut = "upstream_first_byte_timed_out",
        /// The answer's body stopped coming.
        IdleTimedOut = "upstream_idle_timed_out",
        /// The whole exchange took too long.
        TotalTimedOut = "upstream_total_timed_out",
        /// The answer broke off in the middle.
        BodyBroken = "upstream_body_broken",
        /// The answer repeats the credential inside a coding, where it cannot be covered.
        CredentialRepeated = "upstream_credential_repeated",
        /// 101 without the right `Sec-WebSocket-Accept`.
        BadHandshake = "upstream_bad_handshake",
    }
}

impl Fault {
    /// Stable name of the reason.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Downstream(refusal) => refusal.name(),
            Self::Upstream(fault) => fault.name(),
            Self::Internal(_) => "internal_error",
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Downstream(refusal)
    }
}

impl From<UpstreamFault> for Fault {
    fn from(fault: UpstreamFault) -> Self {
        Self::Upstream(fault)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_distinct_and_snake_case() {
        let names: Vec<_> = Refusal::ALL
            .iter()
            .map(|it| it.name())
            .chain(UpstreamFault::ALL.iter().map(|it| it.name()))
            .collect();
        let distinct: BTreeSet<_> = names.iter().collect();
        assert_eq!(names.len(), distinct.len());
        let plain = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_';
        assert!(
            names.iter().all(|name| name.bytes().all(plain)),
            "{names:?}"
        );
    }
}
