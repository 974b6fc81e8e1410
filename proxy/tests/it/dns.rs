// SPDX-License-Identifier: MIT OR Apache-2.0
//! The DNS door over sockets, and the servers that are asked for real addresses, with a name server of one's own.

use std::{
    collections::HashMap,
    convert::Infallible,
    fs::File,
    io::{Read as _, Seek as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener as StdListener, UdpSocket as StdSocket},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, Record, RecordType},
};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use keyward_proxy::{
    credential::Credentials,
    peers::Peers,
    request_log::RequestLog,
    server::{Logs, Server},
    settings::{RawSettings, Settings},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use crate::support::{Ca, Gateway, PATIENCE, Speaks, Upstream, ask as ask_gateway};

/// A name server: UDP and TCP on loopback.
pub(crate) struct Zone {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    names: HashMap<&'static str, Vec<IpAddr>>,
    seen: Mutex<Vec<String>>,
}

/// Names with a meaning of their own.
const SLOW: &str = "slow.example.com.";
const BROKEN: &str = "broken.example.com.";
const LONG: &str = "long.example.com.";

impl State {
    async fn answer(&self, query: &[u8], udp: bool) -> Vec<u8> {
        let query = Message::from_vec(query).unwrap();
        let question = query.queries[0].clone();
        let name = question.name().to_ascii().to_ascii_lowercase();
        self.seen
            .lock()
            .unwrap()
            .push(format!("{name} {}", question.query_type()));
        if name == SLOW {
            std::future::pending::<()>().await;
        }
        let mut answer = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
        answer.metadata.recursion_available = true;
        answer.queries.clone_from(&query.queries);
        answer.metadata.response_code = match self.names.get(name.as_str()) {
            _ if name == BROKEN => ResponseCode::ServFail,
            None => ResponseCode::NXDomain,
            Some(_) if udp && name == LONG => {
                answer.metadata.truncation = true;
                ResponseCode::NoError
            }
            Some(addresses) => {
                let asked = |it: &&IpAddr| (question.query_type() == RecordType::A) == it.is_ipv4();
                for address in addresses.iter().filter(asked) {
                    let name = question.name().clone();
                    answer.add_answer(Record::from_rdata(name, 30, RData::from(*address)));
                }
                ResponseCode::NoError
            }
        };
        answer.to_vec().unwrap()
    }
}

impl Zone {
    pub(crate) async fn new(names: &[(&'static str, &[&str])]) -> Self {
        let names = names.iter().map(|(name, addresses)| {
            let addresses = addresses.iter().map(|it| it.parse().unwrap()).collect();
            (*name, addresses)
        });
        let state = Arc::new(State {
            names: names.collect(),
            ..State::default()
        });
        let (socket, listener) = loop {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let address = socket.local_addr().unwrap();
            if let Ok(listener) = TcpListener::bind(address).await {
                break (Arc::new(socket), listener);
            }
        };
        let address = socket.local_addr().unwrap();
        let udp = tokio::spawn({
            let state = Arc::clone(&state);
            async move {
                let mut buffer = [0; 4096];
                loop {
                    let (count, from) = socket.recv_from(&mut buffer).await.unwrap();
                    let (state, socket) = (Arc::clone(&state), Arc::clone(&socket));
                    let query = buffer[..count].to_vec();
                    tokio::spawn(async move {
                        let answer = state.answer(&query, true).await;
                        socket.send_to(&answer, from).await.unwrap();
                    });
                }
            }
        });
        let tcp = tokio::spawn({
            let state = Arc::clone(&state);
            async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let state = Arc::clone(&state);
                    tokio::spawn(async move {
                        while let Ok(length) = stream.read_u16().await {
                            let mut query = vec![0; length.into()];
                            stream.read_exact(&mut query).await.unwrap();
                            let answer = state.answer(&query, false).await;
                            let length = u16::try_from(answer.len()).unwrap();
                            stream.write_u16(length).await.unwrap();
                            stream.write_all(&answer).await.unwrap();
                        }
                    });
                }
            }
        });
        Self {
            address,
            state,
            tasks: vec![udp, tcp],
        }
    }

    /// DNS over HTTPS in front of the same names.
    async fn https(&mut self, ca: &Ca) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(ca.server());
        let state = Arc::clone(&self.state);
        self.tasks.push(tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(move |request: Request<Incoming>| {
                        let state = Arc::clone(&state);
                        async move {
                            assert_eq!(request.uri().path(), "/ask/here");
                            let query = request.into_body().collect().await.unwrap().to_bytes();
                            let answer = state.answer(&query, false).await;
                            let response = Response::builder()
                                .header("content-type", "application/dns-message")
                                .body(Full::new(Bytes::from(answer)))
                                .unwrap();
                            Ok::<_, Infallible>(response)
                        }
                    });
                    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    drop(
                        builder
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                });
            }
        }));
        address
    }

    fn seen(&self) -> Vec<String> {
        self.state.seen.lock().unwrap().clone()
    }
}

