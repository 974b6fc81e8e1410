// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table, and its rows: one request at one provider each.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    net::SocketAddr,
};

use http::HeaderMap;
use keyward_proxy::provider::Providers;
use serde::Deserialize;

use crate::support::{Raw, Reply, Seen, Speaks, Upstream, text};

const FILE: &str = include_str!("../../data/contract.toml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contract {
    /// Of each provider, one request of its inference API that goes out as it came.
    pub(crate) inference: BTreeMap<String, String>,
    /// Of each provider, the command's variables.
    pub(crate) environment: BTreeMap<String, BTreeMap<String, String>>,
    pub(crate) world: Vec<World>,
}

/// One gateway.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct World {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) settings: String,
    /// The credentials. Cases that name no provider are for each of these.
    #[serde(default)]
    pub(crate) keys: BTreeMap<String, String>,
    /// Nobody listens where the providers should be.
    #[serde(default)]
    pub(crate) unreachable: bool,
    pub(crate) case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Case {
    pub(crate) name: String,
    /// It is a hole elsewhere (`wire.toml`): how the faults begin that a gateway with this hole shows, in each row.
    #[serde(default)]
    pub(crate) open: Vec<String>,
    #[serde(default)]
    pub(crate) providers: Vec<String>,
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
    pub(crate) unlogged: bool,
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

/// A provider that says `hello`; on request, with the headers that must not come through.
pub(crate) async fn provider(seen: Seen) -> http::Response<crate::support::Body> {
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

impl Contract {
    pub(crate) fn read() -> Self {
        toml::from_str(FILE).unwrap()
    }

    /// All rows of `world`, in order.
    pub(crate) fn rows<'a>(&'a self, world: &'a World) -> Vec<Row<'a>> {
        let mut rows = Vec::new();
        for case in &world.case {
            let providers: Vec<&String> = match case.providers.as_slice() {
                [] if world.keys.is_empty() => self.inference.keys().collect(),
                [] => world.keys.keys().collect(),
                some => some.iter().collect(),
            };
            for provider in providers {
                let words = self.words(world, provider);
                for request in case.requests() {
                    rows.push(Row {
                        what: format!("{}: {}: {provider}: {request:?}", world.name, case.name),
                        request: fill(&words, &request),
                        case,
                        provider,
                        words: words.clone(),
                    });
                }
            }
        }
        rows
    }

    /// What stands for what in a row's texts.
    fn words(&self, world: &World, provider: &str) -> Vec<(&'static str, String)> {
        let inference = self.inference.get(provider).cloned().unwrap_or_default();
        let key = world.keys.get(provider).cloned().unwrap_or_default();
        let version = if provider == "openai" { "/v1" } else { "" };
        let path = inference.split(' ').nth(1).unwrap_or_default().to_owned();
        let another = inference.replace("/g:", "/x:").replace("/m/", "/x/");
        vec![
            ("{inference}", inference),
            ("{inference of another}", another),
            ("{responses}", format!("{version}/responses")),
            ("{16 KiB}", "a".repeat(16 * 1024)),
            ("{path}", path),
            ("{placeholder}", placeholder(&world.settings, provider)),
            ("{key}", key),
            ("{provider}", provider.to_owned()),
        ]
    }
}

fn fill(words: &[(&str, String)], text: &str) -> String {
    let replace = |text: String, (word, meaning): &(&str, String)| text.replace(word, meaning);
    words.iter().fold(text.to_owned(), replace)
}

pub(crate) fn placeholder(settings: &str, name: &str) -> String {
    let raw: keyward_proxy::settings::RawSettings = toml::from_str(settings).unwrap();
    let table = Providers::parse(&raw.providers, &mut Vec::new());
    table.get(name).unwrap().placeholder.clone()
}

impl Case {
    /// The requests as they are sent, still with their braces.
    fn requests(&self) -> Vec<String> {
        if let Some(raw) = &self.raw {
            return vec![raw.clone()];
        }
        let whole = |line: &String| {
            let mut text = format!("{line} HTTP/1.1\r\nHost: 172.30.0.30\r\n");
            for line in &self.lines {
                text.push_str(&format!("{line}\r\n"));
            }
            if !self.body.is_empty() || line.starts_with("POST") || line.starts_with("{inference") {
                text.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
            }
            text + "\r\n" + &self.body
        };
        self.request.iter().map(whole).collect()
    }
}

/// One request.
pub(crate) struct Row<'a> {
    /// World, case, provider and request.
    pub(crate) what: String,
    pub(crate) case: &'a Case,
    pub(crate) provider: &'a str,
    request: String,
    words: Vec<(&'static str, String)>,
}

/// What came back.
struct Answer {
    reply: Reply,
    /// The connection is open behind it, although it should be closed.
    still_open: bool,
}

impl Row<'_> {
    /// Asks at this port. Returns what does not hold: none, and the row does.
    pub(crate) async fn faults(
        &self,
        port: SocketAddr,
        upstream: &Upstream,
        speaks: Speaks,
    ) -> Vec<String> {
        let before = upstream.seen().len();
        let answer = self.ask(port).await;
        let seen = upstream.seen().split_off(before);
        let mut faults = Vec::new();
        self.judge_sent(&seen, speaks, &mut faults);
        match answer {
            Some(answer) => self.judge_answer(&answer, &mut faults),
            None => faults.push("no answer".to_owned()),
        }
        faults
    }

    async fn ask(&self, port: SocketAddr) -> Option<Answer> {
        let mut raw = Raw::connect(port).await;
        raw.send(&self.request).await;
        let mut reply = match self.request.starts_with("HEAD ") {
            true => {
                let head = raw.head().await?;
                let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                Reply {
                    status,
                    head,
                    body: Vec::new(),
                }
            }
            false => raw.reply().await?,
        };
        while reply.status == 100 {
            reply = raw.reply().await?;
        }
        let mut still_open = false;
        if self.case.closed && reply.status == self.case.status {
            // What comes behind is nobody's.
            raw.send("GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n").await;
            still_open = !raw.is_closed().await;
        }
        Some(Answer { reply, still_open })
    }

    fn fill(&self, text: &str) -> String {
        fill(&self.words, text)
    }

    fn judge_sent(&self, seen: &[Seen], speaks: Speaks, faults: &mut Vec<String>) {
        let case = self.case;
        let (sent, seen) = match (&case.sent, seen) {
            (None, []) => return,
            (Some(sent), [seen]) => (sent, seen),
            _ => {
                let asked = seen.iter().map(|it| format!("{} {}", it.method, it.uri));
                let asked: Vec<_> = asked.collect();
                faults.push(format!("forwarded: {asked:?}"));
                return;
            }
        };
        let uri: http::Uri = seen.uri.parse().unwrap();
        let target = uri.path_and_query().map_or("/", |it| it.as_str());
        let target = format!("{} {target}", seen.method);
        same(faults, "request", &target, &self.fill(sent));
        let over_http2 = seen.version == http::Version::HTTP_2;
        let upgrade = seen.headers.contains_key("upgrade");
        let expected = speaks == Speaks::Http2 && !upgrade;
        same(faults, "HTTP/2", &over_http2, &expected);
        let host = match over_http2 {
            true => uri.authority().unwrap().as_str(),
            false => seen.headers["host"].to_str().unwrap(),
        };
        if let Some(expected) = &case.host {
            same(faults, "host", &host, &expected.as_str());
        }
        // Whoever it goes to, it is not what the workload wrote.
        if host == "172.30.0.30" {
            faults.push("host is the workload's".to_owned());
        }
        if let Some(body) = &case.sent_body {
            same(faults, "body", &seen.body[..], body.as_bytes());
        }
        let values = |name: &str| {
            let all = seen.headers.get_all(name).iter();
            let all = all.map(|it| it.to_str().unwrap().to_owned());
            all.collect::<Vec<_>>()
        };
        for (name, value) in &case.headers {
            let expected = match value.is_empty() {
                true => Vec::new(),
                false => vec![self.fill(value)],
            };
            same(faults, name, &values(name), &expected);
        }
        for (name, value) in &case.begins {
            let found = values(name);
            match found.as_slice() {
                [one] if one.starts_with(value) => {}
                _ => faults.push(format!("{name} is {found:?}, not {value}…")),
            }
        }
        if let Some(names) = &case.names {
            const CONNECTION: [&str; 3] = ["host", "content-length", "transfer-encoding"];
            let found = seen.headers.keys().map(http::HeaderName::as_str);
            let found: BTreeSet<&str> = found.filter(|it| !CONNECTION.contains(it)).collect();
            let expected: BTreeSet<&str> = names.iter().map(String::as_str).collect();
            same(faults, "all headers", &found, &expected);
        }
    }

    fn judge_answer(&self, answer: &Answer, faults: &mut Vec<String>) {
        let (case, reply) = (self.case, &answer.reply);
        let body = String::from_utf8_lossy(&reply.body);
        if reply.status != case.status {
            let (found, expected) = (reply.status, case.status);
            faults.push(format!("status is {found}, not {expected}: {body}"));
        }
        if answer.still_open {
            faults.push("still open".to_owned());
        }
        if let Some(reason) = &case.reason {
            let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
            let found = [
                &body["reason"],
                &body["error"]["reason"],
                &body["error"]["type"],
                &body["error"],
            ];
            if !found.iter().any(|it| *it == reason.as_str()) {
                faults.push(format!("reason is not {reason}: {body}"));
            }
        }
        for (name, value) in &case.answer {
            let expected = (!value.is_empty()).then(|| self.fill(value));
            let what = format!("{name} of the answer");
            same(faults, &what, &reply.header(name), &expected.as_deref());
        }
        for part in &case.says {
            let part = self.fill(part);
            if !body.contains(&part) {
                faults.push(format!("{part} is not said: {body}"));
            }
        }
    }
}

fn same<T: PartialEq + Debug + ?Sized>(
    faults: &mut Vec<String>,
    what: &str,
    found: &T,
    expected: &T,
) {
    if found != expected {
        faults.push(format!("{what} is {found:?}, not {expected:?}"));
    }
}
