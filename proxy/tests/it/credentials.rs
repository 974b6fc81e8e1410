// SPDX-License-Identifier: MIT OR Apache-2.0
//! Credentials that change: replaced, fetched, expired, and never seen by the workload.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use keyward_proxy::credential::{Credential, NotReplaced};
use tokio::time::{sleep, timeout};

use crate::support::{Gateway, OPENAI_KEY, PATIENCE, Reply, Seen, Speaks, Upstream, ask, text};

const MODELS: &str = "GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n";
const WEBSOCKET: &str = "GET /v1/responses HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Tokens for openai come from a path of another host.
const OAUTH: &str = "[provider.openai.credential]\nkind = 'oauth'\nclient-id = 'client-1'\n\
    token-url = 'https://api.anthropic.com/token'";

const REFRESH: &str = "refresh-token-0123456789";

fn secret(text: &str) -> Credential {
    Credential::new(text.as_bytes().to_vec()).unwrap()
}

/// A request as often as it takes until the answer has this status.
async fn until(gateway: &Gateway, status: u16) -> Reply {
    let asking = async {
        loop {
            let reply = ask(gateway.openai, MODELS).await;
            if reply.status == status {
                return reply;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, asking)
        .await
        .expect("that status in time")
}

fn models(seen: &[Seen]) -> Vec<&Seen> {
    seen.iter().filter(|it| it.uri == "/v1/models").collect()
}

fn is_not_ready(reply: &Reply) {
    assert_eq!(reply.status, 503);
    let error = &reply.json()["error"];
    assert_eq!(error["type"], "credential_not_ready");
    assert_eq!(error["provider"], "openai");
    assert_eq!(error["port"], 10000);
    assert_eq!(error["retryable"], true);
}

#[tokio::test]
async fn a_replaced_key_is_used_by_the_next_request() {
    let upstream = Upstream::hello(Speaks::Http2).await;
    let mut gateway = Gateway::new(upstream.address, &upstream.ca);
    assert_eq!(ask(gateway.openai, MODELS).await.status, 200);
    let rotated = "sk-rotated-9876543210";
    gateway
        .rotation
        .replace("openai", &secret(rotated))
        .unwrap();
    assert_eq!(ask(gateway.openai, MODELS).await.status, 200);
    let seen = upstream.seen();
    let used: Vec<_> = seen.iter().map(|it| &it.headers["authorization"]).collect();
    assert_eq!(
        used,
        [
            &format!("Bearer {OPENAI_KEY}"),
            &format!("Bearer {rotated}")
        ]
    );
    // What it was not started with, it does not serve; and then nothing of the rest is replaced either.
    let stray = Err(NotReplaced::NoSuchSlot("gemini".to_owned()));
    assert_eq!(gateway.rotation.replace("gemini", &secret("x")), stray);
    assert_eq!(
        ask(gateway.gemini, MODELS).await.json()["error"]["type"],
        "provider_not_configured"
    );
    assert!(!gateway.log_text().contains("9876543210"));
}

#[tokio::test]
async fn until_the_first_token_everybody_is_told_to_come_again() {
    let upstream = Upstream::answering(Speaks::Http1, |seen| async move {
        match seen.uri.as_str() {
            "/token" => text(
                200,
                r#"{"access_token":"fetched-token-1","token_type":"bearer","expires_in":3600}"#,
            ),
            _ => text(200, "hello"),
        }
    })
    .await;
    let mut gateway = Gateway::with(upstream.address, &upstream.ca, OAUTH);
    is_not_ready(&ask(gateway.openai, MODELS).await);
    is_not_ready(&ask(gateway.openai, WEBSOCKET).await);
    let health = ask(gateway.openai, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(
        (health.status, &health.json()["status"]),
        (503, &"credential_not_ready".into())
    );
    // What the token is fetched for is not what is put into its slot by hand.
    assert!(gateway.rotation.replace("openai", &secret("x")).is_err());
    // Nothing has left, least of all the static key.
    assert_eq!(upstream.seen().len(), 0);

    gateway
        .rotation
        .replace("openai.refresh-token", &secret(REFRESH))
        .unwrap();
    let reply = until(&gateway, 200).await;
    assert_eq!(reply.body, b"hello");
    let seen = upstream.seen();
    assert_eq!(
        models(&seen)[0].headers["authorization"],
        "Bearer fetched-token-1"
    );
    let asked = seen.iter().find(|it| it.uri == "/token").unwrap();
    assert_eq!(asked.method, "POST");
    assert_eq!(asked.headers["host"], "api.anthropic.com");
    let form = format!("grant_type=refresh_token&refresh_token={REFRESH}&client_id=client-1");
    assert_eq!(asked.body, form);
    assert!(!asked.headers.contains_key("authorization"));
    let log = gateway.log_text();
    assert!(log.contains("credential_not_ready"));
    assert!(
        !log.contains("fetched-token") && !log.contains(REFRESH),
        "{log}"
    );
}

#[tokio::test]
async fn an_expired_token_is_not_used_and_a_renewed_refresh_token_is() {
    let tokens = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&tokens);
    let upstream = Upstream::answering(Speaks::Http1, move |seen| {
        let count = Arc::clone(&count);
        async move {
            match seen.uri.as_str() {
                "/token" if count.fetch_add(1, Ordering::Relaxed) == 0 => text(
                    200,
                    r#"{"access_token":"short-token","expires_in":1,"refresh_token":"second-refresh"}"#,
                ),
                "/token" => text(400, r#"{"error":"invalid_grant","error_description":"short-token"}"#),
                _ => text(200, "hello"),
            }
        }
    })
    .await;
    let gateway = Gateway::with(upstream.address, &upstream.ca, OAUTH);
    gateway
        .rotation
        .replace("openai.refresh-token", &secret(REFRESH))
        .unwrap();
    until(&gateway, 200).await;
    let reply = until(&gateway, 503).await;
    is_not_ready(&reply);
    let there = |it: &&Seen| it.uri == "/token";
    let asked = async {
        while upstream.seen().iter().filter(there).count() < 2 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, asked).await.unwrap();
    let seen = upstream.seen();
    let second = seen.iter().filter(there).nth(1).unwrap();
    assert!(String::from_utf8_lossy(&second.body).contains("refresh_token=second-refresh"));
    // And it stays so: nothing is sent without a token, whatever was there before.
    let before = models(&seen).len();
    is_not_ready(&ask(gateway.openai, MODELS).await);
    assert_eq!(models(&upstream.seen()).len(), before);
}

#[tokio::test]
async fn a_token_host_that_answers_garbage_gives_no_token() {
    let answers = [
        (200, "not json".to_owned()),
        (
            200,
            r#"{"access_token":"a b\r\nx: y","expires_in":3600}"#.to_owned(),
        ),
        (200, r#"{"access_token":"","expires_in":3600}"#.to_owned()),
        (200, r#"{"access_token":"t","expires_in":0}"#.to_owned()),
        (
            200,
            r#"{"access_token":"t","token_type":"mac","expires_in":9}"#.to_owned(),
        ),
        (200, r#"{"expires_in":3600}"#.to_owned()),
        (
            200,
            format!(
                r#"{{"access_token":"t","expires_in":9,"x":"{}"}}"#,
                "x".repeat(70_000)
            ),
        ),
        (302, r#"{"access_token":"t","expires_in":3600}"#.to_owned()),
    ];
    let number = answers.len();
    let given = Arc::new(AtomicUsize::new(0));
    let (count, answers) = (Arc::clone(&given), Arc::new(answers));
    let upstream = Upstream::answering(Speaks::Http1, move |seen| {
        let (count, answers) = (Arc::clone(&count), Arc::clone(&answers));
        async move {
            if seen.uri != "/token" {
                return text(200, "hello");
            }
            match answers.get(count.fetch_add(1, Ordering::SeqCst)) {
                Some((status, body)) => text(*status, body),
                // The positive: the first sensible answer is taken.
                None => text(200, r#"{"access_token":"good","expires_in":3600}"#),
            }
        }
    })
    .await;
    let gateway = Gateway::with(upstream.address, &upstream.ca, OAUTH);
    for turn in 1..=number + 1 {
        // What it fetches with is new: it asks at once.
        let refresh = secret(&format!("refresh-{turn}"));
        gateway
            .rotation
            .replace("openai.refresh-token", &refresh)
            .unwrap();
        let asked = async {
            while given.load(Ordering::SeqCst) < turn {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, asked).await.unwrap();
        if given.load(Ordering::SeqCst) < number {
            is_not_ready(&ask(gateway.openai, MODELS).await);
        }
    }
    until(&gateway, 200).await;
    let seen = upstream.seen();
    assert!(
        models(&seen)
            .iter()
            .all(|it| it.headers["authorization"] == "Bearer good")
    );
}

#[tokio::test]
async fn a_jobs_identity_becomes_a_token() {
    let upstream = Upstream::answering(Speaks::Http1, |seen| async move {
        match seen.uri.as_str() {
            "/identity?v=1&audience=https%3A%2F%2Fapi.anthropic.com" => {
                text(200, r#"{"value":"header.identity.signature"}"#)
            }
            "/v1/oauth/token" => text(
                200,
                r#"{"access_token":"sk-ant-oat01-fetched","token_type":"Bearer","expires_in":600}"#,
            ),
            _ => text(200, "hello"),
        }
    })
    .await;
    let gateway = Gateway::with(
        upstream.address,
        &upstream.ca,
        "[provider.anthropic.credential]\nkind = 'github-oidc'\nexchange = 'anthropic'\n\
         federation-rule-id = 'fdrl_1'\norganization-id = 'o-1'\nservice-account-id = 'svac_1'\n\
         request-url = 'https://api.openai.com/identity?v=1'",
    );
    gateway
        .rotation
        .replace("anthropic.oidc-token", &secret("request-token"))
        .unwrap();
    let served = async {
        while ask(gateway.anthropic, MODELS).await.status != 200 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, served).await.unwrap();
    let seen = upstream.seen();
    let [identity, exchange, served] = seen.as_slice() else {
        unreachable!("{seen:?}")
    };
    assert_eq!(
        (identity.method.as_str(), &identity.headers["host"]),
        ("GET", &"api.openai.com".parse().unwrap())
    );
    assert_eq!(identity.headers["authorization"], "Bearer request-token");
    assert!(!exchange.headers.contains_key("authorization"));
    let body: serde_json::Value = serde_json::from_slice(&exchange.body).unwrap();
    assert_eq!(
        body,
        serde_json::json!({
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "assertion": "header.identity.signature",
            "federation_rule_id": "fdrl_1",
            "organization_id": "o-1",
            "service_account_id": "svac_1",
        })
    );
    assert_eq!(
        served.headers["authorization"],
        "Bearer sk-ant-oat01-fetched"
    );
    assert_eq!(served.headers["anthropic-beta"], "oauth-2025-04-20");
    assert!(!served.headers.contains_key("x-api-key"));
}

/// Where a job asks who it is, and the identity that it gets.
const REQUEST_URL: &str = "https://token.actions.test/identity?v=1";
const IDENTITY: &str = "header.identity.signature";

/// The address of a request to a cloud, what authorises it, and the fields of its form, if it is one.
type Request = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

/// A provider whose tokens are had for a job's identity, and what is asked for them.
struct Exchanged {
    provider: &'static str,
    /// Of the credential, but for what all have.
    settings: &'static str,
    /// Hosts that are asked, besides the one for the identity.
    hosts: &'static [&'static str],
    /// As it stands in the query.
    audience: &'static str,
    /// What the hosts answer, one after the other.
    answers: &'static [&'static str],
    /// What they are asked.
    asked: &'static [Request],
    /// How the provider's request begins to be authorised.
    authorization: &'static str,
}

const EXCHANGES: [Exchanged; 4] = [
    Exchanged {
        provider: "openai",
        settings: "exchange = 'azure'\ntenant = 'T-1'\nclient-id = 'client-1'\nscope = 'https://cognitiveservices.azure.com/.default'",
        hosts: &["login.microsoftonline.com"],
        audience: "api%3A%2F%2FAzureADTokenExchange",
        answers: &[r#"{"token_type":"Bearer","expires_in":3599,"access_token":"azure-token"}"#],
        asked: &[(
            "https://login.microsoftonline.com/T-1/oauth2/v2.0/token",
            "",
            &[
                ("grant_type", "client_credentials"),
                ("client_id", "client-1"),
                ("scope", "https://cognitiveservices.azure.com/.default"),
                (
                    "client_assertion_type",
                    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                ),
                ("client_assertion", IDENTITY),
            ],
        )],
        authorization: "Bearer azure-token",
    },
    Exchanged {
        provider: "vertex",
        settings: "exchange = 'gcp'\naudience = '//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/g'",
        hosts: &["sts.googleapis.com"],
        audience: "https%3A%2F%2Fiam.googleapis.com%2Fprojects%2F1%2Flocations%2Fglobal%2FworkloadIdentityPools%2Fp%2Fproviders%2Fg",
        answers: &[
            r#"{"access_token":"ya29.federated","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":3599}"#,
        ],
        asked: &[("https://sts.googleapis.com/v1/token", "", GOOGLE_FORM)],
        authorization: "Bearer ya29.federated",
    },
    Exchanged {
        provider: "vertex",
        settings: "exchange = 'gcp'\nservice-account = 'ci@p.iam.gserviceaccount.com'\n\
             audience = 'https://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/g'",
        hosts: &["sts.googleapis.com", "iamcredentials.googleapis.com"],
        audience: "https%3A%2F%2Fiam.googleapis.com%2Fprojects%2F1%2Flocations%2Fglobal%2FworkloadIdentityPools%2Fp%2Fproviders%2Fg",
        answers: &[
            r#"{"access_token":"ya29.federated","token_type":"Bearer","expires_in":3599}"#,
            r#"{"accessToken":"ya29.impersonated","expireTime":"2030-01-01T00:00:00Z"}"#,
        ],
        asked: &[
            ("https://sts.googleapis.com/v1/token", "", GOOGLE_FORM),
            (
                "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/ci@p.iam.gserviceaccount.com:generateAccessToken",
                "Bearer ya29.federated",
                &[],
            ),
        ],
        authorization: "Bearer ya29.impersonated",
    },
    Exchanged {
        provider: "bedrock",
        settings: "exchange = 'aws'\nrole-arn = 'arn:aws:iam::123456789012:role/agent'\nrole-session-name = 'run-7'",
        hosts: &["sts.us-east-1.amazonaws.com"],
        audience: "sts.amazonaws.com",
        answers: &[
            r#"<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
          <AssumeRoleWithWebIdentityResult>
            <SubjectFromWebIdentityToken>repo:o/r:ref:refs/heads/main</SubjectFromWebIdentityToken>
            <Audience>sts.amazonaws.com</Audience>
            <AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/agent/run-7</Arn></AssumedRoleUser>
            <Credentials>
              <SessionToken>t0ken/+==</SessionToken>
              <SecretAccessKey>fetched/secret+key</SecretAccessKey>
              <Expiration>2030-01-01T00:00:00Z</Expiration>
              <AccessKeyId>ASIAFETCHED</AccessKeyId>
            </Credentials>
          </AssumeRoleWithWebIdentityResult>
        </AssumeRoleWithWebIdentityResponse>"#,
        ],
        asked: &[(
            "https://sts.us-east-1.amazonaws.com/",
            "",
            &[
                ("Action", "AssumeRoleWithWebIdentity"),
                ("Version", "2011-06-15"),
                ("RoleArn", "arn:aws:iam::123456789012:role/agent"),
                ("RoleSessionName", "run-7"),
                ("DurationSeconds", "3600"),
                ("WebIdentityToken", IDENTITY),
            ],
        )],
        authorization: "AWS4-HMAC-SHA256 Credential=ASIAFETCHED/",
    },
];

const GOOGLE_FORM: &[(&str, &str)] = &[
    (
        "grant_type",
        "urn:ietf:params:oauth:grant-type:token-exchange",
    ),
    (
        "audience",
        "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/g",
    ),
    ("scope", "https://www.googleapis.com/auth/cloud-platform"),
    (
        "requested_token_type",
        "urn:ietf:params:oauth:token-type:access_token",
    ),
    ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
    ("subject_token", IDENTITY),
];

impl Exchanged {
    fn settings(&self, upstream: &Upstream) -> String {
        let own = match self.provider {
            "openai" => "acme.openai.azure.com",
            "vertex" => "aiplatform.googleapis.com",
            _ => "bedrock-runtime.us-east-1.amazonaws.com",
        };
        let hosts = self
            .hosts
            .iter()
            .chain(&["token.actions.test"])
            .chain([&own]);
        let resolve: Vec<_> = hosts
            .map(|it| format!("'{it}={}'", upstream.address))
            .collect();
        format!(
            "[provider.{name}]\ntarget = '{own}'\n[provider.{name}.credential]\nkind = 'github-oidc'\n\
             request-url = '{REQUEST_URL}'\n{}\n[upstream]\nresolve = [{}]",
            self.settings,
            resolve.join(", "),
            name = self.provider,
        )
    }

    /// The request at the provider's own port.
    fn request(&self) -> String {
        let path = match self.provider {
            "openai" => "/v1/responses",
            "vertex" => "/v1/publishers/google/models/g:generateContent",
            _ => "/model/m/converse",
        };
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}")
    }
}

/// The fields of a form.
fn form(body: &[u8]) -> Vec<(String, String)> {
    let plain = |text: &str| {
        let mut bytes = text.bytes();
        let mut out = Vec::new();
        while let Some(byte) = bytes.next() {
            assert!(byte.is_ascii_graphic() && byte != b'+', "{text}");
            out.push(match byte {
                b'%' => {
                    let pair = [bytes.next().unwrap(), bytes.next().unwrap()];
                    u8::from_str_radix(str::from_utf8(&pair).unwrap(), 16).unwrap()
                }
                other => other,
            });
        }
        String::from_utf8(out).unwrap()
    };
    let text = str::from_utf8(body).unwrap();
    let pairs = text.split('&').map(|it| it.split_once('=').unwrap());
    pairs
        .map(|(name, value)| (plain(name), plain(value)))
        .collect()
}

/// Each exchange as it is documented, answered by hosts that speak TLS: what is asked, of whom, with what.
#[tokio::test]
async fn a_jobs_identity_is_exchanged_at_each_cloud() {
    for it in &EXCHANGES {
        let given = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&given);
        let upstream = Upstream::answering(Speaks::Http1, move |seen| {
            let (count, answers) = (Arc::clone(&count), it.answers);
            async move {
                match seen.headers["host"].to_str().unwrap() {
                    "token.actions.test" => {
                        text(200, &format!(r#"{{"count":1,"value":"{IDENTITY}"}}"#))
                    }
                    host if it.hosts.contains(&host) => text(
                        200,
                        answers[count.fetch_add(1, Ordering::SeqCst) % answers.len()],
                    ),
                    _ => text(200, "hello"),
                }
            }
        })
        .await;
        let mut gateway =
            Gateway::serving(upstream.address, &upstream.ca, &it.settings(&upstream), &[]);
        let port = gateway.ports[it.provider];
        let reply = ask(port, it.request()).await;
        let error = &reply.json()["error"];
        assert_eq!(
            (reply.status, &error["type"]),
            (503, &"credential_not_ready".into())
        );
        assert_eq!(error["retryable"], true, "{}", it.provider);
        assert_eq!(upstream.seen().len(), 0, "nothing has left without a token");

        let slot = format!("{}.oidc-token", it.provider);
        gateway
            .rotation
            .replace(&slot, &secret("request-token-1"))
            .unwrap();
        let served = async {
            loop {
                let reply = ask(port, it.request()).await;
                match reply.status {
                    200 => break,
                    status => assert_eq!(status, 503),
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, served).await.unwrap();
        let seen = upstream.seen();
        let (identity, rest) = seen.split_first().unwrap();
        assert_eq!(
            identity.uri,
            format!("/identity?v=1&audience={}", it.audience)
        );
        assert_eq!(identity.headers["authorization"], "Bearer request-token-1");
        let (served, exchanges) = rest.split_last().unwrap();
        assert_eq!(
            exchanges.len(),
            it.asked.len(),
            "{}: {exchanges:?}",
            it.provider
        );
        for (seen, (url, bearer, fields)) in exchanges.iter().zip(it.asked) {
            let host = seen.headers["host"].to_str().unwrap();
            assert_eq!(
                (
                    seen.method.as_str(),
                    &*format!("https://{host}{}", seen.uri)
                ),
                ("POST", *url)
            );
            let authorization = seen
                .headers
                .get("authorization")
                .map(|it| it.to_str().unwrap());
            assert_eq!(authorization.unwrap_or_default(), *bearer, "{url}");
            if fields.is_empty() {
                let body: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
                let scope = "https://www.googleapis.com/auth/cloud-platform";
                assert_eq!(
                    body,
                    serde_json::json!({"scope": [scope], "lifetime": "3600s"})
                );
            } else {
                assert_eq!(
                    seen.headers["content-type"],
                    "application/x-www-form-urlencoded"
                );
                let asked = form(&seen.body);
                let asked: Vec<_> = asked
                    .iter()
                    .map(|(a, b)| (a.as_str(), b.as_str()))
                    .collect();
                assert_eq!(asked, *fields, "{url}");
            }
            let accept = if it.provider == "bedrock" {
                "text/xml"
            } else {
                "application/json"
            };
            assert_eq!(seen.headers["accept"], accept);
        }
        let authorization = served.headers["authorization"].to_str().unwrap();
        assert!(
            authorization.starts_with(it.authorization),
            "{authorization}"
        );
        assert!(
            !served.headers.contains_key("api-key")
                && !served.headers.contains_key("x-goog-api-key")
        );
        if it.provider == "bedrock" {
            assert_eq!(served.headers["x-amz-security-token"], "t0ken/+==");
        }
        let log = gateway.log_text();
        for word in [
            "request-token",
            "identity.signature",
            "azure-token",
            "ya29",
            "fetched/secret",
        ] {
            assert!(!log.contains(word), "{log}");
        }
    }
}

/// Whatever a cloud answers instead of a token: there is none, and nothing is sent without one.
#[tokio::test]
async fn a_cloud_that_refuses_or_answers_garbage_gives_no_token() {
    const REFUSED: &str = r#"<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code></Error></ErrorResponse>"#;
    for it in &EXCHANGES {
        let good = it.answers[it.answers.len() - 1];
        let half = good
            .replace("SecretAccessKey", "Secret")
            .replace("ccess", "");
        let twice = good.replace(
            "</SecretAccessKey>",
            "</SecretAccessKey><SecretAccessKey>x</SecretAccessKey>",
        );
        let twice = if twice == *good {
            "[]".to_owned()
        } else {
            twice
        };
        let answers = [
            (
                400,
                r#"{"error":"invalid_grant","error_description":"secret words"}"#.to_owned(),
            ),
            (403, REFUSED.to_owned()),
            (500, good.to_owned()),
            (200, String::new()),
            (200, half),
            (200, twice),
        ];
        let number = answers.len();
        let given = Arc::new(AtomicUsize::new(0));
        let (count, answers) = (Arc::clone(&given), Arc::new(answers));
        let upstream = Upstream::answering(Speaks::Http1, move |seen| {
            let (count, answers) = (Arc::clone(&count), Arc::clone(&answers));
            async move {
                let host = seen.headers["host"].to_str().unwrap();
                // The last of the hosts is the one that gives the token.
                let last = it.hosts[it.hosts.len() - 1];
                match host {
                    "token.actions.test" => text(200, &format!(r#"{{"value":"{IDENTITY}"}}"#)),
                    host if host == last => match answers.get(count.fetch_add(1, Ordering::SeqCst))
                    {
                        Some((status, body)) => text(*status, body),
                        None => text(200, it.answers[it.answers.len() - 1]),
                    },
                    host if it.hosts.contains(&host) => text(200, it.answers[0]),
                    _ => text(200, "hello"),
                }
            }
        })
        .await;
        let gateway =
            Gateway::serving(upstream.address, &upstream.ca, &it.settings(&upstream), &[]);
        let slot = format!("{}.oidc-token", it.provider);
        for turn in 1..=number + 1 {
            let token = secret(&format!("request-token-{turn}"));
            gateway.rotation.replace(&slot, &token).unwrap();
            let asked = async {
                while given.load(Ordering::SeqCst) < turn {
                    sleep(Duration::from_millis(5)).await;
                }
            };
            timeout(PATIENCE, asked).await.unwrap();
            if given.load(Ordering::SeqCst) < number {
                let reply = ask(gateway.ports[it.provider], it.request()).await;
                assert_eq!(
                    (reply.status, &reply.json()["error"]["retryable"]),
                    (503, &true.into())
                );
            }
        }
        let served = async {
            while ask(gateway.ports[it.provider], it.request()).await.status != 200 {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, served).await.unwrap();
        let hosts = [
            "acme.openai.azure.com",
            "aiplatform.googleapis.com",
            "bedrock-runtime.us-east-1.amazonaws.com",
        ];
        let seen = upstream.seen();
        let served = seen
            .iter()
            .filter(|it| hosts.contains(&it.headers["host"].to_str().unwrap()));
        let authorized = |seen: &Seen| {
            seen.headers["authorization"]
                .to_str()
                .unwrap()
                .starts_with(it.authorization)
        };
        assert!(served.into_iter().all(authorized), "{}", it.provider);
    }
}

/// A standalone proxy as a process: it looks at files and runs commands, under its own seccomp filter.
#[tokio::test]
async fn a_standalone_proxy_follows_files_and_commands() {
    let upstream = Upstream::hello(Speaks::Http1).await;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("ca.pem"), &upstream.ca.pem).unwrap();
    std::fs::write(path("key"), "key-one\n").unwrap();
    let config = format!(
        "[provider.openai]\nport = 10041\ncredential = 'file:{key}'\n\
         [provider.anthropic]\nport = 10042\n\
         credential = {{ command = '/bin/date +key-%s', refresh-seconds = 1 }}\n\
         [provider.copilot]\nport = 10043\n[provider.gemini]\nport = 10044\n[provider.vertex]\nport = 10045\n\
         [upstream]\nsystem-roots = false\nca-files = ['{ca}']\n\
         resolve = ['api.openai.com={address}', 'api.anthropic.com={address}']\n[log]\nrequests = '/dev/null'\n",
        key = path("key").display(),
        ca = path("ca.pem").display(),
        address = upstream.address,
    );
    std::fs::write(path("proxy.toml"), config).unwrap();
    let mut proxy = Command::new(env!("CARGO_BIN_EXE_keyward-proxy"))
        .arg("--config")
        .arg(path("proxy.toml"))
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let keys = Arc::new(Mutex::new(Vec::new()));
    let following = async {
        let seen_at = |port: u16| {
            let keys = Arc::clone(&keys);
            let upstream = &upstream;
            async move {
                if tokio::net::TcpStream::connect(("127.0.0.1", port))
                    .await
                    .is_err()
                {
                    return None;
                }
                ask(([127, 0, 0, 1], port).into(), MODELS).await;
                let last = upstream.seen().pop()?;
                let key = last
                    .headers
                    .get("authorization")
                    .or(last.headers.get("x-api-key"));
                let key = key?.to_str().unwrap().to_owned();
                keys.lock().unwrap().push(key.clone());
                Some(key)
            }
        };
        let wait = || sleep(Duration::from_millis(50));
        while seen_at(10041).await.as_deref() != Some("Bearer key-one") {
            wait().await;
        }
        let mut new = tempfile::NamedTempFile::new_in(directory.path()).unwrap();
        new.write_all(b"key-two").unwrap();
        new.persist(path("key")).unwrap();
        while seen_at(10041).await.as_deref() != Some("Bearer key-two") {
            wait().await;
        }
        let first = seen_at(10042).await.unwrap();
        assert!(first.starts_with("key-1"), "{first}");
        while seen_at(10042).await.as_ref() == Some(&first) {
            wait().await;
        }
    };
    let followed = timeout(PATIENCE, following).await;
    proxy.kill().unwrap();
    proxy.wait().unwrap();
    assert!(followed.is_ok(), "{:?}", keys.lock().unwrap());
}
