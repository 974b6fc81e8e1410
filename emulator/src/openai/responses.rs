// SPDX-License-Identifier: MIT OR Apache-2.0
//! The Responses API: one JSON object, or the events that build it up.

use http::StatusCode;
use serde_json::{Value, json};

use super::model_of;
use crate::Behaviour;
use crate::reply::Answer;
use crate::script::{Event, Script, Usage, id, now};
use crate::tool::{self, CALL, Tool};

/// Answers `POST /v1/responses`.
pub(crate) fn answer(request: &Value, length: usize, behaviour: &Behaviour) -> Answer {
    if request["stream"].as_bool() == Some(true) {
        return Answer::Stream(script(request, length, behaviour));
    }
    let (item, pieces) = match tool::due(behaviour, request) {
        Some(tool) => {
            let arguments = tool.arguments.to_string();
            (call(&id("fc_"), tool, "completed", &arguments), 1)
        }
        None => (
            message(&id("msg_"), "completed", &[part(&behaviour.text())]),
            behaviour.pieces().len(),
        ),
    };
    let usage = Usage::new(length, pieces);
    let body = response(&id("resp_"), request, "completed", &[item], Some(usage));
    Answer::Json {
        status: StatusCode::OK,
        body,
        usage,
    }
}

/// The events of a streamed response, the same for server-sent events and WebSocket. A
/// `response.create` with `"generate": false` only warms the provider up: its response has no
/// output.
pub(crate) fn script(request: &Value, length: usize, behaviour: &Behaviour) -> Script {
    let generate = request["generate"].as_bool() != Some(false);
    let response_id = id("resp_");
    let mut events = Sequence::default();

    let opening = response(&response_id, request, "in_progress", &[], None);
    events.push("response.created", json!({"response": opening}));
    events.push("response.in_progress", json!({"response": opening}));
    if !generate {
        let closing = events.len();
        let usage = Usage::new(length, 0);
        let done = response(&response_id, request, "completed", &[], Some(usage));
        events.push("response.completed", json!({"response": done}));
        return Script {
            events: events.events,
            closing,
            usage,
        };
    }

    if let Some(tool) = tool::due(behaviour, request) {
        return calling(events, &response_id, request, Usage::new(length, 1), tool);
    }

    let item_id = id("msg_");
    let started = message(&item_id, "in_progress", &[]);
    events.push(
        "response.output_item.added",
        json!({"output_index": 0, "item": started}),
    );
    events.push(
        "response.content_part.added",
        in_part(&item_id, "part", part("")),
    );
    let pieces = behaviour.pieces();
    let usage = Usage::new(length, pieces.len());
    for piece in pieces {
        events.push(
            "response.output_text.delta",
            in_part(&item_id, "delta", json!(piece)),
        );
    }

    let closing = events.len();
    let text = behaviour.text();
    let finished = message(&item_id, "completed", &[part(&text)]);
    events.push(
        "response.output_text.done",
        in_part(&item_id, "text", json!(text)),
    );
    events.push(
        "response.content_part.done",
        in_part(&item_id, "part", part(&text)),
    );
    events.push(
        "response.output_item.done",
        json!({"output_index": 0, "item": finished}),
    );
    let done = response(&response_id, request, "completed", &[finished], Some(usage));
    events.push("response.completed", json!({"response": done}));
    Script {
        events: events.events,
        closing,
        usage,
    }
}

/// The events of a response that calls a tool.
fn calling(
    mut events: Sequence,
    response_id: &str,
    request: &Value,
    usage: Usage,
    tool: &Tool,
) -> Script {
    let item_id = id("fc_");
    let arguments = tool.arguments.to_string();
    let of_item = |field: &str, value: Value| {
        let mut data = json!({"item_id": item_id, "output_index": 0});
        data[field] = value;
        data
    };
    let started = call(&item_id, tool, "in_progress", "");
    events.push(
        "response.output_item.added",
        json!({"output_index": 0, "item": started}),
    );
    events.push(
        "response.function_call_arguments.delta",
        of_item("delta", json!(arguments)),
    );
    let closing = events.len();
    let finished = call(&item_id, tool, "completed", &arguments);
    events.push(
        "response.function_call_arguments.done",
        of_item("arguments", json!(arguments)),
    );
    events.push(
        "response.output_item.done",
        json!({"output_index": 0, "item": finished}),
    );
    let done = response(response_id, request, "completed", &[finished], Some(usage));
    events.push("response.completed", json!({"response": done}));
    Script {
        events: events.events,
        closing,
        usage,
    }
}

/// Events, each with its type and its number.
#[derive(Default)]
struct Sequence {
    events: Vec<Event>,
}

impl Sequence {
    fn len(&self) -> usize {
        self.events.len()
    }

    fn push(&mut self, name: &'static str, mut data: Value) {
        data["type"] = json!(name);
        data["sequence_number"] = json!(self.events.len());
        self.events.push(Event::named(name, &data));
    }
}

/// The fields of an event about the one content part that there is.
fn in_part(item_id: &str, field: &str, value: Value) -> Value {
    let mut data = json!({"item_id": item_id, "output_index": 0, "content_index": 0});
    data[field] = value;
    data
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

fn message(item_id: &str, status: &str, content: &[Value]) -> Value {
    json!({
        "id": item_id, "type": "message", "status": status, "role": "assistant", "content": content,
    })
}

fn call(item_id: &str, tool: &Tool, status: &str, arguments: &str) -> Value {
    json!({
        "id": item_id, "type": "function_call", "status": status, "call_id": CALL, "name": tool.name,
        "arguments": arguments,
    })
}

fn response(
    response_id: &str,
    request: &Value,
    status: &str,
    output: &[Value],
    usage: Option<Usage>,
) -> Value {
    json!({
        "id": response_id,
        "object": "response",
        "created_at": now(),
        "status": status,
        "background": false,
        "error": null,
        "incomplete_details": null,
        "instructions": request["instructions"],
        "max_output_tokens": null,
        "model": model_of(request),
        "output": output,
        "parallel_tool_calls": true,
        "previous_response_id": request["previous_response_id"],
        "reasoning": {"effort": null, "summary": null},
        "store": false,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": usage.map(|Usage { input, output }| json!({
            "input_tokens": input,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": input + output,
        })),
        "user": null,
        "metadata": {},
    })
}
