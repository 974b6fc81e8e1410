// SPDX-License-Identifier: MIT OR Apache-2.0
//! The wire contract, as a table (`tests/data/contract.toml`): for every provider what is asked at its
//! port, byte by byte, and what reaches the provider, over HTTP/1.1 and HTTP/2.

pub(crate) mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use keyward_proxy::provider::Providers;
use tokio::{io::AsyncWriteExt as _, time::sleep};

use self::table::{Contract, placeholder, provider};
use crate::{
    support::{Ca, Gateway, Nobody, PATIENCE, Raw, Speaks, Upstream, ask, over_both, raw_upstream},
    websocket::{accept, head},
};

#[test]
fn every_provider_has_its_cases() {
    let contract = Contract::read();
    let table = Providers::builtin();
    let builtin: BTreeSet<&str> = table.iter().map(|it| it.name.as_str()).collect();
    let asked: BTreeSet<&str> = contract.inference.keys().map(String::as_str).collect();
    assert_eq!(builtin, asked);
    let cases = || contract.world.iter().flat_map(|it| &it.case);
    for name in builtin {
        let own = cases().filter(|it| it.providers.iter().any(|one| one == name));
        assert!(own.count() >= 3, "{name}");
    }
}

#[test]
fn the_commands_variables_are_the_contracts() {
    let contract = Contract::read();
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

over_both!(hold);

async fn hold(speaks: Speaks) {
    let contract = Contract::read();
    let mut faults = Vec::new();
    for world in &contract.world {
        let upstream = Upstream::answering(speaks, provider).await;
        let keys: Vec<_> = world
            .keys
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect();
        let nobody = Nobody::here();
        let address = match world.unreachable {
            true => nobody.address,
            false => upstream.address,
        };
        let mut gateway = Gateway::serving(address, &upstream.ca, &world.settings, &keys);
        let mut asked = 0;
        for row in contract.rows(world) {
            let found = row.faults(gateway.ports[row.provider], &upstream, speaks);
            let found = found.await;
            // All rows that do not hold are told at once.
            if !found.is_empty() {
                faults.push(format!("{}: {found:?}", row.what));
            }
            asked += usize::from(!row.case.unlogged);
        }
        // One line a request. (The last one's may be a moment behind its answer.)
        let deadline = Instant::now() + PATIENCE;
        let mut lines = gateway.log_text().lines().count();
        while lines < asked && Instant::now() < deadline {
            sleep(Duration::from_millis(5)).await;
            lines = gateway.log_text().lines().count();
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
    let contract = Contract::read();
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
            let reply = ask(gateway.ports[name.as_str()], request).await;
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