impl Drop for Zone {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// The door.
struct Door {
    address: SocketAddr,
    socket: UdpSocket,
    log: RequestLog,
    file: File,
    drain: Option<tokio::sync::oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Door {
    async fn new(toml: &str) -> Self {
        Self::with(toml, None).await
    }

    async fn with(toml: &str, ca: Option<&Ca>) -> Self {
        let mut raw: RawSettings = toml::from_str(toml).unwrap();
        if let Some(ca) = ca {
            raw.upstream.ca_pem.push(ca.pem.clone());
            raw.upstream.system_roots = Some(false);
        }
        let file = tempfile::tempfile().unwrap();
        let log = RequestLog::to(file.try_clone().unwrap());
        let logs = Logs {
            requests: RequestLog::none(),
            tokens: RequestLog::none(),
            audit: log.clone(),
        };
        let settings = Settings::try_from(raw).unwrap();
        let mut server = Server::new(settings, Credentials::new(), logs, Peers::unknown()).unwrap();
        let (udp, tcp) = loop {
            let udp = StdSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            if let Ok(tcp) = StdListener::bind(udp.local_addr().unwrap()) {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        server.add_dns_udp(udp).unwrap();
        server.add_dns_tcp(tcp).unwrap();
        server.load_roots().unwrap();
        let (drain, drained) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(server.run(async {
            if drained.await.is_err() {
                std::future::pending::<()>().await;
            }
        }));
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        socket.connect(address).await.unwrap();
        Self {
            address,
            socket,
            log,
            file,
            drain: Some(drain),
            task,
        }
    }

    async fn send(&self, name: &str, kind: RecordType) {
        self.socket.send(&query(name, kind)).await.unwrap();
    }

    async fn answer(&self) -> Message {
        let mut buffer = [0; 4096];
        let count = timeout(PATIENCE, self.socket.recv(&mut buffer)).await;
        Message::from_vec(&buffer[..count.expect("an answer").unwrap()]).unwrap()
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Message {
        self.send(name, kind).await;
        self.answer().await
    }

    async fn ask_tcp(&self, name: &str, kind: RecordType) -> Message {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let query = query(name, kind);
        // Byte by byte: where segments end means nothing.
        for byte in [
            &u16::try_from(query.len()).unwrap().to_be_bytes(),
            &query[..],
        ]
        .concat()
        {
            stream.write_all(&[byte]).await.unwrap();
        }
        let length = timeout(PATIENCE, stream.read_u16()).await.unwrap().unwrap();
        let mut answer = vec![0; length.into()];
        stream.read_exact(&mut answer).await.unwrap();
        Message::from_vec(&answer).unwrap()
    }

    /// The audit log so far.
    fn lines(&mut self) -> Vec<serde_json::Value> {
        self.log.flush(PATIENCE);
        self.file.rewind().unwrap();
        let mut text = String::new();
        self.file.read_to_string(&mut text).unwrap();
        let lines = text.lines().map(|it| serde_json::from_str(it).unwrap());
        lines.collect()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn query(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.to_vec().unwrap()
}

fn addresses(message: &Message) -> Vec<String> {
    let of = |record: &Record| record.data.ip_addr().unwrap().to_string();
    assert_eq!(message.metadata.response_code, ResponseCode::NoError);
    let mut addresses: Vec<_> = message.answers.iter().map(of).collect();
    addresses.sort();
    addresses
}

fn settings(zone: &Zone, more: &str) -> String {
    format!(
        "dns.servers = ['{}']\npolicy.allow = [{{ rule = 'example.com' }}]\n{more}",
        zone.address
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_answered_and_denied_and_nobody_else_is_asked() {
    let zone = Zone::new(&[("www.example.com.", &["1.2.3.4"])]).await;
    let mut door = Door::new(&settings(&zone, "run = 'r'")).await;
    let first = door.ask("www.example.com.", RecordType::A).await;
    assert_eq!(addresses(&first), ["198.18.0.1"]);
    let again = door.ask_tcp("www.Example.com.", RecordType::A).await;
    assert_eq!(addresses(&again), ["198.18.0.1"]);
    let other = door.ask_tcp("api.example.com.", RecordType::AAAA).await;
    assert_eq!(addresses(&other), ["fd6b:6579:7761:7265::c612:2"]);
    let denied = ResponseCode::NXDomain;
    for name in ["example.org.", "secret.example.org."] {
        assert_eq!(
            door.ask(name, RecordType::A).await.metadata.response_code,
            denied
        );
        let over_tcp = door.ask_tcp(name, RecordType::TXT).await;
        assert_eq!(over_tcp.metadata.response_code, denied);
    }
    let text = door.ask("example.com.", RecordType::TXT).await;
    assert!(addresses(&text).is_empty());
    door.socket.send(&[0; 12]).await.unwrap();
    assert_eq!(
        door.answer().await.metadata.response_code,
        ResponseCode::FormErr
    );
    // The same again is not written down again.
    door.ask("www.example.com.", RecordType::A).await;
    assert_eq!(zone.seen(), [""; 0]);

    let told: Vec<String> = door
        .lines()
        .iter()
        .map(|it| {
            let names = [
                "run", "door", "verdict", "host", "type", "protocol", "address", "rule", "reason",
                "remedy",
            ];
            let fields = names.iter().filter_map(|name| it[*name].as_str());
            fields.collect::<Vec<_>>().join(" ")
        })
        .collect();
    assert_eq!(
        told,
        [
            "r dns allow www.example.com A udp 198.18.0.1 example.com",
            "r dns allow www.example.com A tcp 198.18.0.1 example.com",
            "r dns allow api.example.com AAAA tcp 198.18.0.2 example.com",
            "r dns deny example.org A udp host_not_allowed example.org",
            "r dns deny example.org TXT tcp host_not_allowed example.org",
            "r dns deny secret.example.org A udp host_not_allowed secret.example.org",
            "r dns deny secret.example.org TXT tcp host_not_allowed secret.example.org",
            "r dns deny example.com TXT udp query_not_answered",
            "r dns deny   udp bad_query",
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_says_what_would_have_been_denied() {
    let mut door = Door::new("policy.mode = 'audit'").await;
    let answer = door.ask("example.org.", RecordType::A).await;
    assert_eq!(addresses(&answer), ["198.18.0.1"]);
    let lines = door.lines();
    assert_eq!(lines[0]["verdict"], "allow");
    assert_eq!(lines[0]["audited"], "host_not_allowed");
    assert_eq!(lines[0]["remedy"], "example.org");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_in_the_last_moment_is_written_down() {
    let mut door = Door::new("").await;
    let (socket, address) = (
        StdSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(),
        door.address,
    );
    for number in 0..100 {
        let name = format!("n{number}.test.");
        socket
            .send_to(&query(&name, RecordType::A), address)
            .unwrap();
    }
    door.drain.take().unwrap().send(()).unwrap();
    timeout(PATIENCE, &mut door.task).await.unwrap().unwrap();
    assert_eq!(door.lines().len(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_denials_is_counted_and_not_written_down() {
    let mut door = Door::new("").await;
    for _ in 0..140 {
        for _ in 0..50 {
            door.send("example.org.", RecordType::A).await;
        }
        for _ in 0..50 {
            door.answer().await;
        }
    }
    let (mut written, mut lost) = (0, 0);
    for line in door.lines() {
        match line["event"].as_str() {
            Some("decision") => written += 1,
            Some("lines_lost") => lost += line["lines"].as_u64().unwrap(),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((written, lost), (6000, 1000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_are_answered() {
    let door = Door::new("policy.allow = [{ rule = 'example.com' }]").await;
    for round in 0..20 {
        for number in 0..50 {
            let name = format!("n{round}-{number}.example.com.");
            door.send(&name, RecordType::A).await;
        }
        for _ in 0..50 {
            assert_eq!(addresses(&door.answer().await).len(), 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_answers_are_the_names_own_addresses_as_far_as_they_may_be_dialled() {
    let long: Vec<String> = (1..=100).map(|it| format!("1.2.3.{it}")).collect();
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    let zone = Zone::new(&[
        ("www.example.com.", &["1.2.3.4", "2606:4700::1", "10.0.0.1"]),
        (
            "rebound.example.com.",
            &["127.0.0.1", "169.254.169.254", "::ffff:10.0.0.1", "fd00::1"],
        ),
        ("listed.example.com.", &["10.9.0.1", "10.0.0.1"]),
        (LONG, &long),
        (SLOW, &[]),
        ("secret.example.org.", &["1.2.3.4"]),
    ])
    .await;
    let more = "dns.answers = 'real'\nupstream.resolve = ['fixed.example.com=127.0.0.5:1']\n\
                policy.host_ports = [[5432, 5432]]";
    let more = more.to_owned();
    let toml = settings(&zone, &more).replace(
        "{ rule = 'example.com' }",
        "{ rule = 'example.com' }, { rule = '10.9.0.0/16:5432' }",
    );
    let door = Door::new(&toml).await;
    // Whoever is slow is slow alone.
    door.send(SLOW, RecordType::A).await;

    let answer = door.ask("www.example.com.", RecordType::A).await;
    assert_eq!(addresses(&answer), ["1.2.3.4"]);
    assert!(answer.answers[0].ttl <= 30, "{}", answer.answers[0].ttl);
    let answer = door.ask("www.example.com.", RecordType::AAAA).await;
    assert_eq!(addresses(&answer), ["2606:4700::1"]);
    for (name, expected) in [
        ("rebound.example.com.", vec![]),
        ("listed.example.com.", vec!["10.9.0.1"]),
        ("fixed.example.com.", vec!["127.0.0.5"]),
        ("host.docker.internal.", vec!["198.18.0.1"]),
    ] {
        assert_eq!(
            addresses(&door.ask(name, RecordType::A).await),
            expected,
            "{name}"
        );
        assert!(addresses(&door.ask(name, RecordType::AAAA).await).len() < 2);
    }
    let code = |it: Message| it.metadata.response_code;
    let missing = door.ask("missing.example.com.", RecordType::A).await;
    assert_eq!(code(missing), ResponseCode::NXDomain);
    let broken = door.ask(BROKEN, RecordType::A).await;
    assert_eq!(code(broken), ResponseCode::ServFail);
    // Longer than a datagram holds, both on the way here and from here.
    let long = door.ask(LONG, RecordType::A).await;
    assert!(long.metadata.truncation && long.answers.is_empty());
    let long = door.ask_tcp(LONG, RecordType::A).await;
    assert_eq!(addresses(&long).len(), 100);

    // A name that is denied is not looked up.
    assert!(!zone.seen().is_empty());
    let denied = door.ask("secret.example.org.", RecordType::A).await;
    assert_eq!(code(denied), ResponseCode::NXDomain);
    assert!(!zone.seen().iter().any(|it| it.contains("secret")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dns_over_https_is_asked_and_its_certificate_verified() {
    let ca = Ca::for_names(&["127.0.0.1"]);
    let mut zone = Zone::new(&[("www.example.com.", &["1.2.3.4"])]).await;
    let service = zone.https(&ca).await;
    let toml = format!(
        "dns.servers = ['https://127.0.0.1:{}/ask/here']\ndns.answers = 'real'\n\
         policy.allow = [{{ rule = 'example.com' }}]",
        service.port()
    );
    let door = Door::with(&toml, Some(&ca)).await;
    let answer = door.ask("www.example.com.", RecordType::A).await;
    assert_eq!(addresses(&answer), ["1.2.3.4"]);
    let missing = door.ask("missing.example.com.", RecordType::A).await;
    assert_eq!(missing.metadata.response_code, ResponseCode::NXDomain);

    let before = zone.seen().len();
    let stranger = Ca::for_names(&["127.0.0.1"]);
    let door = Door::with(&toml, Some(&stranger)).await;
    let answer = door.ask("www.example.com.", RecordType::A).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(zone.seen().len(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_server_is_passed_over() {
    let zone = Zone::new(&[("www.example.com.", &["1.2.3.4"])]).await;
    let dead = StdSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let dead = dead.local_addr().unwrap();
    let toml = settings(&zone, "dns.answers = 'real'").replace("['", &format!("['{dead}', '"));
    let door = Door::new(&toml).await;
    let answer = timeout(
        Duration::from_secs(5),
        door.ask("www.example.com.", RecordType::A),
    );
    assert_eq!(addresses(&answer.await.unwrap()), ["1.2.3.4"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_asks_the_same_servers() {
    let upstream = Upstream::hello(Speaks::Http1).await;
    let zone = Zone::new(&[("api.openai.com.", &["127.0.0.1"])]).await;
    let toml = format!(
        "dns.servers = ['{}']\nupstream.resolve = ['x.test=127.0.0.1:1']\n\
         provider.openai.target = 'api.openai.com:{}'",
        zone.address,
        upstream.address.port()
    );
    let gateway = Gateway::with(upstream.address, &upstream.ca, &toml);
    let request = "POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
    let reply = ask_gateway(gateway.openai, request).await;
    assert_eq!(reply.status, 200, "{}", reply.head);
    assert!(zone.seen().contains(&"api.openai.com. A".to_owned()));
}
