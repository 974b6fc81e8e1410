// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests that are signed with an AWS access key. The emulator works each signature out again, from a secret of its
//! own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use keyward_emulator::{AccessKey, Alpn, Emulator, Handle, Options, Record};
use keyward_proxy::credential::Credential;

use crate::support::{Gateway, Raw, Reply, Speaks, Upstream, ask, text};

const ID: &str = "ASIAREAL0123456789AB";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYREALKEY000";
const TOKEN: &str = "IQoJb3JpZ2luX2VjEJr//////////wEaCXVzLWVhc3QtMSJHMEUCIQ==";
const PLACEHOLDER: &str = "bedrock-api-key-placeholder-for-credential-isolation";
const BODY: &str = r#"{"messages":[{"role":"user","content":[{"text":"hi"}]}]}"#;

fn json(id: &str, secret: &str, token: &str) -> String {
    format!(r#"{{"AccessKeyId":"{id}","SecretAccessKey":"{secret}","SessionToken":"{token}"}}"#)
}

fn emulator(alpn: Alpn) -> Handle {
    let key = AccessKey {
        id: ID.to_owned(),
        secret: SECRET.to_owned(),
        token: Some(TOKEN.to_owned()),
    };
    Emulator::start(Options {
        access_key: Some(key),
        alpn,
        ..Options::new("none", "none")
    })
    .unwrap()
}

fn gateway(emulator: &Handle, toml: &str, key: &str) -> Gateway {
    let keys = [("bedrock", key)];
    Gateway::trusting(emulator.addr(), emulator.ca_pem(), toml, &keys)
}

/// A request as a client of AWS's makes it that holds the placeholders.
fn signed(path: &str, more: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: 172.30.0.30:10005\r\nContent-Type: application/json\r\n\
         X-Amz-Date: 20200101T000000Z\r\nX-Amz-Content-Sha256: 0\r\namz-sdk-request: attempt=1\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential={PLACEHOLDER}/20200101/us-east-1/bedrock/aws4_request, \
         SignedHeaders=content-type;host;x-amz-date, Signature=0\r\n{more}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn path(action: &str) -> String {
    format!("/model/anthropic.claude-v2%3A0/{action}")
}

async fn asked(gateway: &Gateway, request: &str) -> Reply {
    ask(gateway.ports["bedrock"], request).await
}

fn authorization(record: &Record) -> String {
    let mut all = record.header("authorization");
    let one = all.next().unwrap().to_owned();
    assert_eq!(all.next(), None);
    one
}

#[tokio::test]
async fn what_the_workload_signed_is_signed_anew() {
    for alpn in [Alpn::Http1, Alpn::Http2] {
        let emulator = emulator(alpn);
        let mut gateway = gateway(&emulator, "", &json(ID, SECRET, TOKEN));
        let chunked = signed(&path("converse"), "Transfer-Encoding: chunked\r\n", "");
        let chunked = chunked.replace("Content-Length: 0\r\n", "");
        let chunked = format!("{chunked}{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len());
        for request in [
            signed(&path("converse"), "", BODY),
            signed("/model/anthropic.claude-v2:0/converse", "", BODY),
            signed(&path("converse?b=2%2F&a=x+y&c"), "", BODY),
            signed(&path("converse"), "X-Amzn-Bedrock-Trace:  a   b \r\n", BODY),
            signed(&path("converse"), "X-Amz-Security-Token: \r\n", BODY),
            chunked,
            // With a bearer in place of a signature: which of them a client has does not matter.
            signed(&path("converse"), "", BODY)
                .replace("AWS4-HMAC-SHA256 Credential=", "Bearer ")
                .replace("/20200101/us-east-1/bedrock/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=0", ""),
        ] {
            let reply = asked(&gateway, &request).await;
            let said = String::from_utf8_lossy(&reply.body);
            assert_eq!(reply.status, 200, "{request}: {said}");
        }
        let records = emulator.records();
        assert_eq!(records.len(), 7);
        for record in &records {
            let whole = format!("{record:?}");
            assert!(authorization(record).contains(&format!("Credential={ID}/")));
            assert!(
                !whole.contains(PLACEHOLDER) && !whole.contains("20200101"),
                "{whole}"
            );
            assert!(!whole.contains(SECRET), "{whole}");
        }
        let log = gateway.log(7).await;
        assert!(log.iter().all(|it| it["output_tokens"] == 4), "{log:?}");
        let log = gateway.log_text();
        assert!(
            !log.contains(SECRET) && !log.contains(TOKEN) && !log.contains(ID),
            "{log}"
        );
    }
}

#[tokio::test]
async fn a_wrong_key_and_a_foreign_signature_are_refused() {
    let emulator = emulator(Alpn::Both);
    for (id, secret, token) in [
        (ID, "another/secret", TOKEN),
        (ID, SECRET, "another-token"),
        ("AKIAOTHER", SECRET, TOKEN),
    ] {
        let gateway = gateway(&emulator, "", &json(id, secret, token));
        let reply = asked(&gateway, &signed(&path("converse"), "", BODY)).await;
        assert_eq!(reply.status, 403, "{id}");
        assert!(
            reply.json()["__type"].is_string(),
            "it is the provider's own refusal"
        );
    }
    // What is signed for another region is another's.
    let resolve = format!(
        "resolve = ['bedrock-runtime.eu-west-1.amazonaws.com={}']",
        emulator.addr()
    );
    let elsewhere = format!("[provider.bedrock]\nregion = 'eu-west-1'\n[upstream]\n{resolve}");
    let gateway_elsewhere = gateway(&emulator, &elsewhere, &json(ID, SECRET, TOKEN));
    let reply = asked(&gateway_elsewhere, &signed(&path("converse"), "", BODY)).await;
    assert_eq!(
        reply.status, 502,
        "the emulator has no certificate for that region"
    );

    let before = emulator.records().len();
    let gateway = gateway(&emulator, "", &json(ID, SECRET, TOKEN));
    for foreign in [
        signed(&path("converse"), "", BODY).replace(PLACEHOLDER, "AKIAOWN"),
        signed(&path("converse"), "X-Amz-Security-Token: own\r\n", BODY),
        signed(&path("converse?X-Amz-Signature=00"), "", BODY),
    ] {
        let reply = asked(&gateway, &foreign).await;
        assert_eq!(reply.json()["error"]["type"], "foreign_credential");
    }
    let upgrade = format!(
        "GET {} HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        path("converse")
    );
    assert_eq!(asked(&gateway, &upgrade).await.status, 426);
    assert_eq!(emulator.records().len(), before, "nothing of it has left");
}

/// A stream's messages come as they are sent, and what they say of tokens is read.
#[tokio::test]
async fn event_streams_pass_and_are_counted() {
    let emulator = emulator(Alpn::Both);
    let mut gateway = gateway(&emulator, "", &json(ID, SECRET, TOKEN));
    for (action, event) in [
        ("converse-stream", "contentBlockDelta"),
        ("invoke-with-response-stream", "chunk"),
    ] {
        let mut raw = Raw::connect(gateway.ports["bedrock"]).await;
        let behaviour = "x-emulator: events=3, delay-ms=20\r\n";
        raw.send(signed(&path(action), behaviour, BODY)).await;
        let head = raw.head().await.unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(
            head.contains("application/vnd.amazon.eventstream"),
            "{head}"
        );
        let (mut pieces, mut all) = (0, Vec::new());
        while let Some(piece) = raw.chunk().await {
            pieces += 1;
            all.extend(piece);
        }
        assert!(pieces > 3, "{pieces}");
        let said = String::from_utf8_lossy(&all);
        assert!(said.matches(event).count() >= 3, "{said}");
        if action.starts_with("invoke") {
            assert!(
                said.contains(&STANDARD.encode(r#"{"delta":{"#)[..8]),
                "{said}"
            );
        }
    }
    // Both say the same: a token is four bytes of what was asked, or a piece of what is answered.
    let log = gateway.log(2).await;
    for line in log {
        assert_eq!(line["input_tokens"], BODY.len().div_ceil(4), "{line}");
        assert_eq!(line["output_tokens"], 3, "{line}");
    }
}

#[tokio::test]
async fn each_sending_has_a_signature_of_its_own() {
    let count = Arc::new(AtomicUsize::new(0));
    let answered = Arc::clone(&count);
    let upstream = Upstream::answering(Speaks::Http2, move |_| {
        let first = answered.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            let mut answer = text(if first { 429 } else { 200 }, "hello");
            answer
                .headers_mut()
                .insert("retry-after", "1".parse().unwrap());
            answer
        }
    })
    .await;
    let retry = "[retry]\nstatuses = [429]";
    let keys = [("bedrock", &*json(ID, SECRET, TOKEN))];
    let gateway = Gateway::serving(upstream.address, &upstream.ca, retry, &keys);
    assert_eq!(
        asked(&gateway, &signed(&path("converse"), "", BODY))
            .await
            .status,
        200
    );
    // A new key signs what comes behind it.
    let next = Credential::new(json("AKIANEXT", "next/secret", "").into_bytes()).unwrap();
    gateway.rotation.replace("bedrock", &next).unwrap();
    assert_eq!(
        asked(&gateway, &signed(&path("converse"), "", BODY))
            .await
            .status,
        200
    );
    let seen = upstream.seen();
    let [first, again, next] = seen.as_slice() else {
        unreachable!("{seen:?}")
    };
    for name in ["x-amz-date", "authorization"] {
        assert_ne!(first.headers[name], again.headers[name], "{name}");
        assert_eq!(again.headers.get_all(name).iter().count(), 1);
    }
    assert_eq!(
        first.headers["x-amz-content-sha256"],
        again.headers["x-amz-content-sha256"]
    );
    assert_eq!(
        (&again.body[..], &next.body[..]),
        (BODY.as_bytes(), BODY.as_bytes())
    );
    assert_eq!(again.headers["x-amz-security-token"], TOKEN);
    let by = next.headers["authorization"].to_str().unwrap();
    assert!(by.contains("Credential=AKIANEXT/"), "{by}");
    assert!(!next.headers.contains_key("x-amz-security-token"));
}

/// It has to be known to its end before it is signed: so it is held to the limit, and to the room for such bodies.
#[tokio::test]
async fn a_body_that_breaks_off_or_is_too_large_is_never_signed() {
    let emulator = emulator(Alpn::Both);
    let gateway = gateway(
        &emulator,
        "[limits]\nbody = 100000",
        &json(ID, SECRET, TOKEN),
    );
    let fits = format!(r#"{{"x":"{}"}}"#, "y".repeat(99_000));
    assert_eq!(
        asked(&gateway, &signed(&path("converse"), "", &fits))
            .await
            .status,
        200
    );
    let before = emulator.records().len();
    let head = signed(&path("converse"), "Transfer-Encoding: chunked\r\n", "");
    let head = head.replace("Content-Length: 0\r\n", "");
    let mut raw = Raw::connect(gateway.ports["bedrock"]).await;
    raw.send(&head).await;
    for _ in 0..20 {
        raw.send(format!("2710\r\n{}\r\n", "y".repeat(10_000)))
            .await;
    }
    assert_eq!(raw.reply().await.unwrap().status, 413);
    let mut raw = Raw::connect(gateway.ports["bedrock"]).await;
    raw.send(format!("{head}2710\r\nyyy")).await;
    drop(raw);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(emulator.records().len(), before);
}
