// SPDX-License-Identifier: MIT OR Apache-2.0
//! Chat completions: one JSON object, or chunks that end in `[DONE]`.

use http::StatusCode;
use serde_json::{Value, json};

use super::model_of;
use crate::Behaviour;
use crate::reply::Answer;
use crate::script::{Event, Script, Usage, id, now};

/// Answers `POST /v1/chat/completions`.
pub(crate) fn answer(request: &Value, length: usize, behaviour: &Behaviour) -> Answer {
    if request["stream"].as_bool() == Some(true) {
        return Answer::Stream(script(request, length, behaviour));
    }
    let tokens = Usage::new(length, behaviour.pieces().len());
    let body = json!({
        "id": id("chatcmpl-"),
        "object": "chat.completion",
        "created": now(),
        "model": model_of(request),
        "choices": [{
            "index": 0,
            "message": {
                "role": "assistant", "content": behaviour.text(), "refusal": null, "annotations": [],
            },
            "logprobs": null,
            "finish_reason": "stop",
        }],
        "usage": usage(tokens),
        "service_tier": "default",
    });
    Answer::Json {
        status: StatusCode::OK,
        body,
        usage: tokens,
    }
}

fn script(request: &Value, length: usize, behaviour: &Behaviour) -> Script {
    let pieces = behaviour.pieces();
    let tokens = Usage::new(length, pieces.len());
    let chunk_id = id("chatcmpl-");
    let created = now();
    let chunk = |choices: Value, usage: Value| {
        Event::unnamed(json!({
            "id": chunk_id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": model_of(request),
            "choices": choices,
            "usage": usage,
        }))
    };
    let delta = |delta: Value, finish: Value| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);

    let role = json!({"role": "assistant", "content": "", "refusal": null});
    let mut events = vec![chunk(delta(role, Value::Null), Value::Null)];
    for piece in pieces {
        events.push(chunk(
            delta(json!({"content": piece}), Value::Null),
            Value::Null,
        ));
    }
    let closing = events.len();
    events.push(chunk(delta(json!({}), json!("stop")), Value::Null));
    if request["stream_options"]["include_usage"].as_bool() == Some(true) {
        events.push(chunk(json!([]), usage(tokens)));
    }
    events.push(Event::unnamed("[DONE]"));
    Script {
        events,
        closing,
        usage: tokens,
    }
}

/// Usage as the two completion APIs write it.
pub(crate) fn usage(Usage { input, output }: Usage) -> Value {
    json!({
        "prompt_tokens": input,
        "completion_tokens": output,
        "total_tokens": input + output,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    })
}
