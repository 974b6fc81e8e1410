// SPDX-License-Identifier: MIT OR Apache-2.0

use super::{betas::NAME as BETA, *};

fn rules(toml: &str) -> Rewrite {
    let raw: crate::settings::RawSettings = toml::from_str(&format!("[rewrite]\n{toml}")).unwrap();
    crate::settings::Settings::try_from(raw).unwrap().rewrite
}

fn applied(toml: &str, dialect: Dialect, path: &str, body: &str) -> Option<String> {
    let rewrite = rules(toml);
    let rules = Rules::new(&rewrite, dialect, path);
    let out = rules.apply(body.as_bytes())?;
    Some(String::from_utf8(out).unwrap())
}

const MARK: &str = r#""cache_control":{"type":"ephemeral"}"#;

fn cached(body: &str) -> Option<String> {
    applied(
        "anthropic-cache = true",
        Dialect::Anthropic,
        "/v1/messages",
        body,
    )
}

#[test]
fn three_places_are_marked_and_the_rest_keeps_its_bytes() {
    let body = r#"{"max_tokens":1.50e3,"tools":[{"name":"a"},{"name":"b"},{"name":"c","defer_loading":true}],"system":"be good","messages":[{"role":"user","content":"one"},{"role":"user","content":[{"type":"text","text":"\u0041"},{"type":"text","text":""}]},{"role":"assistant","content":"x"}]}"#;
    let expected = format!(
        r#"{{"max_tokens":1.50e3,"tools":[{{"name":"a"}},{{"name":"b",{MARK}}},{{"name":"c","defer_loading":true}}],"system":[{{"type":"text","text":"be good",{MARK}}}],"messages":[{{"role":"user","content":"one"}},{{"role":"user","content":[{{"type":"text","text":"\u0041",{MARK}}},{{"type":"text","text":""}}]}},{{"role":"assistant","content":"x"}}]}}"#
    );
    assert_eq!(cached(body).unwrap(), expected);
    // A second time there is nothing to do.
    assert_eq!(cached(&expected), None);
}

#[test]
fn what_asks_for_caching_or_has_no_place_stays() {
    for body in [
        r#"{"system":"x","cache_control":{"type":"ephemeral"}}"#,
        r#"{"system":"x","messages":[{"role":"user","content":[{"type":"text","text":"x","cache\u005fcontrol" : null}]}]}"#,
        r#"{"system":"","tools":[],"messages":[]}"#,
        r#"{"messages":[{"role":"assistant","content":"x"}]}"#,
        r#"[1]"#,
        "no json",
        "",
    ] {
        assert_eq!(cached(body), None, "{body}");
    }
    // As text it is no request for caching.
    assert!(cached(r#"{"system":"\"cache_control\": cache_control"}"#).is_some());
    let on = "anthropic-cache = true";
    let body = r#"{"system":"x"}"#;
    assert_eq!(applied(on, Dialect::Openai, "/v1/messages", body), None);
    let path = "/v1/messages/count_tokens";
    assert_eq!(applied(on, Dialect::Anthropic, path, body), None);
}

#[test]
fn tools_are_removed_in_every_form() {
    let toml = "remove-tools = ['bad']";
    for (dialect, body, expected) in [
        (
            Dialect::Openai,
            r#"{"a":1,"tools":[{"type":"function","function":{"name":"bad"}},{"type":"function","function":{"name":"good"}}],"tool_choice":{"type":"function","function":{"name":"bad"}}}"#,
            r#"{"a":1,"tools":[{"type":"function","function":{"name":"good"}}]}"#,
        ),
        (
            Dialect::Openai,
            r#"{"tools":[{"type":"function","name":"bad"},{"type":"web_search"}],"tool_choice":"auto"}"#,
            r#"{"tools":[{"type":"web_search"}],"tool_choice":"auto"}"#,
        ),
        (
            Dialect::Anthropic,
            r#"{"tools":[{"name":"bad"}],"tool_choice":{"type":"auto"},"x":[]}"#,
            r#"{"x":[]}"#,
        ),
        (
            Dialect::Gemini,
            r#"{"tools":[{"functionDeclarations":[{"name":"bad"},{"name":"good"}]},{"function_declarations":[{"name":"bad"}]},{"functionDeclarations":[{"name":"bad"}],"googleSearch":{}}]}"#,
            r#"{"tools":[{"functionDeclarations":[{"name":"good"}]},{"googleSearch":{}}]}"#,
        ),
    ] {
        assert_eq!(applied(toml, dialect, "/x", body).unwrap(), expected);
        assert_eq!(applied(toml, Dialect::Other, "/x", body), None);
    }
    let body = r#"{"tools":[{"name":"good"}],"input":"bad"}"#;
    assert_eq!(applied(toml, Dialect::Openai, "/x", body), None);
}

#[test]
fn escapes_go_from_what_the_model_reads_alone() {
    for name in ["messages", "input", "contents"] {
        let body = format!(r#"{{"metadata":"\u001b[1m","{name}":[{{"a":"\u001b[1mx"}}]}}"#);
        assert_eq!(
            applied("strip-ansi = true", Dialect::Openai, "/x", &body).unwrap(),
            format!(r#"{{"metadata":"\u001b[1m","{name}":[{{"a":"x"}}]}}"#)
        );
    }
}

#[test]
fn without_rules_nothing_is_needed() {
    let nothing = Rewrite::default();
    assert!(Rules::new(&nothing, Dialect::Anthropic, "/v1/messages").is_idle());
    let beta = rules("drop-beta = ['a']");
    assert!(Rules::new(&beta, Dialect::Anthropic, "/v1/messages").is_idle());
}

#[test]
fn depth_costs_no_stack() {
    let deep = format!(
        r#"{{"messages":{}"\u001b[1m"{}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert!(applied("strip-ansi = true", Dialect::Openai, "/x", &deep).is_some());
    cached(&deep);
}

#[test]
fn beta_values_are_dropped() {
    let rules = rules("drop-beta = ['a', 'c']");
    let mut headers = HeaderMap::new();
    headers.append(BETA, HeaderValue::from_static("a,b , c"));
    headers.append(BETA, HeaderValue::from_static("d"));
    head(&rules, &Refused::default(), &mut headers);
    let all: Vec<_> = headers.get_all(BETA).iter().collect();
    assert_eq!(all, ["b, d"]);
    headers.insert(BETA, HeaderValue::from_static("c"));
    head(&rules, &Refused::default(), &mut headers);
    assert!(!headers.contains_key(BETA));
}

#[test]
fn json_is_known_by_its_type() {
    for (value, expected) in [
        ("application/json", true),
        ("Application/JSON; charset=utf-8", true),
        ("application/vnd.x+json", true),
        ("text/plain", false),
        ("multipart/form-data; a=application/json", false),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
        assert_eq!(is_json(&headers), expected, "{value}");
    }
    assert!(!is_json(&HeaderMap::new()));
}
