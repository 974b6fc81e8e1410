// SPDX-License-Identifier: MIT OR Apache-2.0
//! The transparent door as a workload meets it: a name is looked up, the address that was answered is dialled, and the
//! kernel (here: a table) says where the connection was going.

use std::{
    collections::HashMap,
    fs::File,
    io::{Read as _, Seek as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener as StdListener, UdpSocket as StdSocket},
    sync::{Arc, Mutex},
};

use firewall_common::{Address, Destination, FlowInfo, Owner};
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RData, RecordType},
};
use keyward_proxy::{
    credential::Credentials,
    peers::Peers,
    request_log::RequestLog,
    server::{Logs, Server},
    settings::{RawSettings, Settings},
};
use rustls::pki_types::ServerName;
use tokio::{
    net::{TcpSocket, UdpSocket},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    doors::Site,
    support::{PATIENCE, Raw},
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// Which connection, by its source, was going where.
type Table = Arc<Mutex<HashMap<SocketAddr, SocketAddr>>>;

struct World {
    transparent: SocketAddr,
    dns: SocketAddr,
    table: Table,
    log: RequestLog,
    log_file: File,
    task: JoinHandle<()>,
}

impl World {
    fn new(rules: &[&str], hosts: &[(&str, SocketAddr)]) -> Self {
        let mut raw = RawSettings::default();
        raw.policy.allow.extend(rules.iter().map(|rule| {
            let mut entry = keyward_policy::Entry::default();
            (*rule).clone_into(&mut entry.rule);
            entry
        }));
        for (host, address) in hosts {
            raw.upstream.resolve.push(format!("{host}={address}"));
        }
        let log_file = tempfile::tempfile().unwrap();
        let log = RequestLog::to(log_file.try_clone().unwrap());
        let logs = Logs {
            requests: RequestLog::none(),
            tokens: RequestLog::none(),
            audit: log.clone(),
        };
        let table = Table::default();
        let known = Arc::clone(&table);
        let peers = Peers::from_fn(move |_, from| {
            let original = *known.lock().unwrap().get(&from)?;
            let ip = match original.ip() {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            let address = Address::from_bytes(ip.octets());
            Some(FlowInfo {
                owner: Owner {
                    tgid: 4711,
                    ..Owner::UNKNOWN
                },
                original: Destination::new(address, original.port()),
                reserved: 0,
            })
        });
        let settings = Settings::try_from(raw).unwrap();
        let mut server = Server::new(settings, Credentials::new(), logs, peers).unwrap();
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let transparent = listener.local_addr().unwrap();
        server.add_transparent(listener).unwrap();
        let socket = StdSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let dns = socket.local_addr().unwrap();
        server.add_dns_udp(socket).unwrap();
        let task = tokio::spawn(server.run(std::future::pending()));
        Self {
            transparent,
            dns,
            table,
            log,
            log_file,
            task,
        }
    }

    /// The address that our DNS gives out for a name.
    async fn address(&self, name: &str, kind: RecordType) -> IpAddr {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        socket.connect(self.dns).await.unwrap();
        socket.send(&message.to_vec().unwrap()).await.unwrap();
        let mut buffer = [0; 4096];
        let count = timeout(PATIENCE, socket.recv(&mut buffer)).await;
        let answer = Message::from_vec(&buffer[..count.expect("an answer").unwrap()]).unwrap();
        let data = &answer.answers.first().expect("an address").data;
        if let RData::A(address) = data {
            return IpAddr::V4(address.0);
        }
        let RData::AAAA(address) = data else {
            panic!("{data}");
        };
        IpAddr::V6(address.0)
    }

    /// A connection that was going to `original`.
    async fn connect(&self, original: Option<SocketAddr>) -> Raw {
        let socket = TcpSocket::new_v4().unwrap();
        socket
            .bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .unwrap();
        if let Some(original) = original {
            let from = socket.local_addr().unwrap();
            self.table.lock().unwrap().insert(from, original);
        }
        let stream = socket.connect(self.transparent).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Raw {
            stream,
            buffer: Vec::new(),
            patience: PATIENCE,
        }
    }

    /// Reasons (or verdicts, where there is none) of the lines about connections.
    fn verdicts(&mut self) -> Vec<String> {
        self.log.flush(PATIENCE);
        self.log_file.rewind().unwrap();
        let mut text = String::new();
        self.log_file.read_to_string(&mut text).unwrap();
        let lines = text
            .lines()
            .map(|it| serde_json::from_str::<serde_json::Value>(it).unwrap())
            .filter(|it| it["door"] == "transparent");
        lines
            .map(|it| {
                let text = |name: &str| it[name].as_str().map(str::to_owned);
                let what = text("reason").or_else(|| text("verdict")).unwrap();
                format!("{} {what}", text("host").unwrap())
            })
            .collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn hello(server_name: &str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(server_name.to_owned()).unwrap();
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn an_address_that_was_answered_leads_to_its_name_and_no_other() {
    let site = Site::answering(OK).await;
    let names = [("example.com", site.address), ("example.org", site.address)];
    let mut world = World::new(&["example.com", "example.org"], &names);
    let (right, wrong) = (hello("example.com"), hello("example.org"));
    for kind in [RecordType::A, RecordType::AAAA] {
        let address = world.address("example.com.", kind).await;
        let original = SocketAddr::new(address, 443);
        let mut raw = world.connect(Some(original)).await;
        raw.send(&wrong).await;
        assert!(!raw.is_closed().await);
        assert_eq!(raw.buffer, [21, 3, 3, 0, 2, 2, 112]);
        drop(raw);
        let mut raw = world.connect(Some(original)).await;
        raw.send(&right).await;
        // Bytes that the site answers, so that they are known to have arrived.
        raw.send("\r\n\r\n").await;
        assert_eq!(raw.reply().await.unwrap().status, 200);
    }
    let arrived: Vec<_> = site.seen().iter().map(|it| it.len()).collect();
    assert_eq!(arrived.len(), 2, "{arrived:?}");
    let denied = "example.com name_mismatch".to_owned();
    assert_eq!(world.verdicts()[0], denied);
}

#[tokio::test]
async fn an_address_that_was_not_answered_leads_nowhere() {
    let site = Site::answering(OK).await;
    let mut world = World::new(&["example.com"], &[("example.com", site.address)]);
    let given = world.address("example.com.", RecordType::A).await;
    for address in ["198.19.250.1:443", "192.0.2.1:443"] {
        let mut raw = world.connect(Some(address.parse().unwrap())).await;
        raw.send(&hello("example.com")).await;
        assert!(raw.is_closed().await);
    }
    // Nor does one that nobody saw being made.
    let mut raw = world.connect(None).await;
    raw.send(&hello("example.com")).await;
    assert!(raw.is_closed().await);
    let verdicts = world.verdicts();
    assert_eq!(verdicts[0], "198.19.250.1 stale_address");
    assert_eq!(verdicts[1], "192.0.2.1 address_not_allowed");
    assert!(verdicts[2].ends_with("unknown_peer"), "{verdicts:?}");
    assert!(site.seen().is_empty());
    let mut raw = world.connect(Some(SocketAddr::new(given, 443))).await;
    raw.send(hello("example.com")).await;
    raw.send("\r\n\r\n").await;
    assert_eq!(raw.reply().await.unwrap().status, 200);
}

#[tokio::test]
async fn every_plain_request_is_judged() {
    let site = Site::answering(OK).await;
    let names = [("example.com", site.address), ("example.org", site.address)];
    let world = World::new(&["example.com"], &names);
    let address = world.address("example.com.", RecordType::A).await;
    let get = |host: &str| format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let mut raw = world.connect(Some(SocketAddr::new(address, 80))).await;
    // In pieces.
    raw.send("GE").await;
    tokio::task::yield_now().await;
    raw.send(&get("example.com")[2..]).await;
    assert_eq!(raw.reply().await.unwrap().status, 200);
    raw.send(get("EXAMPLE.com.")).await;
    assert_eq!(raw.reply().await.unwrap().status, 200);
    raw.send(get("example.org")).await;
    let reply = raw.reply().await.unwrap();
    assert!((400..500).contains(&reply.status), "{}", reply.head);
    let seen = site.seen().concat();
    assert!(
        !seen.contains("example.org") && seen.contains("example.com"),
        "{seen}"
    );
}
