// SPDX-License-Identifier: MIT OR Apache-2.0
//! Anthropic's API: messages, token counting, models.

use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::Behaviour;
use crate::reply::Answer;
use crate::script::{Event, Script, Usage, id};
use crate::tool::{self, CALL};

/// The models that `/v1/models` lists. Every other name is answered just as well.
const MODELS: &[&str] = &["claude-sonnet-4-5", "claude-opus-4-5", "claude-haiku-4-5"];

/// Answers a request whose key was right.
pub(crate) fn answer(parts: &Parts, body: &[u8], behaviour: &Behaviour) -> Answer {
    if let Some(status) = behaviour.status {
        return refuse(status, "the emulator was asked to answer so");
    }
    // The provider insists on it, and a client that has only a placeholder may leave it to the
    // proxy: so the emulator insists, too.
    if !parts.headers.contains_key("anthropic-version") {
        return refuse(
            StatusCode::BAD_REQUEST,
            "anthropic-version: header is required",
        );
    }
    match (&parts.method, parts.uri.path()) {
        (&Method::GET, "/v1/models") => {
            let data: Vec<Value> = MODELS.iter().map(|name| model(name)).collect();
            Answer::json(json!({
                "data": data, "has_more": false,
                "first_id": MODELS.first(), "last_id": MODELS.last(),
            }))
        }
        (&Method::GET, path) if path.starts_with("/v1/models/") => {
            Answer::json(model(&path["/v1/models/".len()..]))
        }
        (&Method::POST, path @ ("/v1/messages" | "/v1/messages/count_tokens")) => {
            match serde_json::from_slice::<Value>(body) {
                Ok(_) if path.ends_with("count_tokens") => {
                    let usage = Usage::new(body.len(), 0);
                    let body = json!({"input_tokens": usage.input});
                    Answer::Json {
                        status: StatusCode::OK,
                        body,
                        usage: Usage::default(),
                    }
                }
                Ok(request) => messages(&request, body.len(), behaviour),
                Err(error) => refuse(StatusCode::BAD_REQUEST, &format!("invalid JSON: {error}")),
            }
        }
        _ => refuse(StatusCode::NOT_FOUND, "Not found"),
    }
}

/// Answers a request for a message.
pub(crate) fn messages(request: &Value, length: usize, behaviour: &Behaviour) -> Answer {
    let tool = tool::due(behaviour, request);
    // The block, what it is before it has anything in it, and what brings that.
    let (block, opened, deltas, reason) = match tool {
        Some(tool) => {
            let block = |input: &Value| json!({"type": "tool_use", "id": CALL, "name": tool.name, "input": input});
            let input = tool.arguments.to_string();
            let delta = json!({"type": "input_json_delta", "partial_json": input});
            (
                block(&tool.arguments),
                block(&json!({})),
                vec![delta],
                "tool_use",
            )
        }
        None => {
            let delta = |piece| json!({"type": "text_delta", "text": piece});
            let deltas: Vec<Value> = behaviour.pieces().into_iter().map(delta).collect();
            let block = json!({"type": "text", "text": behaviour.text()});
            (
                block,
                json!({"type": "text", "text": ""}),
                deltas,
                "end_turn",
            )
        }
    };
    let usage = Usage::new(length, deltas.len());
    if request["stream"].as_bool() != Some(true) {
        let body = message(request, &json!([block]), &json!(reason), usage);
        return Answer::Json {
            status: StatusCode::OK,
            body,
            usage,
        };
    }

    let mut events = Vec::new();
    let mut push = |name, mut data: Value| {
        data["type"] = json!(name);
        events.push(Event::named(name, &data));
    };
    // As the provider does: the opening states one token out, the closing delta all of them.
    let opening = Usage {
        input: usage.input,
        output: 1,
    };
    let empty = message(request, &json!([]), &Value::Null, opening);
    push("message_start", json!({"message": empty}));
    push(
        "content_block_start",
        json!({"index": 0, "content_block": opened}),
    );
    push("ping", json!({}));
    let closing = 3 + deltas.len();
    for delta in deltas {
        push("content_block_delta", json!({"index": 0, "delta": delta}));
    }
    push("content_block_stop", json!({"index": 0}));
    push(
        "message_delta",
        json!({
            "delta": {"stop_reason": reason, "stop_sequence": null},
            "usage": {"output_tokens": usage.output},
        }),
    );
    push("message_stop", json!({}));
    Answer::Stream(Script {
        events,
        closing,
        usage,
    })
}

fn message(request: &Value, content: &Value, stop_reason: &Value, usage: Usage) -> Value {
    json!({
        "id": id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": request["model"].as_str().unwrap_or("claude-sonnet-4-5"),
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": null,
        "usage": {
            "input_tokens": usage.input,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": usage.output,
            "service_tier": "standard",
        },
    })
}

fn model(name: &str) -> Value {
    json!({
        "type": "model", "id": name, "display_name": name, "created_at": "2025-09-29T00:00:00Z",
    })
}

fn refuse(status: StatusCode, message: &str) -> Answer {
    let kind = match status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    Answer::Json {
        status,
        body: error(kind, message),
        usage: Usage::default(),
    }
}

/// An error's body in Anthropic's form.
pub(crate) fn error(kind: &str, message: &str) -> Value {
    json!({
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": id("req_"),
    })
}
