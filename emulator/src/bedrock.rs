// SPDX-License-Identifier: MIT OR Apache-2.0
//! Amazon Bedrock: converse, and Anthropic's messages by invoke; whole, or as an event stream.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::reply::Answer;
use crate::script::{Event, Script, Usage};
use crate::{Behaviour, anthropic};

/// Answers a request whose key or signature was right.
pub(crate) fn answer(parts: &Parts, body: &[u8], behaviour: &Behaviour) -> Answer {
    if let Some(status) = behaviour.status {
        return refuse(status, "the emulator was asked to answer so");
    }
    let action = match parts.uri.path().strip_prefix("/model/") {
        Some(rest) if parts.method == Method::POST => rest.split_once('/').map(|it| it.1),
        Some(_) | None => None,
    };
    let Some(action) = action else {
        return refuse(
            StatusCode::NOT_FOUND,
            "the emulator speaks converse and invoke only",
        );
    };
    let Ok(request) = serde_json::from_slice::<Value>(body) else {
        return refuse(StatusCode::BAD_REQUEST, "the body is not JSON");
    };
    match action {
        "converse" => converse(body.len(), behaviour),
        "converse-stream" => converse_stream(body.len(), behaviour),
        "invoke" => anthropic::messages(&request, body.len(), behaviour),
        "invoke-with-response-stream" => invoke_stream(request, body.len(), behaviour),
        _ => refuse(
            StatusCode::NOT_FOUND,
            "the emulator speaks converse and invoke only",
        ),
    }
}

fn converse(length: usize, behaviour: &Behaviour) -> Answer {
    let usage = Usage::new(length, behaviour.pieces().len());
    let text: &str = &behaviour.text();
    let body = json!({
        "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
        "stopReason": "end_turn",
        "usage": tokens(usage),
        "metrics": {"latencyMs": 1},
    });
    Answer::Json {
        status: StatusCode::OK,
        body,
        usage,
    }
}

fn converse_stream(length: usize, behaviour: &Behaviour) -> Answer {
    let pieces = behaviour.pieces();
    let usage = Usage::new(length, pieces.len());
    let mut events = vec![Event::named("messageStart", &json!({"role": "assistant"}))];
    for piece in &pieces {
        let delta = json!({"contentBlockIndex": 0, "delta": {"text": piece}});
        events.push(Event::named("contentBlockDelta", &delta));
    }
    let closing = events.len();
    let metadata = json!({"usage": tokens(usage), "metrics": {"latencyMs": 1}});
    events.extend([
        Event::named("contentBlockStop", &json!({"contentBlockIndex": 0})),
        Event::named("messageStop", &json!({"stopReason": "end_turn"})),
        Event::named("metadata", &metadata),
    ]);
    Answer::Frames(Script {
        events,
        closing,
        usage,
    })
}

/// The maker's own events, each in Base64; the last one has the account.
fn invoke_stream(mut request: Value, length: usize, behaviour: &Behaviour) -> Answer {
    request["stream"] = json!(true);
    let script = match anthropic::messages(&request, length, behaviour) {
        Answer::Stream(script) => script,
        other @ (Answer::Json { .. } | Answer::Frames(_)) => return other,
    };
    let Script {
        events,
        closing,
        usage,
    } = script;
    let last = events.len().saturating_sub(1);
    let chunk = |(index, event): (usize, Event)| {
        let mut data = event.into_data();
        if index == last {
            let metrics = json!({
                "inputTokenCount": usage.input, "outputTokenCount": usage.output,
                "invocationLatency": 1, "firstByteLatency": 1,
            });
            let mut value: Value = serde_json::from_str(&data).unwrap_or_default();
            value["amazon-bedrock-invocationMetrics"] = metrics;
            data = value.to_string();
        }
        Event::named(
            "chunk",
            &json!({"bytes": STANDARD.encode(data), "p": "abcdefgh"}),
        )
    };
    Answer::Frames(Script {
        events: events.into_iter().enumerate().map(chunk).collect(),
        closing,
        usage,
    })
}

fn tokens(usage: Usage) -> Value {
    json!({
        "inputTokens": usage.input,
        "outputTokens": usage.output,
        "totalTokens": usage.input + usage.output,
    })
}

fn refuse(status: StatusCode, message: &str) -> Answer {
    Answer::Json {
        status,
        body: json!({ "message": message }),
        usage: Usage::default(),
    }
}
