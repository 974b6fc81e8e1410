// SPDX-License-Identifier: MIT OR Apache-2.0
//! Answers that are slow, cut off, refused, malformed or without an end, as they are asked for: byte by byte.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails the test")]

#[path = "support/client.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod client;

use std::io::ErrorKind;

use client::{Client, post};
use http::StatusCode;
use keyward_emulator::{Behaviour, Emulator, Handle, Malformed, Options, Provider, Tool};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

const KEY: &str = "sk-real";

fn emulator(behaviour: Behaviour, first: &[&str]) -> Handle {
    Emulator::start(Options {
        behaviour,
        first: first.iter().map(ToString::to_string).collect(),
        more_keys: [(Provider::Gemini, KEY.to_owned())].into(),
        ..Options::new(KEY, KEY)
    })
    .unwrap()
}

/// Asks over HTTP/1.1, and leaves the answer on the connection.
async fn ask(emulator: &Handle, order: &str) -> TlsStream<TcpStream> {
    let mut stream = client::tls(emulator, emulator.ca_pem(), b"http/1.1")
        .await
        .unwrap();
    let request = format!(
        "POST /v1/responses HTTP/1.1\r\nHost: api.openai.com\r\nAuthorization: Bearer {KEY}\r\n\
         X-Emulator: {order}\r\nContent-Length: 15\r\n\r\n{{\"stream\":true}}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// All that came, and how it ended.
async fn read(stream: &mut TlsStream<TcpStream>) -> (Vec<u8>, Result<(), ErrorKind>) {
    let mut all = Vec::new();
    let end = stream.read_to_end(&mut all).await;
    (all, end.map(drop).map_err(|error| error.kind()))
}

#[tokio::test]
async fn an_answer_is_cut_off_to_the_byte_and_ends_as_asked() {
    let emulator = emulator(Behaviour::default(), &[]);
    for count in [0, 12, 400, 2000] {
        for (how, end) in [
            ("", Err(ErrorKind::UnexpectedEof)),
            (", reset", Err(ErrorKind::ConnectionReset)),
            (", close", Ok(())),
        ] {
            let order = format!("cut-after={count}{how}");
            let (all, ended) = read(&mut ask(&emulator, &order).await).await;
            assert_eq!((all.len(), ended), (count, end), "{order}");
            let status = &b"HTTP/1.1 200 OK"[..count.min(15)];
            assert!(all.starts_with(status), "{order}");
        }
    }
}

#[tokio::test]
async fn an_answer_trickles() {
    let emulator = emulator(Behaviour::default(), &[]);
    let mut stream = ask(&emulator, "trickle=3, delay-ms=1000").await;
    let mut buffer = [0; 1024];
    assert_eq!(stream.read(&mut buffer).await.unwrap(), 3);
    assert_eq!(&buffer[..3], b"HTT");
    // And it is the same in the end.
    let (all, _) = read(&mut ask(&emulator, "trickle=500, cut-after=4000").await).await;
    assert_eq!(all.len(), 4000);
}

#[tokio::test]
async fn a_stream_has_no_end() {
    let emulator = emulator(Behaviour::default(), &[]);
    let mut stream = ask(&emulator, "endless").await;
    let mut buffer = vec![0; 1 << 20];
    stream.read_exact(&mut buffer).await.unwrap();
    let text = String::from_utf8_lossy(&buffer);
    assert!(text.matches("\"delta\":\"emulator.\"").count() > 1000);
    assert!(!text.contains("response.completed"));
}

/// Each is sent as the table has it; what begins over and over does.
#[tokio::test]
async fn malformed_answers_are_what_the_table_says() {
    let table: toml::Table = toml::from_str(include_str!("../malformed.toml")).unwrap();
    let emulator = emulator(Behaviour::default(), &[]);
    assert_eq!(table.len(), Malformed::names().count());
    for (name, it) in &table {
        let mut stream = ask(&emulator, &format!("malformed={name}")).await;
        if let Some(body) = it.get("body") {
            let mut client = Client::connect(&emulator, true).await;
            let mut request = post("api.openai.com", "/v1/responses", &json!({}));
            for (name, value) in [
                ("authorization", format!("Bearer {KEY}")),
                ("x-emulator", format!("malformed={name}")),
            ] {
                request.headers_mut().insert(name, value.parse().unwrap());
            }
            let reply = client.send(request).await;
            assert_eq!(reply.text(), body.as_str().unwrap(), "{name}");
            for (key, value) in it["head"].as_table().unwrap() {
                assert_eq!(reply.headers[key], value.as_str().unwrap(), "{name}");
            }
        } else if let Some(pieces) = it.get("bytes") {
            let pieces = pieces.as_array().unwrap();
            let pieces: Vec<&str> = pieces.iter().map(|it| it.as_str().unwrap()).collect();
            let mut expected = pieces.concat();
            if it.get("forever").is_some() {
                expected.push_str(&pieces.last().unwrap().repeat(1000));
            }
            let mut all = vec![0; expected.len()];
            stream.read_exact(&mut all).await.unwrap();
            assert_eq!(String::from_utf8(all).unwrap(), expected, "{name}");
            if it.get("open").is_some() {
                // Another request, another answer.
                let request = "GET /v1/models HTTP/1.1\r\nHost: api.openai.com\r\n\r\n";
                stream.write_all(request.as_bytes()).await.unwrap();
                let mut status = [0; 12];
                stream.read_exact(&mut status).await.unwrap();
                assert_eq!(&status, b"HTTP/1.1 401", "{name}");
            } else if it.get("forever").is_none() {
                let end = match it.get("cut").is_some() {
                    true => Err(ErrorKind::UnexpectedEof),
                    false => Ok(()),
                };
                assert_eq!(read(&mut stream).await, (Vec::new(), end), "{name}");
            }
        } else {
            let payload = it["frames"][0]["payload"].as_str().unwrap();
            let mut frame = vec![0; 9 + payload.len()];
            stream.read_exact(&mut frame).await.unwrap();
            assert!(frame.ends_with(payload.as_bytes()), "{name}");
        }
    }
}

#[tokio::test]
async fn the_first_requests_for_an_answer_are_treated_as_laid_out() {
    let emulator = emulator(
        Behaviour::default(),
        &["status=429, retry-after=7", "status=500"],
    );
    for http2 in [false, true] {
        let mut client = Client::connect(&emulator, http2).await;
        let mut wrong = post("api.openai.com", "/v1/responses", &json!({}));
        assert_eq!(client.send(wrong.clone()).await.status, 401);
        let bearer = format!("Bearer {KEY}").parse().unwrap();
        wrong.headers_mut().insert("authorization", bearer);
        let request = wrong;
        if !http2 {
            let reply = client.send(request.clone()).await;
            assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
            assert_eq!(reply.headers["retry-after"], "7");
            let reply = client.send(request.clone()).await;
            assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
            assert!(!reply.headers.contains_key("retry-after"));
        }
        assert_eq!(client.send(request).await.status, StatusCode::OK);
    }
}

/// In each form, whole and streamed: what is called, and what comes when its result is there.
#[tokio::test]
async fn a_tool_is_called_before_the_answer() {
    let behaviour = Behaviour {
        tool: Some(Tool {
            name: "bash".to_owned(),
            arguments: json!({"command": "true"}),
        }),
        ..Behaviour::default()
    };
    let emulator = emulator(behaviour, &[]);
    let mut client = Client::connect(&emulator, true).await;
    let bearer = format!("Bearer {KEY}");
    let google = "/v1beta/models/g:";
    for (host, path, header, key, tools, result) in [
        (
            "api.openai.com",
            "/v1/responses".to_owned(),
            "authorization",
            bearer.as_str(),
            json!([{"type": "function", "name": "bash"}]),
            json!({"input": [{"type": "function_call_output", "call_id": "call_of_the_emulator"}]}),
        ),
        (
            "api.openai.com",
            "/v1/chat/completions".to_owned(),
            "authorization",
            &bearer,
            json!([{"type": "function", "function": {"name": "bash"}}]),
            json!({"messages": [{"role": "tool", "tool_call_id": "call_of_the_emulator"}]}),
        ),
        (
            "api.anthropic.com",
            "/v1/messages".to_owned(),
            "x-api-key",
            KEY,
            json!([{"name": "bash"}]),
            json!({"messages": [{"content": [{"tool_use_id": "call_of_the_emulator"}]}]}),
        ),
        (
            "generativelanguage.googleapis.com",
            format!("{google}generateContent"),
            "x-goog-api-key",
            KEY,
            json!([{"functionDeclarations": [{"name": "bash"}]}]),
            json!({"contents": [{"parts": [{"functionResponse": {}}]}]}),
        ),
        (
            "generativelanguage.googleapis.com",
            format!("{google}streamGenerateContent?alt=sse"),
            "x-goog-api-key",
            KEY,
            json!([{"functionDeclarations": [{"name": "bash"}]}]),
            json!({"contents": [{"parts": [{"functionResponse": {}}]}]}),
        ),
    ] {
        for stream in [false, true] {
            let mut send = async |more: &Value| {
                let mut body = json!({"stream": stream, "tools": tools});
                for (name, value) in more.as_object().unwrap() {
                    body[name] = value.clone();
                }
                let mut request = post(host, &path, &body);
                let headers = request.headers_mut();
                headers.insert(header, key.parse().unwrap());
                headers.insert("anthropic-version", "2023-06-01".parse().unwrap());
                client.send(request).await.text()
            };
            let called = send(&json!({})).await;
            let answered = send(&result).await;
            let what = format!("{path} {stream}: {called} {answered}");
            assert!(called.contains("\"bash\""), "{what}");
            assert!(called.contains("command"), "{what}");
            assert!(!called.contains("emulator."), "{what}");
            assert!(answered.contains("emulator."), "{what}");
            assert!(!answered.contains("\"bash\""), "{what}");
        }
    }
}
