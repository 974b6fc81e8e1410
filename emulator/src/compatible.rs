// SPDX-License-Identifier: MIT OR Apache-2.0
//! Those who speak OpenAI's API at paths of their own: Copilot and Azure.

use http::Method;
use http::request::Parts;
use serde_json::{Value, json};

use crate::reply::Answer;
use crate::{Behaviour, anthropic, openai};

/// Copilot: OpenAI's paths without a version, Anthropic's messages, and models that say which of them they take.
pub(crate) fn copilot(parts: &Parts, body: &[u8], behaviour: &Behaviour) -> Answer {
    let path = parts.uri.path();
    if behaviour.status.is_none() && parts.method == Method::GET && path == "/models" {
        let model = |name: &str, endpoint: &str| -> Value {
            json!({
                "id": name, "name": name, "object": "model", "model_picker_enabled": true,
                "supported_endpoints": [endpoint], "capabilities": {"type": "chat"},
            })
        };
        return Answer::json(json!({"object": "list", "data": [
            model("gpt-5", "/responses"),
            model("gpt-4.1", "/chat/completions"),
            model("claude-sonnet-4.5", "/v1/messages"),
        ]}));
    }
    if path == "/v1/messages" {
        return anthropic::answer(parts, body, behaviour);
    }
    openai::answer(&parts.method, &format!("/v1{path}"), body, behaviour)
}

/// Azure: below a deployment, or below `/openai/v1`.
pub(crate) fn azure(parts: &Parts, body: &[u8], behaviour: &Behaviour) -> Answer {
    let path = parts.uri.path();
    let deployed = path
        .strip_prefix("/openai/deployments/")
        .and_then(|it| it.split_once('/'));
    let path = match deployed {
        Some((_deployment, rest)) => format!("/v1/{rest}"),
        None => path.strip_prefix("/openai").unwrap_or(path).to_owned(),
    };
    openai::answer(&parts.method, &path, body, behaviour)
}
