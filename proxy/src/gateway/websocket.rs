// SPDX-License-Identifier: MIT OR Apache-2.0
//! The WebSocket handshake (RFC 6455, section 4), checked on both sides. Pure.

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::strip::Stripper;
use crate::refusal::{Refusal, UpstreamFault};

/// Appended to the key before hashing: RFC 6455, section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Subprotocols that carry a key begin like this.
const KEY_PROTOCOL: &str = "openai-insecure-api-key.";

/// A well-formed request of the workload's to open a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Handshake {
    /// What `Sec-WebSocket-Accept` has to be.
    expected: String,
}

/// Checks the workload's side.
///
/// # Errors
///
/// [`Refusal::BadUpgrade`].
pub fn check(method: &Method, headers: &HeaderMap) -> Result<Handshake, Refusal> {
    let well_formed = method == Method::GET
        && is_only(headers, &header::UPGRADE, |it| {
            it.eq_ignore_ascii_case(b"websocket")
        })
        && has_token(headers, &header::CONNECTION, b"upgrade")
        && is_only(headers, &header::SEC_WEBSOCKET_VERSION, |it| it == b"13");
    let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
    let key = match (keys.next(), keys.next()) {
        (Some(key), None) if well_formed => key.as_bytes(),
        _ => return Err(Refusal::BadUpgrade),
    };
    // 16 bytes in base64, in the only spelling.
    let decoded = STANDARD.decode(key).ok().filter(|it| it.len() == 16);
    if decoded.is_none() {
        return Err(Refusal::BadUpgrade);
    }
    Ok(Handshake {
        expected: accept_for(key),
    })
}

impl Handshake {
    /// Puts this hop's own headers back and takes subprotocols away that carry a key.
    ///
    /// # Errors
    ///
    /// [`Refusal::ForeignCredential`] if such a key is not the placeholder.
    pub fn strip(&self, headers: &mut HeaderMap, stripper: Stripper<'_>) -> Result<(), Refusal> {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.remove(header::CONTENT_LENGTH);
        let offered = tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL);
        let offered: Vec<String> = offered
            .map(|it| String::from_utf8_lossy(it).into_owned())
            .collect();
        if offered.is_empty() {
            return Ok(());
        }
        let is_key = |it: &&String| {
            it.get(..KEY_PROTOCOL.len())
                .is_some_and(|it| it.eq_ignore_ascii_case(KEY_PROTOCOL))
        };
        for it in offered.iter().filter(is_key) {
            let key = it.get(KEY_PROTOCOL.len()..).unwrap_or_default();
            stripper.judge(key.as_bytes())?;
        }
        let kept: Vec<&str> = offered
            .iter()
            .filter(|it| !is_key(it))
            .map(String::as_str)
            .collect();
        match HeaderValue::from_str(&kept.join(", ")) {
            Ok(value) if !kept.is_empty() => {
                headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
            }
            Ok(_) | Err(_) => {
                headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
            }
        }
        Ok(())
    }

    /// Checks the upstream's side. `Ok(false)`: it did not accept, and its answer is an ordinary one.
    ///
    /// # Errors
    ///
    /// [`UpstreamFault::BadHandshake`]: it says 101 and does not prove that it means this handshake.
    pub fn accepted(&self, status: StatusCode, headers: &HeaderMap) -> Result<bool, UpstreamFault> {
        if status != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(false);
        }
        let proven = is_only(headers, &header::UPGRADE, |it| {
            it.eq_ignore_ascii_case(b"websocket")
        }) && has_token(headers, &header::CONNECTION, b"upgrade")
            && is_only(headers, &header::SEC_WEBSOCKET_ACCEPT, |it| {
                it == self.expected.as_bytes()
            });
        if proven {
            Ok(true)
        } else {
            Err(UpstreamFault::BadHandshake)
        }
    }
}

/// `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`.
fn accept_for(key: &[u8]) -> String {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key);
    context.update(GUID);
    STANDARD.encode(context.finish())
}

