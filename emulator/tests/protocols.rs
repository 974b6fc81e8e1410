// SPDX-License-Identifier: MIT OR Apache-2.0
//! The emulator over real connections: TLS, both HTTP versions, WebSocket, keys, endings, records.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails the test")]

#[path = "support/client.rs"]
mod client;

use client::{Client, get, post};
use http::StatusCode;
use keyward_emulator::{Alpn, Emulator, Handle, Options, Provider, WebSocketMode};
use serde_json::{Value, json};

const KEY: &str = "sk-real";
const ANTHROPIC_KEY: &str = "sk-ant-real";

fn options() -> Options {
    Options {
        record_bodies: true,
        ..Options::new(KEY, ANTHROPIC_KEY)
    }
}

fn start(options: Options) -> Handle {
    Emulator::start(options).unwrap()
}

fn openai(path: &str, body: &Value) -> http::Request<String> {
    let mut request = post("api.openai.com", path, body);
    request
        .headers_mut()
        .insert("authorization", "Bearer sk-real".parse().unwrap());
    request
}

fn anthropic(path: &str, body: &Value) -> http::Request<String> {
    let mut request = post("api.anthropic.com", path, body);
    request
        .headers_mut()
        .insert("x-api-key", ANTHROPIC_KEY.parse().unwrap());
    request
        .headers_mut()
        .insert("anthropic-version", "2023-06-01".parse().unwrap());
    request
}

