// SPDX-License-Identifier: MIT OR Apache-2.0
//! Amazon Bedrock's converse, whole answers only.

use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::Behaviour;
use crate::reply::Answer;
use crate::script::Usage;

/// Answers a request whose key was right.
pub(crate) fn answer(parts: &Parts, body: &[u8], behaviour: &Behaviour) -> Answer {
    if let Some(status) = behaviour.status {
        return refuse(status, "the emulator was asked to answer so");
    }
    let path = parts.uri.path();
    let is_converse = path.starts_with("/model/") && path.ends_with("/converse");
    if parts.method != Method::POST || !is_converse {
        return refuse(StatusCode::NOT_FOUND, "the emulator speaks converse only");
    }
    if serde_json::from_slice::<Value>(body).is_err() {
        return refuse(StatusCode::BAD_REQUEST, "the body is not JSON");
    }
    let usage = Usage::new(body.len(), behaviour.pieces().len());
    let text: &str = &behaviour.text();
    let body = json!({
        "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
        "stopReason": "end_turn",
        "usage": {
            "inputTokens": usage.input,
            "outputTokens": usage.output,
            "totalTokens": usage.input + usage.output,
        },
        "metrics": {"latencyMs": 1},
    });
    Answer::Json {
        status: StatusCode::OK,
        body,
        usage,
    }
}

fn refuse(status: StatusCode, message: &str) -> Answer {
    Answer::Json {
        status,
        body: json!({ "message": message }),
        usage: Usage::default(),
    }
}
