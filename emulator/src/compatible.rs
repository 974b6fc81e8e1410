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
        return Answer::json(json!({"object": "list", "data": [
            model("gpt-5", "OpenAI", "/responses"),
            model("gpt-4.1", "OpenAI", "/chat/completions"),
            model("claude-sonnet-4.5", "Anthropic", "/v1/messages"),
        ]}));
    }
    if path == "/v1/messages" {
        return anthropic::answer(parts, body, behaviour);
    }
    openai::answer(&parts.method, &format!("/v1{path}"), body, behaviour)
}

/// A model with all that the client looks at before it chooses one.
fn model(name: &str, vendor: &str, endpoint: &str) -> Value {
    json!({
        "id": name, "name": name, "object": "model", "vendor": vendor, "version": name,
        "preview": false, "is_chat_default": true, "is_chat_fallback": true,
        "model_picker_enabled": true, "model_picker_category": "versatile",
        "policy": {"state": "enabled", "terms": ""},
        "billing": {"is_premium": false, "multiplier": 1},
        "supported_endpoints": [endpoint],
        "capabilities": {
            "type": "chat", "object": "model_capabilities", "family": name, "tokenizer": "o200k_base",
            "limits": {
                "max_context_window_tokens": 128_000, "max_prompt_tokens": 128_000,
                "max_output_tokens": 16_384,
            },
            "supports": {"streaming": true, "tool_calls": true, "parallel_tool_calls": true},
        },
    })
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
