// SPDX-License-Identifier: MIT OR Apache-2.0
//! The contract's ordinary rows, end to end over real TLS: what a request becomes on its way, what the
//! answer becomes on its way back, what is logged.

use crate::support::{
    ANTHROPIC_KEY, Gateway, OPENAI_KEY, OPENAI_PLACEHOLDER, Raw, Speaks, Upstream, ask, text,
};
use http::Version;

#[tokio::test]
async fn the_credential_is_put_in_and_nothing_else_gets_through() {
    for speaks in [Speaks::Http1, Speaks::Http2] {
        let upstream = Upstream::hello(speaks).await;
        let mut gateway = Gateway::new(upstream.address, &upstream.ca);
        let reply = ask(
            gateway.openai,
            format!(
                "POST /v1/responses?a=1&api_key={OPENAI_PLACEHOLDER} HTTP/1.1\r\n\
                 Host: 172.30.0.30:10000\r\nAuthorization: Bearer {OPENAI_PLACEHOLDER}\r\n\
                 X-Api-Key: {OPENAI_PLACEHOLDER}\r\nCookie: a=b\r\nX-Forwarded-For: 1.2.3.4\r\n\
                 X_Forwarded_Host: x\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\n\
                 OpenAI-Organization: org\r\nAccept-Encoding: x-other, gzip\r\n\
                 X-Request-Id: mine-1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
            ),
        )
        .await;
        assert_eq!((reply.status, reply.body.as_slice()), (200, &b"hello"[..]));
        assert_eq!(reply.header("x-request-id"), Some("mine-1"));

        let [seen]: [_; 1] = upstream.seen().try_into().unwrap();
        assert_eq!(seen.method, "POST");
        assert_eq!(seen.body, "{}");
        let expected = match speaks {
            Speaks::Http1 => (Version::HTTP_11, "/v1/responses?a=1"),
            Speaks::Http2 | Speaks::OnlyHttp2 => {
                (Version::HTTP_2, "https://api.openai.com/v1/responses?a=1")
            }
        };
        assert_eq!((seen.version, seen.uri.as_str()), expected);
        let mut names: Vec<_> = seen.headers.keys().map(|it| it.as_str()).collect();
        names.sort_unstable();
        let mut expected = vec![
            "accept-encoding",
            "authorization",
            "content-length",
            "content-type",
            "x-request-id",
        ];
        if speaks == Speaks::Http1 {
            expected.insert(4, "host");
            assert_eq!(seen.headers["host"], "api.openai.com");
        }
        assert_eq!(names, expected);
        assert_eq!(
            seen.headers["authorization"],
            format!("Bearer {OPENAI_KEY}")
        );
        assert_eq!(seen.headers["accept-encoding"], "gzip");
        assert_eq!(seen.headers["x-request-id"], "mine-1");

        let [line]: [_; 1] = gateway.log(1).await.try_into().unwrap();
        assert_eq!(line["request_id"], "mine-1");
        assert_eq!(line["provider"], "openai");
        assert_eq!(
            (line["method"].as_str(), line["path"].as_str()),
            (Some("POST"), Some("/v1/responses"))
        );
        assert_eq!(
            (line["status"].as_u64(), line["decision"].as_str()),
            (Some(200), Some("forwarded"))
        );
        assert_eq!(
            (
                line["request_bytes"].as_u64(),
                line["response_bytes"].as_u64()
            ),
            (Some(2), Some(5))
        );
        assert_eq!(line["upstream"], upstream.address.to_string());
        assert_eq!(line["complete"], true);
        let text = gateway.log_text();
        assert!(
            !text.contains(OPENAI_KEY) && !text.contains("api_key"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn anthropic_gets_its_own_header_and_version() {
    let upstream = Upstream::hello(Speaks::Http2).await;
    let gateway = Gateway::new(upstream.address, &upstream.ca);
    for path in [
        "/messages",
        "/v1/messages",
        "/v1/v1/messages",
        "/v1/x/../messages?beta=true",
    ] {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\n\
             X-Api-Key: sk-ant-placeholder-key-for-credential-isolation\r\n\
             Authorization: Bearer sk-ant-placeholder-key-for-credential-isolation\r\n\
             Content-Length: 0\r\n\r\n"
        );
        assert_eq!(ask(gateway.anthropic, request).await.status, 200, "{path}");
    }
    for seen in upstream.seen() {
        assert!(
            seen.uri
                .starts_with("https://api.anthropic.com/v1/messages"),
            "{}",
            seen.uri
        );
        assert_eq!(seen.headers["x-api-key"], ANTHROPIC_KEY);
        assert_eq!(seen.headers["anthropic-version"], "2023-06-01");
        assert!(!seen.headers.contains_key("authorization"));
    }
    assert_eq!(upstream.seen().len(), 4);
}

#[tokio::test]
async fn connections_are_reused_on_both_sides() {
    for speaks in [Speaks::Http1, Speaks::Http2] {
        let upstream = Upstream::hello(speaks).await;
        let gateway = Gateway::new(upstream.address, &upstream.ca);
        let mut raw = Raw::connect(gateway.openai).await;
        for _ in 0..20 {
            raw.send("GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n").await;
            let reply = raw.reply().await.unwrap();
            assert_eq!((reply.status, reply.body.as_slice()), (200, &b"hello"[..]));
        }
        assert!(upstream.seen().iter().all(|it| it.connection == 0));
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::answering(Speaks::Http2, |seen| async move {
        text(200, seen.uri.rsplit('/').next().unwrap())
    })
    .await;
    let gateway = Gateway::new(upstream.address, &upstream.ca);
    let mut raw = Raw::connect(gateway.openai).await;
    let one = |at: usize| {
        format!(
            "POST /v1/responses/{at} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        )
    };
    let all: String = (0..10).map(one).collect();
    raw.send(all).await;
    for at in 0..10 {
        assert_eq!(raw.reply().await.unwrap().body, at.to_string().as_bytes());
    }
    assert!(upstream.seen().iter().all(|it| it.body == "abc"));
}

#[tokio::test]
async fn a_port_without_a_credential_says_so() {
    let upstream = Upstream::hello(Speaks::Http1).await;
    let gateway = Gateway::new(upstream.address, &upstream.ca);
    let reply = ask(
        gateway.gemini,
        "POST /v1beta/models HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.json()["error"]["type"], "provider_not_configured");
    assert_eq!(reply.json()["error"]["provider"], "gemini");
    let reply = ask(gateway.gemini, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(
        (reply.status, reply.json()["status"].as_str()),
        (503, Some("not_configured"))
    );
}

#[tokio::test]
async fn own_endpoints_are_never_forwarded() {
    let upstream = Upstream::hello(Speaks::Http1).await;
    let gateway = Gateway::new(upstream.address, &upstream.ca);
    let health = ask(
        gateway.openai,
        "GET /health?x=1 HTTP/1.1\r\nHost: x\r\n\r\n",
    )
    .await;
    assert_eq!(health.status, 200);
    let health = health.json();
    assert_eq!(
        (health["status"].as_str(), health["service"].as_str()),
        (Some("healthy"), Some("keyward"))
    );
    assert_eq!(health["providers"]["anthropic"], true);
    assert_eq!(health["providers"]["gemini"], false);
    assert!(health["metrics_summary"].is_object() && health["rate_limits"].is_object());

    let metrics = ask(gateway.openai, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let metrics = String::from_utf8(metrics.body).unwrap();
    assert!(
        metrics.contains("keyward_requests_total{provider=\"openai\",status=\"2xx\"} 1"),
        "{metrics}"
    );
    let json = "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\r\n";
    assert!(ask(gateway.openai, json).await.json()["providers"]["openai"].is_object());
    let reflect = ask(
        gateway.anthropic,
        "GET /reflect HTTP/1.1\r\nHost: x\r\n\r\n",
    )
    .await
    .json();
    assert_eq!(reflect["endpoints"].as_array().unwrap().len(), 6);

    for address in [gateway.openai, gateway.anthropic, gateway.gemini] {
        for path in [
            "/health",
            "/metrics",
            "/reflect",
            "/x/../health",
            "/%68ealth?a",
        ] {
            for method in ["POST", "DELETE", "OPTIONS"] {
                let request =
                    format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
                assert_eq!(ask(address, request).await.status, 405, "{method} {path}");
            }
        }
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn a_foreign_credential_is_refused_and_not_forwarded() {
    let upstream = Upstream::hello(Speaks::Http1).await;
    let gateway = Gateway::new(upstream.address, &upstream.ca);
    for line in [
        "Authorization: Bearer sk-own",
        "authorization: Basic c2s6b3du",
        "X-Api-Key: sk-own",
        "api_key: sk-own",
        "x-goog-api-key: sk-own",
        "Proxy-Authorization: Basic eDp5",
    ] {
        let request = format!("GET /v1/models HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\n");
        let reply = ask(gateway.openai, request).await;
        assert_eq!(
            (reply.status, reply.json()["error"]["type"].as_str()),
            (403, Some("foreign_credential")),
            "{line}"
        );
    }
    let reply = ask(
        gateway.openai,
        "GET /v1/models?key=sk-own HTTP/1.1\r\nHost: x\r\n\r\n",
    )
    .await;
    assert_eq!(reply.status, 403);
    assert!(upstream.seen().is_empty());

    let lenient = Gateway::with(
        upstream.address,
        &upstream.ca,
        "[provider.openai]\nrequire-placeholder = false",
    );
    let reply = ask(
        lenient.openai,
        "GET /v1/models?key=sk-own HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-own\r\n\r\n",
    )
    .await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        upstream.seen()[0].headers["authorization"],
        format!("Bearer {OPENAI_KEY}")
    );
    assert_eq!(upstream.seen()[0].uri, "/v1/models");
}

#[tokio::test]
async fn head_and_empty_answers_keep_the_connection() {
    let upstream = Upstream::answering(Speaks::Http1, |seen| async move {
        if seen.method == "DELETE" {
            text(204, "")
        } else {
            text(200, "hello")
        }
    })
    .await;
    let gateway = Gateway::new(upstream.address, &upstream.ca);
    let mut raw = Raw::connect(gateway.openai).await;
    for _ in 0..3 {
        raw.send("HEAD /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
            .await;
        let head = raw.head().await.unwrap();
        assert!(
            head.starts_with("HTTP/1.1 200") && head.contains("content-length: 5"),
            "{head}"
        );
        raw.send("DELETE /v1/responses/r HTTP/1.1\r\nHost: x\r\n\r\n")
            .await;
        assert!(raw.head().await.unwrap().starts_with("HTTP/1.1 204"));
    }
    assert!(upstream.seen().iter().all(|it| it.connection == 0));
}
