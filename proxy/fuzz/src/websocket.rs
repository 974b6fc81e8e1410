// SPDX-License-Identifier: MIT OR Apache-2.0
//! Both sides of a WebSocket handshake, from header lines.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use keyward_proxy::{
    gateway::{strip::Stripper, websocket::check},
    provider::Providers,
};

/// One execution.
pub fn run(text: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in text.split(|it| *it == b'\n') {
        let mut parts = line.splitn(2, |it| *it == b':');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else {
            continue;
        };
        let name = HeaderName::from_bytes(name);
        let value = HeaderValue::from_bytes(value.trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let Ok(handshake) = check(&Method::GET, &headers) else {
        return;
    };
    // The request's own headers do not prove the answer.
    let accepted = handshake.accepted(StatusCode::SWITCHING_PROTOCOLS, &headers);
    assert!(accepted != Ok(false));
    assert_eq!(handshake.accepted(StatusCode::OK, &headers), Ok(false));
    let table = Providers::builtin();
    let Some(provider) = table.get("openai") else {
        return;
    };
    if handshake
        .strip(&mut headers, Stripper::new(provider, &table))
        .is_ok()
    {
        let left = headers
            .get("sec-websocket-protocol")
            .map(HeaderValue::as_bytes);
        let left = left.unwrap_or_default().to_ascii_lowercase();
        let mut offered = left.split(|it| *it == b',').map(<[u8]>::trim_ascii);
        assert!(!offered.any(|it| it.starts_with(b"openai-insecure-api-key.")));
    }
}
