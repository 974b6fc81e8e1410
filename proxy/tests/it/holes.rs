// SPDX-License-Identifier: MIT OR Apache-2.0
//! The holes that other gateways of this kind have, each probed twice with the same words: here, where it has to be closed,
//! and at a model of such a gateway (`peer.rs`), where it has to be open, or the probe shows nothing.
//!
//! Most are rows of the contract's table; what takes more than a request and its answer is a function below. Two are not at
//! the gateway, and are probed in `firewall-user`, by the tests that `wire.toml` names.

use std::{collections::BTreeMap, net::SocketAddr, pin::Pin, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use keyward_emulator::{Alpn, Emulator, Handle, Options, WebSocketMode};
use keyward_proxy::provider::Providers;
use tokio::{io::AsyncWriteExt as _, net::TcpListener, time::timeout};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

use crate::{
    contract::table::{Contract, provider},
    orders::Answer,
    peer::{self, Peer},
    support::{Ca, Gateway, PATIENCE, Raw, Speaks, Upstream, ask},
    websocket::{SMUGGLED, handshake, head, recording},
};

/// Of no maker's shape, and without a part that stands in a log by chance.
const KEY: &str = "Qh7ZkXw2VrT9pLmJ";

/// Where is probed.
#[derive(Clone, Copy, Debug)]
enum At {
    Here,
    Peer,
}

enum Running {
    Here(Box<Gateway>),
    Peer(Peer),
}

/// What a probe says.
#[derive(Debug)]
enum Verdict {
    Closed,
    /// And why.
    Open(String),
}

impl Verdict {
    fn open_if(open: bool, because: &str) -> Self {
        match open {
            true => Self::Open(because.to_owned()),
            false => Self::Closed,
        }
    }
}

impl At {
    /// A gateway in front of `upstream`, if it starts.
    async fn start(
        self,
        upstream: SocketAddr,
        ca: &str,
        settings: &str,
        keys: &[(&str, &str)],
    ) -> Result<Running, String> {
        match self {
            Self::Here => {
                let gateway = Gateway::starting(upstream, ca, settings, keys)?;
                Ok(Running::Here(Box::new(gateway)))
            }
            Self::Peer => Ok(Running::Peer(
                Peer::start(upstream, ca, settings, keys).await,
            )),
        }
    }

    /// The same in front of the emulator.
    async fn before(self, emulator: &Handle, settings: &str) -> Running {
        let (address, ca) = (emulator.addr(), emulator.ca_pem());
        let started = self.start(address, ca, settings, &[("openai", KEY)]);
        started.await.unwrap()
    }
}

impl Running {
    fn port(&self, provider: &str) -> SocketAddr {
        match self {
            Self::Here(gateway) => gateway.ports[provider],
            Self::Peer(peer) => peer.ports[provider],
        }
    }

    fn log(&mut self) -> String {
        match self {
            Self::Here(gateway) => gateway.log_text(),
            Self::Peer(peer) => peer.log.clone(),
        }
    }
}

type Probing = Pin<Box<dyn Future<Output = Verdict>>>;
type Probe = (&'static str, fn(At) -> Probing);

macro_rules! probes {
    ($($name:ident,)*) => { [$((stringify!($name), |at| Box::pin($name(at))),)*] };
}

const PROBES: [Probe; 9] = probes![
    a_client_that_knows_one_name_alone,
    a_credential_for_somebody_else,
    a_credential_in_the_clear,
    a_credential_in_the_clear_unasked,
    a_model_in_a_message,
    a_request_behind_a_refused_handshake,
    an_answer_that_broke_off,
    bytes_behind_a_101_that_proves_nothing,
    parts_of_keys_in_the_log,
];

/// Cases that hold at the peer, too: it serves, and has rules of its own.
const NO_HOLE: [&str; 3] = [
    "another provider's placeholder is harmless",
    "a model that is not allowed, in the body",
    "another in the body",
];

/// All that are probed here, as `wire.toml` names them.
pub(crate) fn names() -> Vec<String> {
    let probes = PROBES.iter().map(|(name, _)| format!("hole: {name}"));
    let contract = Contract::read();
    let cases = contract.world.iter().flat_map(|it| &it.case);
    let cases = cases.filter(|it| !it.open.is_empty());
    probes
        .chain(cases.map(|it| format!("contract: {}", it.name)))
        .collect()
}

#[tokio::test]
async fn each_probe_is_open_at_the_peer_and_closed_here() {
    let mut faults = Vec::new();
    for (name, probe) in PROBES {
        match (probe(At::Here).await, probe(At::Peer).await) {
            (Verdict::Closed, Verdict::Open(because)) => println!("{name}: {because}"),
            (here, peer) => faults.push(format!("{name}: here {here:?}, at the peer {peer:?}")),
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[tokio::test]
async fn each_row_of_a_hole_fails_at_the_peer_as_it_should_and_holds_here() {
    let contract = Contract::read();
    let mut faults = Vec::new();
    for world in &contract.world {
        let mut rows = contract.rows(world);
        rows.retain(|it| !it.case.open.is_empty() || NO_HOLE.contains(&it.case.name.as_str()));
        if rows.is_empty() {
            continue;
        }
        let keys = world.keys.iter().map(|(a, b)| (a.as_str(), b.as_str()));
        let keys: Vec<_> = keys.collect();
        let upstream = Upstream::answering(Speaks::Http1, provider).await;
        for at in [At::Here, At::Peer] {
            let started = at.start(upstream.address, &upstream.ca.pem, &world.settings, &keys);
            let running = started.await.unwrap();
            for row in &rows {
                let port = running.port(row.provider);
                let found = row.faults(port, &upstream, Speaks::Http1).await;
                let shown = |word: &String| found.iter().any(|it| it.starts_with(word));
                let as_it_should = match (at, row.case.open.as_slice()) {
                    (At::Here, _) | (At::Peer, []) => found.is_empty(),
                    (At::Peer, words) => words.iter().all(shown),
                };
                if !as_it_should {
                    faults.push(format!("{at:?}: {}: {found:?}", row.what));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

fn emulator(more: impl FnOnce(&mut Options)) -> Handle {
    let mut options = Options {
        alpn: Alpn::Http1,
        record_bodies: true,
        ..Options::new(KEY, KEY)
    };
    more(&mut options);
    Emulator::start(options).unwrap()
}

/// A WebSocket that was refused is the workload's to send requests of its own through, on an authenticated connection.
async fn a_request_behind_a_refused_handshake(at: At) -> Verdict {
    let emulator = emulator(|it| it.websocket = WebSocketMode::NotFound);
    let running = at.before(&emulator, "").await;
    let mut raw = Raw::connect(running.port("openai")).await;
    raw.send(handshake("")).await;
    assert_eq!(raw.reply().await.unwrap().status, 404);
    raw.send(SMUGGLED).await;
    // Somebody's answer, or the end.
    drop(raw.reply().await);
    let records = emulator.records();
    let arrived = records.iter().any(|it| it.mentions("sk-own"));
    Verdict::open_if(arrived, "a request with the workload's own key arrived")
}

/// A server that does not know WebSocket may say 101 all the same.
async fn bytes_behind_a_101_that_proves_nothing(at: At) -> Verdict {
    let ca = Ca::new();
    let (address, _heads, rest) = recording(&ca, |_| {
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
            .to_owned()
    })
    .await;
    let running = at.start(address, &ca.pem, "", &[("openai", KEY)]);
    let running = running.await.unwrap();
    let mut raw = Raw::connect(running.port("openai")).await;
    raw.send(handshake("")).await;
    drop(raw.head().await.expect("an answer"));
    raw.send("through").await;
    for _ in 0..50 {
        if rest.lock().unwrap().as_slice() == b"through" {
            return Verdict::Open("what came behind the answer arrived".to_owned());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Verdict::Closed
}

/// A model that is denied in a body, asked for in a WebSocket.
async fn a_model_in_a_message(at: At) -> Verdict {
    let emulator = emulator(|_| {});
    let running = at.before(&emulator, "models.deny = ['denied']").await;
    let mut raw = Raw::connect(running.port("openai")).await;
    raw.send(handshake("")).await;
    let answer = raw.head().await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    let mut socket = WebSocketStream::from_raw_socket(raw.stream, Role::Client, None).await;
    let question = r#"{"type":"response.create","model":"denied","input":"x"}"#;
    socket.send(Message::text(question)).await.unwrap();
    // An answer, or the end.
    drop(timeout(PATIENCE, socket.next()).await.expect("either"));
    let records = emulator.records();
    let arrived = records.iter().any(|it| it.mentions("denied"));
    Verdict::open_if(arrived, "a message that asks for the denied model arrived")
}

/// Half an answer that looks whole is acted on.
async fn an_answer_that_broke_off(at: At) -> Verdict {
    let emulator = emulator(|_| {});
    let running = at.before(&emulator, "").await;
    let request = (
        "/v1/responses".to_owned(),
        r#"{"model":"m","stream":true}"#.to_owned(),
    );
    let answer = Answer::of(running.port("openai"), &request, "cut", "a").await;
    Verdict::open_if(answer.unwrap().whole, "it ended as if it were whole")
}

/// Whoever may read logs learns nothing of a key.
async fn parts_of_keys_in_the_log(at: At) -> Verdict {
    let emulator = emulator(|_| {});
    let mut running = at.before(&emulator, "").await;
    let models = "GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n";
    drop(ask(running.port("openai"), models).await);
    let log = running.log();
    assert!(log.contains("openai"), "{log}");
    let part = (0..KEY.len() - 3).map(|at| &KEY[at..at + 4]);
    let part = part.filter(|it| log.contains(it)).collect::<Vec<_>>();
    Verdict::open_if(!part.is_empty(), &format!("{part:?} of the key"))
}

/// A GitHub token, and a target that somebody else set.
async fn a_credential_for_somebody_else(at: At) -> Verdict {
    let upstream = Upstream::hello(Speaks::Http1).await;
    let settings = "provider.copilot.target = 'gw.corp.test'";
    let keys = [("copilot", "ghu_0123456789")];
    let started = at.start(upstream.address, &upstream.ca.pem, settings, &keys);
    let Ok(running) = started.await else {
        return Verdict::Closed;
    };
    drop(ask(running.port("copilot"), MODELS).await);
    let seen = upstream.seen();
    let told = seen[0].headers["authorization"].to_str().unwrap();
    Verdict::open_if(told.contains("ghu_"), "the token went to gw.corp.test")
}

const MODELS: &str = "GET /models HTTP/1.1\r\nHost: x\r\n\r\n";

/// `http://` to another host than this one.
async fn a_credential_in_the_clear(at: At) -> Verdict {
    in_the_clear(
        at,
        "provider.openai = { target = 'http://gw.corp.test', allow-plaintext = true }",
    )
    .await
}

/// `http://` to this host, of which nobody said that it is meant.
async fn a_credential_in_the_clear_unasked(at: At) -> Verdict {
    in_the_clear(at, "provider.openai.target = 'http://127.0.0.1'").await
}

async fn in_the_clear(at: At, settings: &str) -> Verdict {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let Ok(running) = at
        .start(address, &Ca::new().pem, settings, &[("openai", KEY)])
        .await
    else {
        return Verdict::Closed;
    };
    let mut raw = Raw::connect(running.port("openai")).await;
    raw.send(MODELS).await;
    let (mut stream, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    let told = head(&mut stream).await;
    drop(stream.shutdown().await);
    Verdict::open_if(told.contains(KEY), "the key could be read on the way")
}

/// OpenCode and the maker's own libraries are content with `ANTHROPIC_API_KEY` alone.
async fn a_client_that_knows_one_name_alone(at: At) -> Verdict {
    let environment: BTreeMap<String, String> = match at {
        At::Peer => peer::environment("anthropic"),
        At::Here => {
            let table = Providers::builtin();
            let all = table.get("anthropic").unwrap();
            let all = all.workload_environment([127, 0, 0, 1].into());
            all.map(|(name, value)| (name.to_owned(), value)).collect()
        }
    };
    let found = environment.contains_key("ANTHROPIC_API_KEY");
    Verdict::open_if(!found, "it finds no key")
}
