// SPDX-License-Identifier: MIT OR Apache-2.0
//! Text or JSON, by what the client says that it takes (RFC 9110, section 12.5.1). Pure.

use http::{HeaderMap, header};

/// What an answer of ours is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

/// How much something is wanted, in thousandths, and how exactly it was named.
type Wanted = (u16, u8);

/// JSON where it is wanted more than text; a client that does not care is a person's more often.
pub(crate) fn format(headers: &HeaderMap) -> Format {
    let mut text: Option<Wanted> = None;
    let mut json: Option<Wanted> = None;
    let values = headers.get_all(header::ACCEPT).iter();
    for range in values
        .filter_map(|it| it.to_str().ok())
        .flat_map(|it| it.split(','))
    {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts
            .filter_map(|it| it.split_once('='))
            .find(|it| it.0.trim().eq_ignore_ascii_case("q"))
            .map_or(1000, |it| thousandths(it.1.trim()));
        let (is_text, is_json, exactness) = match media.as_str() {
            "*/*" => (true, true, 0),
            "text/*" => (true, false, 1),
            "application/*" => (false, true, 1),
            "text/plain" | "text/html" => (true, false, 2),
            "application/json" => (false, true, 2),
            _ => (false, media.ends_with("+json"), 2),
        };
        let better = |old: Option<Wanted>| match old {
            Some((_, before)) if before > exactness => old,
            Some((most, before)) if before == exactness => Some((most.max(weight), exactness)),
            Some(_) | None => Some((weight, exactness)),
        };
        if is_text {
            text = better(text);
        }
        if is_json {
            json = better(json);
        }
    }
    let weight = |it: Option<Wanted>| it.map_or(0, |it| it.0);
    if weight(json) > weight(text) {
        Format::Json
    } else {
        Format::Text
    }
}

/// `0.8` as 800. What is not a weight is none.
fn thousandths(text: &str) -> u16 {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let digits = rest.len() <= 3 && rest.bytes().all(|it| it.is_ascii_digit());
    match (whole, digits) {
        ("1", true) => 1000,
        ("0", true) => format!("{rest:0<3}").parse().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_only_for_those_who_want_it_more() {
        for (accept, expected) in [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("application/json", Format::Json),
            ("Application/JSON; charset=utf-8", Format::Json),
            ("application/json, text/plain, */*", Format::Text),
            ("application/json, */*;q=0.5", Format::Json),
            ("application/json;q=0.5, text/plain", Format::Text),
            ("text/plain;q=0.4, application/json;q=0.45", Format::Json),
            ("application/json;q=0, */*", Format::Text),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Format::Text),
            ("application/vnd.github+json", Format::Json),
            ("application/*, text/*;q=0.9", Format::Json),
            ("application/json;q=x, text/plain;q=0.1", Format::Text),
            (", ;q=1,,", Format::Text),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            assert_eq!(format(&headers), expected, "{accept:?}");
        }
        assert_eq!(format(&HeaderMap::new()), Format::Text);
    }
}