/// Whether the header is there once, with a value that fits.
fn is_only(headers: &HeaderMap, name: &HeaderName, fits: impl Fn(&[u8]) -> bool) -> bool {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => fits(value.as_bytes()),
        _ => false,
    }
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let values = headers.get_all(name).into_iter();
    let all = values.flat_map(|it| it.as_bytes().split(|byte| *byte == b','));
    all.map(<[u8]>::trim_ascii).filter(|it| !it.is_empty())
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &[u8]) -> bool {
    tokens(headers, name).any(|it| it.eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn good() -> Vec<(&'static str, &'static str)> {
        vec![
            ("upgrade", "WebSocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", KEY),
        ]
    }

    #[test]
    fn the_rfcs_example() {
        let handshake = check(&Method::GET, &headers(&good())).unwrap();
        assert_eq!(handshake.expected, ACCEPT);
    }

    #[test]
    fn anything_missing_doubled_or_wrong_is_refused() {
        assert!(check(&Method::POST, &headers(&good())).is_err());
        for at in 0..good().len() {
            let mut lines = good();
            let line = lines.remove(at);
            assert!(
                check(&Method::GET, &headers(&lines)).is_err(),
                "without {line:?}"
            );
            if line.0 != "connection" {
                let mut lines = good();
                lines.push(line);
                assert!(
                    check(&Method::GET, &headers(&lines)).is_err(),
                    "twice {line:?}"
                );
            }
        }
        for (name, value) in [
            ("upgrade", "websocket, h2c"),
            ("upgrade", "ws"),
            ("connection", "keep-alive"),
            ("sec-websocket-version", "12"),
            ("sec-websocket-version", "13, 8"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZR=="),
            ("sec-websocket-key", "c2hvcnQ="),
            ("sec-websocket-key", ""),
        ] {
            let mut lines = good();
            lines.retain(|it| it.0 != name);
            lines.push((name, value));
            assert!(
                check(&Method::GET, &headers(&lines)).is_err(),
                "{name}: {value}"
            );
        }
    }

    #[test]
    fn the_upstream_has_to_prove_that_it_means_this_handshake() {
        let handshake = check(&Method::GET, &headers(&good())).unwrap();
        let answer = |lines: &[(&'static str, &str)]| {
            handshake.accepted(StatusCode::SWITCHING_PROTOCOLS, &headers(lines))
        };
        let good = [
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-accept", ACCEPT),
        ];
        assert_eq!(answer(&good), Ok(true));
        assert_eq!(answer(&good[..2]), Err(UpstreamFault::BadHandshake));
        assert_eq!(answer(&good[1..]), Err(UpstreamFault::BadHandshake));
        let wrong = [
            good[0],
            good[1],
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOO="),
        ];
        assert_eq!(answer(&wrong), Err(UpstreamFault::BadHandshake));
        assert_eq!(
            handshake.accepted(StatusCode::NOT_FOUND, &headers(&good)),
            Ok(false)
        );
        assert_eq!(
            handshake.accepted(StatusCode::OK, &HeaderMap::new()),
            Ok(false)
        );
    }

    #[test]
    fn subprotocols_that_carry_a_key_are_dropped() {
        let strip = |value: &str| {
            let mut headers = headers(&[("sec-websocket-protocol", value)]);
            let handshake = Handshake {
                expected: String::new(),
            };
            let table = crate::provider::Providers::builtin();
            let stripper = Stripper::new(table.get("openai").unwrap(), &table);
            handshake.strip(&mut headers, stripper).map(|()| {
                headers
                    .get("sec-websocket-protocol")
                    .map(|it| it.to_str().unwrap().to_owned())
            })
        };
        assert_eq!(strip("realtime, x.y"), Ok(Some("realtime, x.y".to_owned())));
        let with_placeholder = "realtime, openai-insecure-api-key.sk-placeholder-for-api-proxy, x";
        assert_eq!(strip(with_placeholder), Ok(Some("realtime, x".to_owned())));
        let alone = "OpenAI-insecure-api-key.sk-placeholder-for-api-proxy";
        assert_eq!(strip(alone), Ok(None));
        assert_eq!(
            strip("realtime, openai-insecure-api-key.sk-own"),
            Err(Refusal::ForeignCredential)
        );
    }
}
