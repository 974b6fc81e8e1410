// SPDX-License-Identifier: MIT OR Apache-2.0
//! One proxy and one upstream.

use std::{
    fs::File,
    io::{Read as _, Seek as _},
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::BytesMut;
use keyward_policy::{Entry, Host, Policy, RawPolicy};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

use crate::{
    credential::Credentials,
    egress::Egress,
    peers::Peers,
    request_log::RequestLog,
    server::{Logs, Server},
    settings::{RawSettings, Settings},
    transparent::flow::Flow,
};

/// Longer than anything here takes, shorter than a person waits.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct World {
    pub(super) egress: Arc<Egress>,
    _server: Server,
    upstream: TcpListener,
    log: RequestLog,
    log_file: File,
    draining: watch::Sender<bool>,
}

/// The workload's end of a connection, and the task that serves the other.
pub(super) struct Client {
    pub(super) stream: TcpStream,
    pub(super) served: JoinHandle<()>,
}

/// `block RULE` blocks, everything else allows.
pub(super) fn policy(rules: &[&str]) -> RawPolicy {
    let mut policy = RawPolicy::default();
    for rule in rules {
        let (list, rule) = match rule.strip_prefix("block ") {
            Some(rule) => (&mut policy.block, rule),
            None => (&mut policy.allow, *rule),
        };
        list.push(Entry {
            rule: rule.to_owned(),
            ..Entry::default()
        });
    }
    policy
}

impl World {
    pub(super) async fn new(rules: &[&str]) -> Self {
        Self::with(rules, "").await
    }

    /// `allowed.test`, `other.test` and `third.test` lead to the upstream. `toml` adds to the settings.
    pub(super) async fn with(rules: &[&str], toml: &str) -> Self {
        let upstream = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = upstream.local_addr().unwrap();
        let mut raw: RawSettings = toml::from_str(toml).unwrap();
        for name in ["allowed.test", "other.test", "third.test"] {
            raw.upstream.resolve.push(format!("{name}={address}"));
        }
        raw.policy = policy(rules);
        let log_file = tempfile::tempfile().unwrap();
        let log = RequestLog::to(log_file.try_clone().unwrap());
        let logs = Logs {
            requests: RequestLog::none(),
            tokens: RequestLog::none(),
            audit: log.clone(),
        };
        let settings = Settings::try_from(raw).unwrap();
        let server = Server::new(settings, Credentials::new(), logs, Peers::unknown()).unwrap();
        Self {
            egress: server.egress(),
            _server: server,
            upstream,
            log,
            log_file,
            draining: watch::Sender::new(false),
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.upstream.local_addr().unwrap()
    }

    /// A connection of the workload's to one of `hosts`.
    pub(super) async fn connect(&self, hosts: &[&str], port: u16) -> Client {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap());
        let (stream, accepted) = tokio::join!(stream, listener.accept());
        let (stream, (accepted, _)) = (stream.unwrap(), accepted.unwrap());
        stream.set_nodelay(true).unwrap();
        let flow = Flow {
            egress: Arc::clone(&self.egress),
            stream: accepted,
            read: BytesMut::new(),
            hosts: hosts.iter().map(|it| it.parse::<Host>().unwrap()).collect(),
            port,
            peer: None,
            draining: self.draining.subscribe(),
        };
        let served = tokio::spawn(flow.serve());
        Client { stream, served }
    }

    /// The upstream's end of the next connection that gets there.
    pub(super) async fn arrived(&self) -> TcpStream {
        let (stream, _) = timeout(PATIENCE, self.upstream.accept())
            .await
            .expect("a connection to the upstream")
            .unwrap();
        stream
    }

    /// Whether nothing got to the upstream. Ask when the connection is over: what dials then is nobody.
    pub(super) async fn nothing_arrived(&self) -> bool {
        let sentinel = TcpStream::connect(self.address()).await.unwrap();
        let (first, peer) = self.upstream.accept().await.unwrap();
        drop(first);
        peer == sentinel.local_addr().unwrap()
    }

    pub(super) fn reload(&self, rules: &[&str]) -> usize {
        self.egress
            .replace_policy(Policy::new(&policy(rules)).unwrap())
    }

    /// The lines so far.
    pub(super) fn lines(&mut self) -> Vec<serde_json::Value> {
        self.log.flush(PATIENCE);
        self.log_file.rewind().unwrap();
        let mut text = String::new();
        self.log_file.read_to_string(&mut text).unwrap();
        text.lines()
            .map(|it| serde_json::from_str(it).unwrap())
            .collect()
    }

    /// Verdict, host and reason of the only line.
    pub(super) fn line(&mut self) -> (String, String, String) {
        let lines = self.lines();
        let [line] = lines.as_slice() else {
            panic!("{lines:#?}");
        };
        let field = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        (field("verdict"), field("host"), field("reason"))
    }
}

impl Client {
    /// What comes until the end, or until a reset, and whether that was one.
    pub(super) async fn rest(&mut self) -> (Vec<u8>, bool) {
        rest(&mut self.stream).await
    }

    /// Waits until the proxy is done with it.
    pub(super) async fn over(self) {
        timeout(PATIENCE, self.served)
            .await
            .expect("an end")
            .unwrap();
    }
}

pub(super) async fn rest(stream: &mut TcpStream) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let result = timeout(PATIENCE, stream.read_to_end(&mut bytes))
        .await
        .expect("an end");
    (bytes, result.is_err())
}

/// The next bytes, all of them.
pub(super) async fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut found = vec![0; bytes.len()];
    timeout(PATIENCE, stream.read_exact(&mut found))
        .await
        .expect("bytes in time")
        .unwrap();
    assert!(found == bytes, "other bytes");
}

pub(super) async fn send(stream: &mut TcpStream, bytes: &[u8]) {
    timeout(PATIENCE, stream.write_all(bytes))
        .await
        .expect("room for bytes")
        .unwrap();
}

/// A real ClientHello, record and all.
pub(super) fn hello(server_name: Option<&str>) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    config.enable_sni = server_name.is_some();
    let name = ServerName::try_from(server_name.unwrap_or("x.test").to_owned()).unwrap();
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

/// The same ClientHello with one more extension.
pub(super) fn extended(hello: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
    // Record 5, message 4, version 2, random 32.
    let mut at = 43;
    at += 1 + usize::from(hello[at]);
    at += 2 + usize::from(u16::from_be_bytes([hello[at], hello[at + 1]]));
    at += 1 + usize::from(hello[at]);
    let mut body = hello[9..at].to_vec();
    let mut extensions = hello[at + 2..].to_vec();
    extensions.extend(kind.to_be_bytes());
    extensions.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    extensions.extend(data);
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[1, length[1], length[2], length[3]], body.as_slice()].concat();
    records(&message, 16 * 1024)
}

/// A handshake message in records of at most so many bytes.
pub(super) fn records(message: &[u8], most: usize) -> Vec<u8> {
    message
        .chunks(most)
        .flat_map(|part| {
            let [high, low] = u16::try_from(part.len()).unwrap().to_be_bytes();
            [&[22, 3, 1, high, low], part].concat()
        })
        .collect()
}
