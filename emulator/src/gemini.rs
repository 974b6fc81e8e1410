// SPDX-License-Identifier: MIT OR Apache-2.0
//! Google's API, as AI Studio (Gemini) and Vertex both speak it: generateContent and its streaming,
//! counting and embedding kin, models.

use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::Behaviour;
use crate::reply::Answer;
use crate::script::{Event, Script, Usage, id};
use crate::tool;

/// The models that are listed. Every other name is answered just as well.
const MODELS: &[&str] = &["gemini-2.5-pro", "gemini-2.5-flash", "gemini-embedding-001"];

/// Answers a request whose key was right.
pub(crate) fn answer(parts: &Parts, body: &[u8], behaviour: &Behaviour) -> Answer {
    if let Some(status) = behaviour.status {
        return refuse(status, "the emulator was asked to answer so");
    }
    // `/v1beta/models/M:verb`, or with the project, the place and the publisher in front.
    let path = parts.uri.path();
    let last = path.rsplit('/').next().unwrap_or_default();
    if parts.method == Method::GET {
        return match last {
            "models" => {
                let models: Vec<Value> = MODELS.iter().map(|name| model(name)).collect();
                Answer::json(json!({ "models": models }))
            }
            name if path.contains("/models/") => Answer::json(model(name)),
            _ => unknown(path),
        };
    }
    let Some((name, verb)) = last.split_once(':').filter(|_| path.contains("/models/")) else {
        return unknown(path);
    };
    let Ok(request) = serde_json::from_slice::<Value>(body) else {
        return refuse(StatusCode::BAD_REQUEST, "Invalid JSON payload received.");
    };
    // The whole answer as one part, and the parts that bring it.
    let text = |text: String| json!({ "text": text });
    let (answer, pieces) = match tool::due(behaviour, &request) {
        Some(tool) => {
            let call = json!({"functionCall": {"name": tool.name, "args": tool.arguments}});
            (call.clone(), vec![call])
        }
        None => (
            text(behaviour.text()),
            behaviour.pieces().into_iter().map(text).collect(),
        ),
    };
    let usage = Usage::new(body.len(), pieces.len());
    let whole = |body: Value, usage| Answer::Json {
        status: StatusCode::OK,
        body,
        usage,
    };
    match verb {
        "generateContent" => whole(content(name, &answer, Some(usage)), usage),
        "streamGenerateContent" => {
            let query = parts.uri.query().unwrap_or_default();
            let mut events: Vec<Value> = pieces
                .iter()
                .map(|piece| content(name, piece, None))
                .collect();
            let closing = events.len();
            events.push(content(name, &text(String::new()), Some(usage)));
            match query.split('&').any(|it| it == "alt=sse") {
                true => Answer::Stream(Script {
                    events: events.iter().map(Event::unnamed).collect(),
                    closing,
                    usage,
                }),
                // Without it the stream is one array.
                false => whole(events.into(), usage),
            }
        }
        "countTokens" => whole(json!({"totalTokens": usage.input}), Usage::default()),
        "embedContent" => whole(json!({"embedding": {"values": VECTOR}}), Usage::default()),
        "batchEmbedContents" => {
            let count = request["requests"].as_array().map_or(1, Vec::len);
            let all = vec![json!({"values": VECTOR}); count];
            whole(json!({ "embeddings": all }), Usage::default())
        }
        _ => unknown(path),
    }
}

/// The same for every text.
const VECTOR: [f64; 3] = [0.0, 0.6, 0.8];

/// A response, or a part of one; the last part has the reason and the usage.
fn content(model: &str, part: &Value, usage: Option<Usage>) -> Value {
    let mut candidate = json!({"index": 0, "content": {"role": "model", "parts": [part]}});
    let mut body = json!({"modelVersion": model, "responseId": id("")});
    if let Some(Usage { input, output }) = usage {
        candidate["finishReason"] = json!("STOP");
        body["usageMetadata"] = json!({
            "promptTokenCount": input,
            "candidatesTokenCount": output,
            "totalTokenCount": input + output,
        });
    }
    body["candidates"] = json!([candidate]);
    body
}

fn model(name: &str) -> Value {
    json!({
        "name": format!("models/{name}"), "version": "001", "displayName": name,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
    })
}

fn unknown(path: &str) -> Answer {
    refuse(StatusCode::NOT_FOUND, &format!("{path} was not found."))
}

fn refuse(status: StatusCode, message: &str) -> Answer {
    Answer::Json {
        status,
        body: error(status, message),
        usage: Usage::default(),
    }
}

/// An error's body in Google's form.
pub(crate) fn error(status: StatusCode, message: &str) -> Value {
    let name = match status.as_u16() {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        503 => "UNAVAILABLE",
        _ => "INTERNAL",
    };
    json!({"error": {"code": status.as_u16(), "message": message, "status": name}})
}
