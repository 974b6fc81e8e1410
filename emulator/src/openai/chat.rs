// SPDX-License-Identifier: MIT OR Apache-2.0
//! Chat completions: one JSON object, or chunks that end in `[DONE]`.

use http::StatusCode;
use serde_json::{Value, json};

use super::model_of;
use crate::Behaviour;
use crate::reply::Answer;
use crate::script::{Event, Script, Usage, id, now};
use crate::tool::{self, CALL, Tool};

/// Answers `POST /v1/chat/completions`.
pub(crate) fn answer(request: &Value, length: usize, behaviour: &Behaviour) -> Answer {
    if request["stream"].as_bool() == Some(true) {
        return Answer::Stream(script(request, length, behaviour));
    }
    let mut message = json!({
        "role": "assistant", "content": behaviour.text(), "refusal": null, "annotations": [],
    });
    let (pieces, finish) = match tool::due(behaviour, request) {
        Some(tool) => {
            message["content"] = Value::Null;
            message["tool_calls"] = calls(tool);
            (1, "tool_calls")
        }
        None => (behaviour.pieces().len(), "stop"),
    };
    let tokens = Usage::new(length, pieces);
    let body = json!({
        "id": id("chatcmpl-"),
        "object": "chat.completion",
        "created": now(),
        "model": model_of(request),
        "choices": [{
            "index": 0,
            "message": message,
            "logprobs": null,
            "finish_reason": finish,
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
    let (deltas, finish): (Vec<Value>, _) = match tool::due(behaviour, request) {
        Some(tool) => (vec![json!({"tool_calls": calls(tool)})], "tool_calls"),
        None => {
            let pieces = behaviour.pieces().into_iter();
            (pieces.map(|it| json!({"content": it})).collect(), "stop")
        }
    };
    let tokens = Usage::new(length, deltas.len());
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
    for piece in deltas {
        events.push(chunk(delta(piece, Value::Null), Value::Null));
    }
    let closing = events.len();
    events.push(chunk(delta(json!({}), json!(finish)), Value::Null));
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

/// The call of a tool, in one piece even when it is streamed.
fn calls(tool: &Tool) -> Value {
    json!([{
        "index": 0, "id": CALL, "type": "function",
        "function": {"name": tool.name, "arguments": tool.arguments.to_string()},
    }])
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
