// SPDX-License-Identifier: MIT OR Apache-2.0
//! The wire contract, as a table (`tests/data/contract.toml`): for every provider what is asked at its
//! port, byte by byte, and what reaches the provider, over HTTP/1.1 and HTTP/2.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex},
};

use http::HeaderMap;
use keyward_proxy::provider::Providers;
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;

use crate::{
    support::{Ca, Gateway, Raw, Reply, Seen, Speaks, Upstream, raw_upstream, text},
    websocket::{accept, head},
};

const FILE: &str = include_str!("../data/contract.toml");

/// What keyward does better on purpose: each has a case that would fail otherwise.
const OURS: [&str; 9] = [
    "a port in the target",
    "foreign credentials",
    "github tokens stay at github",
    "methods and paths",
    "models",
    "own endpoints",
    "prometheus",
    "stripped headers",
    "websocket",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Contract {
    /// Of each provider, one request of its inference API that goes out as it came.
    inference: BTreeMap<String, String>,
    /// Of each provider, the command's variables.
    environment: BTreeMap<String, BTreeMap<String, String>>,
    world: Vec<World>,
}

/// One gateway.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct World {
    name: String,
    #[serde(default)]
    settings: String,
    /// The credentials. Cases that name no provider are for each of these.
    #[serde(default)]
    keys: BTreeMap<String, String>,
    /// Nobody listens where the providers should be.
    #[serde(default)]
    unreachable: bool,
    case: Vec<Case>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Case {
    name: String,
    /// Which of [`OURS`] it shows.
    ours: Option<String>,
    #[serde(default)]
    providers: Vec<String>,
    /// `METHOD target`, or several that have the same outcome.
    #[serde(default)]
    request: Vec<String>,
    /// Further header lines.
    #[serde(default)]
    lines: Vec<String>,
    #[serde(default)]
    body: String,
    /// The request to the byte, instead.
    raw: Option<String>,
    status: u16,
    /// `reason`, `error.type` or `error` of the answer.
    reason: Option<String>,
    /// Headers of the answer; an empty value: absent.
    #[serde(default)]
    answer: BTreeMap<String, String>,
    /// Text in the answer's body.
    #[serde(default)]
    says: Vec<String>,
    /// Whether the connection is closed behind the answer.
    #[serde(default)]
    closed: bool,
    /// `METHOD target` as the provider gets it. Absent: it gets nothing.
    sent: Option<String>,
    host: Option<String>,
    /// Nothing was asked of a provider, so there is no line of it in the log.
    #[serde(default)]
    unlogged: bool,
    sent_body: Option<String>,
    /// Headers that the provider gets; an empty value: absent.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// How headers begin that the provider gets.
    #[serde(default)]
    begins: BTreeMap<String, String>,
    /// All names of headers that it gets, but for the connection's own.
    names: Option<Vec<String>>,
}

/// Says `hello`; on request, with the headers that must not come through.
async fn provider(seen: Seen) -> http::Response<crate::support::Body> {
    let mut answer = text(200, "hello");
    let headers: &mut HeaderMap = answer.headers_mut();
    if seen.uri.contains("as=gzip") {
        headers.insert("content-encoding", "gzip".parse().unwrap());
    }
    if seen.uri.contains("as=chatty") {
        headers.insert("set-cookie", "a=b".parse().unwrap());
        headers.insert("alt-svc", "h3=\":443\"".parse().unwrap());
        headers.insert("x-request-id", "theirs".parse().unwrap());
        headers.insert("x-ratelimit-remaining", "7".parse().unwrap());
    }
    answer
}

fn contract() -> Contract {
    toml::from_str(FILE).unwrap()
}

#[test]
fn every_provider_and_every_hole_has_its_cases() {
    let contract = contract();
    let table = Providers::builtin();
    let builtin: BTreeSet<&str> = table.iter().map(|it| it.name.as_str()).collect();
    let asked: BTreeSet<&str> = contract.inference.keys().map(String::as_str).collect();
    assert_eq!(builtin, asked);
    let cases = || contract.world.iter().flat_map(|it| &it.case);
    for name in builtin {
        let own = cases().filter(|it| it.providers.iter().any(|one| one == name));
        assert!(own.count() >= 3, "{name}");
    }
    let shown: BTreeSet<&str> = cases().filter_map(|it| it.ours.as_deref()).collect();
    assert_eq!(shown, OURS.into_iter().collect());
}

#[test]
fn the_commands_variables_are_the_contracts() {
    let contract = contract();
    let address = Ipv4Addr::new(172, 30, 0, 30).into();
    let environment = |it: &keyward_proxy::provider::Provider| {
        it.workload_environment(address)
            .map(|(name, value)| (name.to_owned(), value))
            .collect::<BTreeMap<_, _>>()
    };
    let table = Providers::builtin();
    let found: BTreeMap<_, _> = table
        .iter()
        .map(|it| (it.name.clone(), environment(it)))
        .collect();
    assert_eq!(found, contract.environment);
}

#[tokio::test]
async fn over_http1() {
    hold(Speaks::Http1).await;
}

#[tokio::test]
async fn over_http2() {
    hold(Speaks::Http2).await;
}

async fn hold(speaks: Speaks) {
    let contract = contract();
    let mut faults = Vec::new();
    for world in &contract.world {
        let upstream = Upstream::answering(speaks, provider).await;
        let keys: Vec<_> = world
            .keys
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect();
        // Bound and let go: nobody is there.
        let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = match world.unreachable {
            true => nobody.local_addr().unwrap(),
            false => upstream.address,
        };
        drop(nobody);
        let mut gateway = Gateway::serving(address, &upstream.ca, &world.settings, &keys);
        let mut asked = 0;
        for case in &world.case {
            let all: Vec<&String> = match case.providers.as_slice() {
                [] if world.keys.is_empty() => contract.inference.keys().collect(),
                [] => world.keys.keys().collect(),
                some => some.iter().collect(),
            };
            for name in all {
                let placeholder = placeholder(&world.settings, name);
                let inference = contract.inference.get(name).map_or("", String::as_str);
                let fill = |text: &str| {
                    let key = world.keys.get(name).map_or("", String::as_str);
                    let responses =
                        format!("{}/responses", if name == "openai" { "/v1" } else { "" });
                    let another = inference.replace("/g:", "/x:").replace("/m/", "/x/");
                    text.replace("{inference}", inference)
                        .replace("{inference of another}", &another)
                        .replace("{responses}", &responses)
                        .replace("{16 KiB}", &"a".repeat(16 * 1024))
                        .replace("{path}", inference.split(' ').nth(1).unwrap_or_default())
                        .replace("{placeholder}", &placeholder)
                        .replace("{key}", key)
                        .replace("{provider}", name)
                };
                for request in requests(case) {
                    let what = format!("{}: {}: {name}: {request:?}", world.name, case.name);
                    let before = upstream.seen().len();
                    let reply =
                        ask(gateway.ports[name.as_str()], &fill(&request), case, &what).await;
                    let seen = upstream.seen().split_off(before);
                    // All rows that do not hold are told at once.
                    let judged = std::panic::catch_unwind(|| {
                        judge_reply(case, &reply, &fill, &what);
                        judge_sent(case, &seen, speaks, &fill, &what);
                    });
                    if judged.is_err() {
                        faults.push(what);
                    }
                    asked += usize::from(!case.unlogged);
                }
            }
        }
        // One line a request. (The last one's may be a moment behind its answer.)
        let mut lines = 0;
        for _ in 0..200 {
            lines = gateway.log_text().lines().count();
            if lines >= asked {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        if lines != asked {
            faults.push(format!(
                "{}: {lines} lines of the log for {asked} requests",
                world.name
            ));
        }
        let log = gateway.log_text();
        for (slot, key) in &world.keys {
            // Of an access key, each part is one.
            let parts: BTreeMap<String, String> = serde_json::from_str(key).unwrap_or_default();
            for secret in parts.values().chain([key]) {
                assert!(
                    !log.contains(secret),
                    "{}: the key of {slot} in the log",
                    world.name
                );
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

fn placeholder(settings: &str, name: &str) -> String {
    let raw: keyward_proxy::settings::RawSettings = toml::from_str(settings).unwrap();
    let table = Providers::parse(&raw.providers, &mut Vec::new());
    table.get(name).unwrap().placeholder.clone()
}

/// The requests as they are sent, still with their braces.
fn requests(case: &Case) -> Vec<String> {
    if let Some(raw) = &case.raw {
        return vec![raw.clone()];
    }
    let whole = |line: &String| {
        let mut text = format!("{line} HTTP/1.1\r\nHost: 172.30.0.30\r\n");
        for line in &case.lines {
            text.push_str(&format!("{line}\r\n"));
        }
        if !case.body.is_empty() || line.starts_with("POST") || line.starts_with("{inference") {
            text.push_str(&format!("Content-Length: {}\r\n", case.body.len()));
        }
        text + "\r\n" + &case.body
    };
    case.request.iter().map(whole).collect()
}

async fn ask(address: SocketAddr, request: &str, case: &Case, what: &str) -> Reply {
    let mut raw = Raw::connect(address).await;
    raw.send(request).await;
    let head_only = request.starts_with("HEAD ");
    let mut reply = match head_only {
        true => {
            let head = raw
                .head()
                .await
                .unwrap_or_else(|| panic!("{what}: no answer"));
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            Reply {
                status,
                head,
                body: Vec::new(),
            }
        }
        false => raw
            .reply()
            .await
            .unwrap_or_else(|| panic!("{what}: no answer")),
    };
    while reply.status == 100 {
        reply = raw
            .reply()
            .await
            .unwrap_or_else(|| panic!("{what}: no answer"));
    }
    if case.closed {
        // What comes behind is nobody's.
        raw.send("GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(raw.is_closed().await, "{what}: still open");
    }
    reply
}

fn judge_reply(case: &Case, reply: &Reply, fill: &impl Fn(&str) -> String, what: &str) {
    let body = String::from_utf8_lossy(&reply.body);
    assert_eq!(reply.status, case.status, "{what}: {body}");
    if let Some(reason) = &case.reason {
        let body = reply.json();
        let found = [
            &body["reason"],
            &body["error"]["reason"],
            &body["error"]["type"],
            &body["error"],
        ];
        let found: Vec<_> = found.iter().filter_map(|it| it.as_str()).collect();
        assert!(found.contains(&reason.as_str()), "{what}: {body}");
    }
    for (name, value) in &case.answer {
        let expected = (!value.is_empty()).then(|| fill(value));
        assert_eq!(
            reply.header(name),
            expected.as_deref(),
            "{what}: {name} of the answer"
        );
    }
    for part in &case.says {
        assert!(body.contains(&fill(part)), "{what}: {part} in {body}");
    }
}

fn judge_sent(
    case: &Case,
    seen: &[Seen],
    speaks: Speaks,
    fill: &impl Fn(&str) -> String,
    what: &str,
) {
    let Some(sent) = &case.sent else {
        assert!(seen.is_empty(), "{what}: forwarded {seen:?}");
        return;
    };
    let [seen] = seen else {
        panic!("{what}: {} requests were forwarded", seen.len());
    };
    let uri: http::Uri = seen.uri.parse().unwrap();
    let target = uri.path_and_query().map_or("/", |it| it.as_str());
    assert_eq!(format!("{} {target}", seen.method), fill(sent), "{what}");
    let over_http2 = seen.version == http::Version::HTTP_2;
    let upgrade = seen.headers.contains_key("upgrade");
    assert_eq!(over_http2, speaks == Speaks::Http2 && !upgrade, "{what}");
    let host = match over_http2 {
        true => uri.authority().unwrap().as_str(),
        false => seen.headers["host"].to_str().unwrap(),
    };
    if let Some(expected) = &case.host {
        assert_eq!(host, expected, "{what}");
    }
    // Whoever it goes to, it is not what the workload wrote.
    assert_ne!(host, "172.30.0.30", "{what}");
    if let Some(body) = &case.sent_body {
        assert_eq!(&seen.body, body.as_bytes(), "{what}");
    }
    for (name, value) in &case.headers {
        let found = seen.headers.get_all(name).iter();
        let found: Vec<_> = found.map(|it| it.to_str().unwrap()).collect();
        let expected: Vec<String> = match value.is_empty() {
            true => Vec::new(),
            false => vec![fill(value)],
        };
        assert_eq!(found, expected, "{what}: {name}");
    }
    for (name, value) in &case.begins {
        let mut found = seen.headers.get_all(name).iter();
        let first = found.next().unwrap_or_else(|| panic!("{what}: no {name}"));
        assert!(found.next().is_none(), "{what}: {name}");
        let text = first.to_str().unwrap();
        assert!(text.starts_with(value), "{what}: {name}: {text}");
    }
    if let Some(names) = &case.names {
        const CONNECTION: [&str; 3] = ["host", "content-length", "transfer-encoding"];
        let found = seen.headers.keys().map(http::HeaderName::as_str);
        let found: BTreeSet<&str> = found.filter(|it| !CONNECTION.contains(it)).collect();
        let expected: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(found, expected, "{what}");
    }
}

/// The tunnel of every provider that has one carries the real credential, and opens after the right 101.
#[tokio::test]
async fn a_websocket_carries_the_providers_own_credential() {
    let ca = Ca::new();
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let record = Arc::clone(&heads);
    let (address, _task) = raw_upstream(&ca, move |mut stream| {
        let record = Arc::clone(&record);
        async move {
            let head = head(&mut stream).await;
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {}\r\n\r\nfirst",
                accept(&head)
            );
            record.lock().unwrap().push(head);
            stream.write_all(answer.as_bytes()).await.unwrap();
            drop(stream.shutdown().await);
        }
    })
    .await;
    let keys = [("openai", "sk-proj-1"), ("copilot", "ghu_1")];
    let gateway = Gateway::serving(address, &ca, "", &keys);
    for (name, key) in keys {
        let mut raw = Raw::connect(gateway.ports[name]).await;
        raw.send(format!(
            "GET /responses HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Authorization: Bearer {}\r\nCookie: a=b\r\nX_Api_Key: {}\r\n\r\n",
            placeholder("", name),
            placeholder("", name),
        ))
        .await;
        assert!(raw.head().await.unwrap().starts_with("HTTP/1.1 101 "));
        while raw.buffer.len() < 5 && raw.fill().await > 0 {}
        assert_eq!(raw.buffer, b"first");
        let sent = heads.lock().unwrap().pop().unwrap().to_lowercase();
        let authorization = format!("authorization: bearer {key}");
        assert_eq!(sent.matches("authorization").count(), 1, "{sent}");
        assert!(sent.contains(&authorization), "{sent}");
        assert!(
            !sent.contains("cookie") && !sent.contains("api_key"),
            "{sent}"
        );
    }
}

/// At every provider; the harmless ones are in the table.
#[tokio::test]
async fn an_identifier_that_is_not_harmless_is_replaced() {
    let contract = contract();
    let upstream = Upstream::answering(Speaks::Http2, provider).await;
    let world = &contract.world[0];
    let keys = world.keys.iter().map(|(a, b)| (a.as_str(), b.as_str()));
    let gateway = Gateway::serving(
        upstream.address,
        &upstream.ca,
        "",
        &keys.collect::<Vec<_>>(),
    );
    for (name, inference) in &contract.inference {
        for id in ["", "a b", "a,b", "é", &"a".repeat(129)] {
            let request = format!(
                "{inference} HTTP/1.1\r\nHost: x\r\nX-Request-Id: {id}\r\nContent-Length: 0\r\n\r\n"
            );
            let reply = crate::support::ask(gateway.ports[name.as_str()], request).await;
            assert_eq!(reply.status, 200, "{name}: {id:?}");
            let given = reply.header("x-request-id").unwrap();
            assert!(uuid::Uuid::parse_str(given).is_ok(), "{name}: {given:?}");
            let seen = upstream.seen().pop().unwrap();
            assert_eq!(seen.headers["x-request-id"], given, "{name}: {id:?}");
        }
    }
}

/// A token that belongs to GitHub, and a target that does not: no proxy.
#[tokio::test]
async fn a_credential_for_somebody_else_stops_the_start() {
    use keyward_proxy::{
        credential::{Credential, Credentials},
        peers::Peers,
        request_log::RequestLog,
        server::{Logs, Server},
        settings::{RawSettings, Settings},
    };
    let start = |toml: &str, slot: &str, key: &str| {
        let settings = Settings::try_from(toml::from_str::<RawSettings>(toml).unwrap()).unwrap();
        let mut credentials = Credentials::new();
        credentials.insert(slot, Credential::new(key.as_bytes().to_vec()).unwrap());
        let logs = Logs {
            requests: RequestLog::none(),
            tokens: RequestLog::none(),
            audit: RequestLog::none(),
        };
        Server::new(settings, credentials, logs, Peers::unknown()).map(drop)
    };
    let elsewhere = "[provider.copilot]\ntarget = 'gw.corp.test'";
    let fault = start(elsewhere, "copilot", "ghu_0123")
        .unwrap_err()
        .to_string();
    assert!(fault.contains("provider.copilot.credential"), "{fault}");
    assert!(fault.contains("https://gw.corp.test"), "{fault}");
    assert!(!fault.contains("0123"), "{fault}");
    assert!(start("", "copilot", "ghu_0123").is_ok());
    assert!(start(elsewhere, "copilot", "key-0123").is_ok());
    assert!(start("", "openai", "sk-ant-0123").is_err());
}
