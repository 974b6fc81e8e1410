// SPDX-License-Identifier: MIT OR Apache-2.0
use serde_json::{Value, json};

use super::{book::MOST_SPANS, otlp::Source, *};

fn usage(model: &str) -> Usage {
    let tokens = Tokens {
        input: 10,
        output: 3,
        cache_read: 5,
        cache_write: 1,
        reasoning: 2,
    };
    Usage {
        model: Some(model.to_owned()),
        tokens,
    }
}

fn exchange<'a>(path: &'a str, usage: Option<&'a Usage>) -> Exchange<'a> {
    Exchange {
        provider: "gemini",
        host: "h.test",
        path,
        request_id: "r-1",
        status: Some(StatusCode::OK),
        decision: "forwarded",
        reason: None,
        duration: Duration::from_millis(1500),
        first_chunk: Some(Duration::from_millis(200)),
        usage,
        tunnel: false,
    }
}

fn told(telemetry: &Telemetry) -> (Value, Value) {
    let mut book = telemetry.book().unwrap();
    let source = Source { run: Some("a1") };
    let times = (
        SystemTime::UNIX_EPOCH,
        SystemTime::UNIX_EPOCH + Duration::from_nanos(1 << 60),
    );
    let metrics = source.metrics(&book.series, times);
    (metrics, source.traces(&book.take_spans(MOST_SPANS)))
}

fn named<'a>(metrics: &'a Value, name: &str) -> &'a Value {
    let all = metrics["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].as_array();
    all.unwrap().iter().find(|it| it["name"] == name).unwrap()
}

fn attribute<'a>(of: &'a Value, key: &str) -> &'a Value {
    let all = of["attributes"].as_array().unwrap();
    let found = all.iter().find(|it| it["key"] == key);
    found.map_or(&Value::Null, |it| &it["value"])
}

#[test]
fn a_request_is_told_in_the_conventions_terms() {
    let telemetry = Telemetry::new(true);
    let used = usage("gemini-x");
    let path = "/v1beta/models/gemini-x:generateContent";
    telemetry.answer(("gemini", "h.test", path), &used, None);
    telemetry.exchange(&exchange(path, Some(&used)));
    let (metrics, traces) = told(&telemetry);
    let points = named(&metrics, "gen_ai.client.token.usage")["histogram"]["dataPoints"].clone();
    for (at, kind, sum) in [(0, "input", 16.0), (1, "output", 5.0)] {
        assert_eq!(points[at]["sum"], sum);
        let kind = json!({ "stringValue": kind });
        assert_eq!(attribute(&points[at], "gen_ai.token.type"), &kind);
    }
    let buckets: Vec<_> = points[0]["bucketCounts"]
        .as_array()
        .unwrap()
        .iter()
        .collect();
    assert_eq!(buckets.len(), 15);
    // At most 16.
    assert_eq!((buckets[2], buckets[3]), (&json!("1"), &json!("0")));
    let duration = &named(&metrics, "gen_ai.client.operation.duration")["histogram"];
    let point = &duration["dataPoints"][0];
    assert_eq!((&point["count"], &point["sum"]), (&json!("1"), &json!(1.5)));
    assert_eq!(point["timeUnixNano"], (1_u64 << 60).to_string());
    for (key, value) in [
        ("gen_ai.operation.name", "generate_content"),
        ("gen_ai.provider.name", "gcp.gemini"),
        ("gen_ai.response.model", "gemini-x"),
        ("server.address", "h.test"),
    ] {
        assert_eq!(attribute(point, key), &json!({ "stringValue": value }));
    }
    let requests = &named(&metrics, "keyward.requests")["sum"];
    assert_eq!(requests["isMonotonic"], true);
    assert_eq!(requests["dataPoints"][0]["asInt"], "1");

    let span = &traces["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(span["name"], "generate_content gemini-x");
    assert_eq!(span["traceId"].as_str().unwrap().len(), 32);
    assert_eq!(span["spanId"].as_str().unwrap().len(), 16);
    let tokens = attribute(span, "gen_ai.usage.input_tokens");
    assert_eq!(tokens, &json!({ "intValue": "16" }));
    assert_eq!(span.get("status"), None);
    // The path is the workload's own words.
    assert!(!traces.to_string().contains("v1beta"));
}

#[test]
fn what_fails_or_is_refused_is_told_with_its_reason() {
    let telemetry = Telemetry::new(true);
    let path = "/v1/responses";
    telemetry.exchange(&Exchange {
        status: Some(StatusCode::TOO_MANY_REQUESTS),
        ..exchange(path, None)
    });
    telemetry.exchange(&Exchange {
        decision: "denied",
        reason: Some("path_not_allowed"),
        ..exchange(path, None)
    });
    telemetry.exchange(&exchange("/v1/models", None));
    telemetry.decision("dns", "deny", Some("host_not_allowed"));
    let (metrics, traces) = told(&telemetry);
    let points = &named(&metrics, "gen_ai.client.operation.duration")["histogram"]["dataPoints"];
    assert_eq!(points.as_array().unwrap().len(), 1);
    let error = json!({ "stringValue": "429" });
    assert_eq!(attribute(&points[0], "error.type"), &error);
    let spans = traces["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array();
    let [span] = spans.unwrap().as_slice() else {
        unreachable!("{traces}")
    };
    assert_eq!(span["status"]["code"], 2);
    let points = &named(&metrics, "keyward.requests")["sum"]["dataPoints"];
    let reason = json!({ "stringValue": "path_not_allowed" });
    assert_eq!(attribute(&points[0], "keyward.reason"), &reason);
    let points = &named(&metrics, "keyward.decisions")["sum"]["dataPoints"];
    let reason = json!({ "stringValue": "host_not_allowed" });
    assert_eq!(attribute(&points[0], "keyward.reason"), &reason);
}

#[test]
fn everything_is_bounded_and_what_is_dropped_is_counted() {
    let telemetry = Telemetry::new(true);
    for at in 0..MOST_SPANS + 5 {
        let used = usage(&format!("model-{at}"));
        telemetry.exchange(&exchange("/v1/messages", Some(&used)));
    }
    for at in 0..3000 {
        telemetry.decision(&format!("door-{at}"), "allow", None);
    }
    let long = usage(&"x".repeat(1000));
    telemetry.exchange(&exchange("/v1/messages", Some(&long)));
    let (metrics, _) = told(&telemetry);
    let duration = &named(&metrics, "gen_ai.client.operation.duration")["histogram"];
    // A hundred models, and all others as one.
    assert_eq!(duration["dataPoints"].as_array().unwrap().len(), 101);
    let dropped = &named(&metrics, "keyward.telemetry.dropped")["sum"]["dataPoints"];
    let spans = dropped.as_array().unwrap().iter();
    let spans = spans.filter(|it| attribute(it, "keyward.item")["stringValue"] == "span");
    let counts: Vec<_> = spans.map(|it| it["asInt"].clone()).collect();
    assert_eq!(counts, ["6"]);
    assert!(metrics.to_string().len() < 4 << 20);

    // What was not taken comes again, the oldest first, as far as there is room.
    let mut book = Book::new(true);
    let some = usage("m");
    let span = |id: u8| {
        let mut span = Span::new(
            "chat",
            Vec::new(),
            None,
            &exchange("/messages", Some(&some)),
        );
        span.id = [id; 8];
        span
    };
    book.give_back(vec![span(1), span(2)]);
    book.span(|| span(3));
    let ids: Vec<u8> = book.take_spans(10).iter().map(|it| it.id[0]).collect();
    assert_eq!(ids, [1, 2, 3]);
    assert!(Telemetry::default().book().is_none());
}
