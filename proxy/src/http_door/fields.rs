// SPDX-License-Identifier: MIT OR Apache-2.0
//! Takes away what belongs to one hop alone (RFC 9110, section 7.6.1), on the way up and on the way down. Pure.

use http::{HeaderMap, HeaderName, header};

use crate::gateway::strip::drop_overridden_length;

/// Of this hop, whatever `Connection` says. `Trailer` stays: trailers are carried on, and those that it does not name are
/// not.
const HOP: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// Nobody may take these away by naming them in `Connection`: the message would be another one.
const KEPT: [HeaderName; 5] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::TRAILER,
    header::CACHE_CONTROL,
];

/// Strips a request. What was expected of us is not expected of the upstream: the body follows at once.
pub(super) fn strip_request(headers: &mut HeaderMap) {
    strip(headers);
    headers.remove(header::EXPECT);
}

/// Strips an answer. Where else the host can be reached (`Alt-Svc`) is nothing that the workload could reach.
pub(super) fn strip_response(headers: &mut HeaderMap) {
    drop_overridden_length(headers);
    strip(headers);
    headers.remove(header::ALT_SVC);
}

fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|it| it.as_bytes().split(|byte| *byte == b','))
        .filter_map(|it| HeaderName::from_bytes(it.trim_ascii()).ok())
        .filter(|it| !KEPT.contains(it))
        .collect();
    let proxys: Vec<HeaderName> = headers
        .keys()
        .filter(|it| it.as_str().starts_with("proxy-"))
        .cloned()
        .collect();
    for name in named.iter().chain(&proxys).chain(&HOP) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn left(lines: &[(&'static str, &'static str)], strip: fn(&mut HeaderMap)) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        strip(&mut headers);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names.join(" ")
    }

    #[test]
    fn what_is_this_hops_does_not_go_on() {
        let request = [
            ("host", "example.com"),
            ("connection", "close, X-Mine, host, Content-Length"),
            ("connection", "te"),
            ("x-mine", "1"),
            ("content-length", "5"),
            ("te", "trailers"),
            ("trailer", "x-sum"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABk"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic eDp5"),
            ("expect", "100-continue"),
            ("authorization", "Bearer mine"),
        ];
        assert_eq!(
            left(&request, strip_request),
            "authorization content-length host trailer"
        );
        let response = [
            ("server", "x"),
            ("keep-alive", "timeout=5"),
            ("alt-svc", "h3=\":443\""),
            ("proxy-authenticate", "Basic"),
            ("connection", "x-own"),
            ("x-own", "1"),
            ("set-cookie", "a=b"),
        ];
        assert_eq!(left(&response, strip_response), "server set-cookie");
        let both = [("content-length", "3"), ("transfer-encoding", "chunked")];
        assert_eq!(left(&both, strip_response), "");
        assert_eq!(left(&both[..1], strip_response), "content-length");
    }
}
