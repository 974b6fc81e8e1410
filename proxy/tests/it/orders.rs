// SPDX-License-Identifier: MIT OR Apache-2.0
//! A provider that is slow, refuses, cuts off, writes nonsense or never ends (`tests/data/orders.toml`): what the workload
//! gets, what the logs say, and that the next request is none the worse.

use std::{collections::BTreeMap, net::SocketAddr};

use keyward_emulator::{Alpn, Emulator, Handle, Malformed, Options, Provider};
use serde::Deserialize;
use tokio::{io::AsyncReadExt as _, task::JoinSet, time::timeout};

use crate::support::{Gateway, PATIENCE, Raw, Speaks, ask, over_both};

const FILE: &str = include_str!("../data/orders.toml");
/// No maker would know it for its own.
const KEY: &str = "a-key-0123456789";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Orders {
    request: BTreeMap<String, Forms>,
    world: Vec<World>,
}

/// Path and body of a provider's requests.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Forms {
    whole: (String, String),
    stream: Option<(String, String)>,
}

/// One gateway.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct World {
    name: String,
    #[serde(default)]
    settings: String,
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Case {
    name: String,
    /// For the emulator; all have the same outcome.
    orders: Vec<String>,
    /// Only at these providers.
    only: Option<Vec<String>>,
    /// Not at these.
    #[serde(default)]
    except: Vec<String>,
    /// Only one of the two.
    form: Option<Form>,
    over: Option<Speaks>,
    status: Status,
    /// The gateway's own error has this reason, and so has the log.
    reason: Option<String>,
    /// The answer is broken off, if it comes at all; the log has this reason. Otherwise it ends as it should.
    broken: Option<String>,
    /// Headers of the answer; an empty value: absent.
    #[serde(default)]
    answer: BTreeMap<String, String>,
    /// In the answer's body.
    #[serde(default)]
    says: Vec<String>,
    /// Nowhere in the answer, in whatever case.
    #[serde(default)]
    hides: Vec<String>,
    /// What the provider says that it cost is what the gateway writes down. Otherwise it writes down what was said so far,
    /// if anything was.
    #[serde(default)]
    account: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Form {
    Whole,
    Stream,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Status {
    Of(u16),
    /// The one of `status=`.
    AsOrdered(String),
}

#[test]
fn every_malformed_answer_has_its_case() {
    let orders: Orders = toml::from_str(FILE).unwrap();
    let cases = || orders.world.iter().flat_map(|it| &it.case);
    for name in Malformed::names() {
        let order = format!("malformed={name}");
        assert!(cases().any(|it| it.orders.contains(&order)), "{name}");
    }
    for ending in [
        "idle",
        "cut",
        "endless",
        "cut-after=",
        "trickle=",
        "reset",
        "close",
    ] {
        let asks = |it: &Case| it.orders.iter().any(|it| it.contains(ending));
        assert!(cases().any(asks), "{ending}");
    }
}

over_both!(hold);

/// What was asked, and for which case.
struct Asked {
    id: String,
    case: &'static Case,
    what: String,
}

async fn hold(over: Speaks) {
    // Tasks want it to live as long as they may.
    let orders: &'static Orders = Box::leak(Box::new(toml::from_str(FILE).unwrap()));
    let mut faults = Vec::new();
    for world in &orders.world {
        let emulator = emulator(over);
        let keys: Vec<_> = orders.request.keys().map(|it| (it.as_str(), KEY)).collect();
        let mut gateway =
            Gateway::trusting(emulator.addr(), emulator.ca_pem(), &world.settings, &keys);
        // The providers side by side: they share no connection, and some cases take their time.
        let mut providers = JoinSet::new();
        for (name, forms) in &orders.request {
            providers.spawn(at_provider(world, over, name, forms, gateway.ports[name]));
        }
        let (mut asked, mut requests) = (Vec::new(), 0);
        while let Some(done) = providers.join_next().await {
            let (at_provider, more, count) = done.unwrap();
            asked.extend(at_provider);
            faults.extend(more);
            requests += count;
        }
        faults.extend(compare(&mut gateway, &emulator, &asked, requests).await);
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// All cases of one provider. Returns what was asked, what did not hold, and how many requests it took.
async fn at_provider(
    world: &'static World,
    over: Speaks,
    name: &'static String,
    forms: &'static Forms,
    port: SocketAddr,
) -> (Vec<Asked>, Vec<String>, usize) {
    let (mut asked, mut faults, mut requests) = (Vec::new(), Vec::new(), 0);
    for case in &world.case {
        let elsewhere = case.only.as_ref().is_some_and(|it| !it.contains(name));
        let other = case.over.is_some_and(|it| it != over);
        if elsewhere || other || case.except.contains(name) {
            continue;
        }
        let forms = [
            (Form::Whole, Some(&forms.whole)),
            (Form::Stream, forms.stream.as_ref()),
        ];
        for (form, request) in forms {
            let Some(request) = request.filter(|_| case.form.is_none_or(|it| it == form)) else {
                continue;
            };
            for order in &case.orders {
                let what = format!("{}: {}: {name}: {form:?}: {order:?}", world.name, case.name);
                let id = format!("{name}-{}", asked.len());
                // All cases that do not hold are told at once.
                match Answer::of(port, request, order, &id).await {
                    None if case.broken.is_some() => {}
                    None => faults.push(format!("{what}: no answer")),
                    Some(answer) => {
                        let judge = || case.judge(order, &answer, &what);
                        if std::panic::catch_unwind(judge).is_err() {
                            faults.push(what.clone());
                        }
                    }
                }
                requests += 1;
                // A connection that is just being closed may cost a request, and no more.
                let mut well = false;
                for _ in 0..3 {
                    let next = Answer::of(port, request, "", "next").await;
                    requests += 1;
                    well = next.is_some_and(|it| {
                        it.status == 200 && it.whole && it.text().contains("emulator.")
                    });
                    if well {
                        break;
                    }
                }
                if !well {
                    faults.push(format!("{what}: the next request fails"));
                }
                asked.push(Asked { id, case, what });
            }
        }
    }
    (asked, faults, requests)
}

fn emulator(over: Speaks) -> Handle {
    let more = [
        Provider::Copilot,
        Provider::Gemini,
        Provider::Vertex,
        Provider::Bedrock,
    ];
    Emulator::start(Options {
        alpn: match over {
            Speaks::Http1 => Alpn::Http1,
            Speaks::Http2 | Speaks::OnlyHttp2 => Alpn::Http2,
        },
        more_keys: more.map(|it| (it, KEY.to_owned())).into(),
        ..Options::new(KEY, KEY)
    })
    .unwrap()
}

/// What came back.
pub(crate) struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
    /// It ended as its head says.
    pub(crate) whole: bool,
}

impl Answer {
    pub(crate) async fn of(
        port: SocketAddr,
        (path, body): &(String, String),
        order: &str,
        id: &str,
    ) -> Option<Self> {
        let mut raw = Raw::connect(port).await;
        let order = match order {
            "" => String::new(),
            order => format!("X-Emulator: {order}\r\n"),
        };
        raw.send(format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-Id: {id}\r\n{order}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
        let head = timeout(PATIENCE, raw.head()).await.ok()??;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut rest = std::mem::take(&mut raw.buffer);
        // A reset is an end, too.
        let reading = raw.stream.read_to_end(&mut rest);
        drop(timeout(PATIENCE, reading).await.ok()?);
        let mut answer = Self {
            status,
            head,
            body: Vec::new(),
            whole: false,
        };
        answer.unframe(&rest);
        Some(answer)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// Takes the body out of its framing, as far as it came.
    fn unframe(&mut self, mut rest: &[u8]) {
        if let Some(length) = self.header("content-length") {
            self.whole = rest.len() == length.parse::<usize>().unwrap();
            self.body = rest.to_vec();
            return;
        }
        assert_eq!(self.header("transfer-encoding"), Some("chunked"));
        while let Some(end) = rest.windows(2).position(|it| it == b"\r\n") {
            let size = std::str::from_utf8(&rest[..end]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            let Some(chunk) = rest.get(end + 2..end + 2 + size) else {
                return;
            };
            self.body.extend(chunk);
            rest = rest.get(end + 2 + size + 2..).unwrap_or_default();
            if size == 0 {
                // Nothing may stand behind it.
                self.whole = rest.is_empty();
                return;
            }
        }
    }

    fn text(&self) -> String {
        format!("{}\n\n{}", self.head, String::from_utf8_lossy(&self.body))
    }
}

impl Case {
    fn judge(&self, order: &str, answer: &Answer, what: &str) {
        let text = answer.text();
        let expected = match &self.status {
            Status::Of(status) => *status,
            Status::AsOrdered(it) => {
                assert_eq!(it, "as ordered");
                let (status, _) = order["status=".len()..].split_at(3);
                status.parse().unwrap()
            }
        };
        let short: String = text.chars().take(2000).collect();
        assert_eq!(answer.status, expected, "{what}: {short}");
        assert_eq!(answer.whole, self.broken.is_none(), "{what}: {short}");
        if let Some(reason) = &self.reason {
            let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(body["error"]["type"], "upstream_error", "{what}: {body}");
            assert_eq!(body["error"]["reason"], reason.as_str(), "{what}: {body}");
        }
        for (name, value) in &self.answer {
            let expected = (!value.is_empty()).then_some(value.as_str());
            assert_eq!(answer.header(name), expected, "{what}: {name}");
        }
        for part in &self.says {
            assert!(text.contains(part), "{what}: {part} in {short}");
        }
        for part in &self.hides {
            let lower = text.to_lowercase();
            assert!(!lower.contains(part), "{what}: {part} in {short}");
        }
    }
}

/// The logs, held against what the cases say and what the provider knows of itself.
async fn compare(
    gateway: &mut Gateway,
    emulator: &Handle,
    asked: &[Asked],
    requests: usize,
) -> Vec<String> {
    let mut faults = Vec::new();
    let lines = gateway.log(requests).await;
    assert_eq!(lines.len(), requests, "one line a request");
    let lines: BTreeMap<&str, _> = lines
        .iter()
        .map(|it| (it["request_id"].as_str().unwrap(), it))
        .collect();
    let accounts = gateway.tokens();
    let records = emulator.records();
    for Asked { id, case, what } in asked {
        let line = lines[id.as_str()];
        let complete = case.broken.is_none();
        let reason = case.broken.as_deref().or(case.reason.as_deref());
        if line["reason"].as_str() != reason || (line["complete"] != complete) {
            faults.push(format!("{what}: the log: {line}"));
        }
        let mut told = records
            .iter()
            .filter(|it| it.header("x-request-id").any(|it| it == id));
        let told = told
            .next()
            .map_or((0, 0), |it| (it.input_tokens, it.output_tokens));
        let counts = |it: &serde_json::Value, name: &str| it[name].as_u64().unwrap();
        let written: Vec<_> = accounts
            .iter()
            .filter(|it| it["request_id"] == id.as_str())
            .map(|it| (counts(it, "input_tokens"), counts(it, "output_tokens")))
            .collect();
        let right = match (case.account, written.as_slice()) {
            (true, [all]) => *all == told,
            (false, []) => true,
            // Anthropic says at once what went in.
            (false, [(input, output)]) => {
                case.broken.is_some() && *input == told.0 && *output < told.1
            }
            _ => false,
        };
        if !right {
            faults.push(format!("{what}: {written:?} of {told:?} was written down"));
        }
    }
    let all = gateway.log_text();
    if all.contains(KEY) {
        faults.push("the key is in the log".to_owned());
    }
    let open = ask(
        gateway.openai,
        "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    .await;
    let open = String::from_utf8(open.body).unwrap();
    let active =
        |line: &&str| line.starts_with("keyward_requests_active{") && !line.ends_with("} 0");
    // This very request is the one that is.
    if open.lines().filter(active).count() > 1 {
        faults.push(format!("something is still going on: {open}"));
    }
    faults
}
