// SPDX-License-Identifier: MIT OR Apache-2.0
//! OpenAI's API: responses, chat completions, completions, embeddings, models.

pub(crate) mod chat;
pub(crate) mod responses;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::Behaviour;
use crate::reply::Answer;
use crate::script::{Usage, id, now};

/// The path that can be a WebSocket.
pub(crate) const RESPONSES: &str = "/v1/responses";

/// The models that `/v1/models` lists. Every other name is answered just as well.
const MODELS: &[&str] = &[
    "gpt-5",
    "gpt-5-mini",
    "gpt-5-codex",
    "text-embedding-3-small",
];

/// Answers a request whose key was right.
pub(crate) fn answer(method: &Method, path: &str, body: &[u8], behaviour: &Behaviour) -> Answer {
    if let Some(status) = behaviour.status {
        return error(
            status,
            "emulated_error",
            "the emulator was asked to answer so",
        );
    }
    match (method, path) {
        (&Method::GET, "/v1/models") => {
            let data: Vec<Value> = MODELS.iter().map(|name| model(name)).collect();
            Answer::json(json!({"object": "list", "data": data}))
        }
        (&Method::GET, path) if path.starts_with("/v1/models/") => {
            Answer::json(model(&path["/v1/models/".len()..]))
        }
        (&Method::POST, _) => match serde_json::from_slice::<Value>(body) {
            Ok(request) => post(path, &request, body.len(), behaviour),
            Err(_) => error(
                StatusCode::BAD_REQUEST,
                "invalid_json",
                "We could not parse the JSON body of your request.",
            ),
        },
        _ => unknown(method, path),
    }
}

fn post(path: &str, request: &Value, length: usize, behaviour: &Behaviour) -> Answer {
    match path {
        RESPONSES => responses::answer(request, length, behaviour),
        "/v1/chat/completions" => chat::answer(request, length, behaviour),
        "/v1/completions" => completion(request, length, behaviour),
        "/v1/embeddings" => embedding(request, length),
        _ => unknown(&Method::POST, path),
    }
}

/// The old completions API, whole answers only.
fn completion(request: &Value, length: usize, behaviour: &Behaviour) -> Answer {
    let usage = Usage::new(length, behaviour.pieces().len());
    let body = json!({
        "id": id("cmpl-"),
        "object": "text_completion",
        "created": now(),
        "model": model_of(request),
        "choices": [{
            "text": behaviour.text(), "index": 0, "logprobs": null, "finish_reason": "stop",
        }],
        "usage": chat::usage(usage),
    });
    Answer::Json {
        status: StatusCode::OK,
        body,
        usage,
    }
}

/// One short vector per input: the same for every text.
fn embedding(request: &Value, length: usize) -> Answer {
    let count = request["input"].as_array().map_or(1, Vec::len);
    let vector =
        |index| json!({"object": "embedding", "index": index, "embedding": [0.0, 0.6, 0.8]});
    let usage = Usage::new(length, 0);
    let body = json!({
        "object": "list",
        "data": (0..count).map(vector).collect::<Vec<_>>(),
        "model": model_of(request),
        "usage": {"prompt_tokens": usage.input, "total_tokens": usage.input},
    });
    Answer::Json {
        status: StatusCode::OK,
        body,
        usage,
    }
}

/// The model that was asked for; the answer names the same.
pub(crate) fn model_of(request: &Value) -> &str {
    request["model"].as_str().unwrap_or("gpt-5")
}

fn model(name: &str) -> Value {
    json!({"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "openai"})
}

fn unknown(method: &Method, path: &str) -> Answer {
    let message = format!("Invalid URL ({method} {path})");
    error(StatusCode::NOT_FOUND, "unknown_url", &message)
}

/// An error in OpenAI's form.
pub(crate) fn error(status: StatusCode, code: &str, message: &str) -> Answer {
    let kind = match status {
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request_error",
    };
    let body = json!({"error": {"message": message, "type": kind, "param": null, "code": code}});
    Answer::Json {
        status,
        body,
        usage: Usage::default(),
    }
}