/// The `data:` of every event.
fn events(body: &str) -> Vec<Value> {
    let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

#[tokio::test]
async fn both_http_versions_serve_the_same_answer() {
    let emulator = start(options());
    let request = || openai("/v1/responses", &json!({"model": "gpt-5", "input": "hi"}));
    for http2 in [false, true] {
        let mut client = Client::connect(&emulator, http2).await;
        let reply = client.send(request()).await;
        assert_eq!(reply.status, StatusCode::OK);
        let body: Value = serde_json::from_str(&reply.text()).unwrap();
        assert_eq!(
            body["output"][0]["content"][0]["text"],
            "Hello from the emulator."
        );
        assert_eq!(body["usage"]["output_tokens"], 4);
    }
    let records = emulator.records();
    assert_eq!(
        records
            .iter()
            .map(|r| r.version.as_str())
            .collect::<Vec<_>>(),
        ["HTTP/1.1", "HTTP/2.0"]
    );
    for record in &records {
        assert_eq!(record.provider, Provider::OpenAi);
        assert_eq!(
            (record.method.as_str(), record.path.as_str()),
            ("POST", "/v1/responses")
        );
        assert_eq!(
            record.header("Authorization").collect::<Vec<_>>(),
            ["Bearer sk-real"]
        );
        assert!(record.body_complete);
        assert_eq!(record.body.as_deref(), Some(request().body().as_str()));
        assert_eq!(record.output_tokens, 4);
    }
    assert_ne!(records[0].connection, records[1].connection);
}

#[tokio::test]
async fn streams_build_up_the_text_and_end() {
    let emulator = start(options());
    let mut client = Client::connect(&emulator, false).await;
    let ask = json!({"stream": true, "stream_options": {"include_usage": true}});
    let text = |events: &[Value], pointer: &str| -> String {
        events
            .iter()
            .filter_map(|event| event.pointer(pointer)?.as_str())
            .collect()
    };

    let responses = events(&client.send(openai("/v1/responses", &ask)).await.text());
    assert_eq!(text(&responses, "/delta"), "Hello from the emulator.");
    for (number, event) in responses.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    assert_eq!(responses.last().unwrap()["type"], "response.completed");

    let reply = client
        .send(openai("/v1/chat/completions", &ask))
        .await
        .text();
    assert!(reply.ends_with("data: [DONE]\n\n"));
    let chunks = events(&reply);
    assert_eq!(
        text(&chunks, "/choices/0/delta/content"),
        "Hello from the emulator."
    );
    assert_eq!(chunks.last().unwrap()["usage"]["completion_tokens"], 4);

    let messages = events(&client.send(anthropic("/v1/messages", &ask)).await.text());
    assert_eq!(text(&messages, "/delta/text"), "Hello from the emulator.");
    assert_eq!(messages.last().unwrap()["type"], "message_stop");
}

#[tokio::test]
async fn a_wrong_key_gets_the_providers_own_refusal_and_is_recorded() {
    let emulator = start(options());
    let mut client = Client::connect(&emulator, true).await;
    let mut wrong = openai("/v1/responses", &json!({}));
    wrong
        .headers_mut()
        .insert("authorization", "Bearer sk-placeholder".parse().unwrap());
    let reply = client.send(wrong).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert_eq!(reply.json()["error"]["code"], "invalid_api_key");

    let mut wrong = anthropic("/v1/messages", &json!({}));
    wrong
        .headers_mut()
        .insert("x-api-key", KEY.parse().unwrap());
    let reply = client.send(wrong).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert_eq!(reply.json()["error"]["type"], "authentication_error");

    let records = emulator.records();
    assert_eq!(
        records.iter().map(|r| r.status).collect::<Vec<_>>(),
        [401, 401]
    );
    assert!(records[0].mentions("sk-placeholder"));
    assert!(!records[1].mentions("sk-placeholder"));
}

#[tokio::test]
async fn anthropic_insists_on_its_version_header() {
    let emulator = start(options());
    let mut client = Client::connect(&emulator, false).await;
    let count = anthropic("/v1/messages/count_tokens", &json!({"messages": []}));
    let reply = client.send(count.clone()).await;
    assert_eq!(
        (reply.status, &reply.json()["input_tokens"]),
        (StatusCode::OK, &json!(4))
    );
    let mut without = count;
    without.headers_mut().remove("anthropic-version");
    assert_eq!(client.send(without).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn models_are_listed_by_both_providers() {
    let emulator = start(options());
    let mut client = Client::connect(&emulator, true).await;
    let mut request = get("api.openai.com", "/v1/models");
    request
        .headers_mut()
        .insert("authorization", "Bearer sk-real".parse().unwrap());
    assert_eq!(client.send(request).await.json()["data"][0]["id"], "gpt-5");
    let mut request = get("api.anthropic.com", "/v1/models");
    request
        .headers_mut()
        .insert("authorization", "Bearer sk-ant-real".parse().unwrap());
    request
        .headers_mut()
        .insert("anthropic-version", "2023-06-01".parse().unwrap());
    assert_eq!(
        client.send(request).await.json()["data"][0]["type"],
        "model"
    );
}

#[tokio::test]
async fn a_request_chooses_its_own_behaviour() {
    let emulator = start(options());
    let mut client = Client::connect(&emulator, false).await;
    let mut send = async |wish: &str, body: Value| {
        let mut request = openai("/v1/responses", &body);
        request
            .headers_mut()
            .insert("x-emulator", wish.parse().unwrap());
        client.send(request).await
    };
    let busy = send("status=429, retry-after=3", json!({})).await;
    assert_eq!(busy.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(busy.headers["retry-after"], "3");
    assert_eq!(
        send("nonsense", json!({})).await.status,
        StatusCode::BAD_REQUEST
    );
    let large = send("bytes=1000000", json!({})).await;
    assert_eq!(
        large.json()["output"][0]["content"][0]["text"]
            .as_str()
            .unwrap()
            .len(),
        1_000_000
    );
    let sunk = send("sink, bytes=200000", json!("x".repeat(300_000))).await;
    assert_eq!((sunk.status, sunk.text().len()), (StatusCode::OK, 200_000));
    let many = send("events=250", json!({"stream": true})).await.text();
    let deltas = many.matches("event: response.output_text.delta\n").count();
    assert_eq!(deltas, 250);
    // Last, because the connection does not outlive it.
    let cut = send("cut", json!({"stream": true})).await;
    assert!(!cut.complete, "the stream must be broken off, not ended");
    assert!(cut.text().contains("output_text.delta"));
    assert!(!cut.text().contains("response.completed"));
}

#[tokio::test]
async fn an_idle_stream_opens_and_stays_open() {
    let emulator = start(options());
    for http2 in [false, true] {
        let mut client = Client::connect(&emulator, http2).await;
        let mut request = openai("/v1/responses", &json!({"stream": true}));
        request
            .headers_mut()
            .insert("x-emulator", "idle".parse().unwrap());
        let reply = client
            .send_for(request, std::time::Duration::from_millis(300))
            .await;
        assert!(reply.text().contains("output_text.delta"));
        assert!(!reply.complete);
        assert!(reply.open, "nothing may end it");
    }
}

#[tokio::test]
async fn alpn_offers_what_the_options_say() {
    let only_1 = start(Options {
        alpn: Alpn::Http1,
        ..options()
    });
    assert!(Client::try_connect(&only_1, true).await.is_err());
    let only_2 = start(Options {
        alpn: Alpn::Http2,
        ..options()
    });
    assert!(Client::try_connect(&only_2, false).await.is_err());
    let mut client = Client::connect(&only_2, true).await;
    assert_eq!(
        client
            .send(openai("/v1/responses", &json!({})))
            .await
            .status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_client_without_the_ca_is_not_served() {
    let emulator = start(options());
    let other = start(options());
    assert!(
        Client::connect_with_ca(&emulator, other.ca_pem(), false)
            .await
            .is_err()
    );
    assert!(emulator.records().is_empty());
}

#[tokio::test]
async fn a_websocket_carries_the_same_events() {
    let emulator = start(options());
    let mut socket = client::websocket(&emulator, "Bearer sk-real")
        .await
        .unwrap();
    let create = json!({"type": "response.create", "model": "gpt-5", "input": [], "stream": true});
    let mut warm = create.clone();
    warm["generate"] = json!(false);

    let warmed = socket.ask(&warm).await;
    let types: Vec<_> = warmed
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        types,
        [
            "response.created",
            "response.in_progress",
            "response.completed"
        ]
    );

    let answered = socket.ask(&create).await;
    let text: String = answered
        .iter()
        .filter_map(|event| event["delta"].as_str())
        .collect();
    assert_eq!(text, "Hello from the emulator.");

    let records = emulator.records();
    assert_eq!(records.len(), 3, "the handshake and two frames");
    assert!(
        records
            .iter()
            .all(|record| record.websocket && record.status == 101)
    );
    assert_eq!(
        records[2].body.as_deref(),
        Some(create.to_string().as_str())
    );
}

#[tokio::test]
async fn a_websocket_is_refused_as_the_options_say_and_never_without_the_key() {
    for (mode, status) in [
        (WebSocketMode::UpgradeRequired, StatusCode::UPGRADE_REQUIRED),
        (WebSocketMode::NotFound, StatusCode::NOT_FOUND),
    ] {
        let emulator = start(Options {
            websocket: mode,
            ..options()
        });
        let refused = client::websocket(&emulator, "Bearer sk-real")
            .await
            .unwrap_err();
        assert_eq!(refused, status);
    }
    let emulator = start(options());
    let refused = client::websocket(&emulator, "Bearer sk-placeholder")
        .await
        .unwrap_err();
    assert_eq!(refused, StatusCode::UNAUTHORIZED);
    assert!(client::websocket(&emulator, "Bearer sk-real").await.is_ok());
}

/// Each of the others: its path, its key's header, and where its answer has text and usage.
#[tokio::test]
async fn the_other_providers_speak_their_own_forms() {
    let keys = [
        Provider::Copilot,
        Provider::Gemini,
        Provider::Vertex,
        Provider::Azure,
        Provider::Bedrock,
    ];
    let emulator = start(Options {
        names: vec!["acme.openai.azure.com".to_owned()],
        more_keys: keys
            .into_iter()
            .map(|it| (it, format!("{it}-key")))
            .collect(),
        ..options()
    });
    let mut client = Client::connect(&emulator, false).await;
    let google = "/candidates/0/content/parts/0/text";
    let chat = "/choices/0/message/content";
    for (host, path, header, key, text, output) in [
        (
            "api.githubcopilot.com",
            "/chat/completions",
            "authorization",
            "Bearer copilot-key",
            chat,
            "/usage/completion_tokens",
        ),
        (
            "api.githubcopilot.com",
            "/responses",
            "authorization",
            "token copilot-key",
            "/output/0/content/0/text",
            "/usage/output_tokens",
        ),
        (
            "generativelanguage.googleapis.com",
            "/v1beta/models/g:generateContent",
            "x-goog-api-key",
            "gemini-key",
            google,
            "/usageMetadata/candidatesTokenCount",
        ),
        (
            "aiplatform.googleapis.com",
            "/v1/publishers/google/models/g:generateContent",
            "x-goog-api-key",
            "vertex-key",
            google,
            "/usageMetadata/candidatesTokenCount",
        ),
        (
            "acme.openai.azure.com",
            "/openai/deployments/d/chat/completions?api-version=1",
            "api-key",
            "azure-key",
            chat,
            "/usage/completion_tokens",
        ),
        (
            "acme.openai.azure.com",
            "/openai/v1/chat/completions",
            "api-key",
            "azure-key",
            chat,
            "/usage/completion_tokens",
        ),
        (
            "bedrock-runtime.us-east-1.amazonaws.com",
            "/model/m/converse",
            "authorization",
            "Bearer bedrock-key",
            "/output/message/content/0/text",
            "/usage/outputTokens",
        ),
    ] {
        let request = |key: &str| {
            let mut request = post(host, path, &json!({"model": "m"}));
            request.headers_mut().insert(header, key.parse().unwrap());
            request
        };
        let reply = client.send(request(key)).await;
        assert_eq!(reply.status, StatusCode::OK, "{host}{path}");
        let body: Value = serde_json::from_str(&reply.text()).unwrap();
        let found = (body.pointer(text), body.pointer(output));
        assert_eq!(
            found,
            (Some(&json!("Hello from the emulator.")), Some(&json!(4))),
            "{body}"
        );
        for wrong in ["Bearer other", "other"] {
            let reply = client.send(request(wrong)).await;
            assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{host}{path}");
        }
    }
    let mut stream = post(
        "generativelanguage.googleapis.com",
        "/v1beta/models/g:streamGenerateContent?alt=sse",
        &json!({}),
    );
    stream
        .headers_mut()
        .insert("x-goog-api-key", "gemini-key".parse().unwrap());
    // Over HTTP/1.1 this client sends the path alone.
    let mut client = Client::connect(&emulator, true).await;
    let reply = client.send(stream).await;
    let text = reply.text();
    let events = events(&text);
    assert_eq!(events.len(), 5, "{} {text}", reply.status);
    assert_eq!(events[4]["usageMetadata"]["candidatesTokenCount"], 4);
}
