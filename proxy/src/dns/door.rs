// SPDX-License-Identifier: MIT OR Apache-2.0
//! The sockets of the DNS door, and its lines in the log.

use std::{
    io,
    net::SocketAddr,
    os::fd::AsFd as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use firewall_common::{Reason, Transport};
use hickory_proto::rr::RecordType;
use keyward_policy::{Name, Policy};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    time::timeout,
};

use super::{
    answer::{Answer, Outcome, Verdict, judge, remedy_for},
    message::{self, Question, Received},
    ready::Ready,
    real,
    recent::Recent,
};
use crate::egress::{Egress, Query};

/// Longest pause on a TCP connection: RFC 7766 advises seconds.
const IDLE: Duration = Duration::from_secs(10);

/// Most TCP connections at a time.
const CONNECTIONS: usize = 64;

/// Most names that are looked up at a time for datagrams. Further ones are told that it failed.
const LOOK_UPS: usize = 64;

/// Most datagrams that are answered in a row before other work of the proxy gets its turn.
const IN_A_ROW: usize = 64;

/// Most datagrams that are judged at the end: a flood must not keep the proxy from ending.
const DRAINED: usize = 1000;

/// How long a failing socket rests before it is asked again.
const REST: Duration = Duration::from_millis(50);

/// Longest name in a message (RFC 1035, section 2.3.4), and room for what else a question and its EDNS record hold. What
/// is longer is no question that is answered; the kernel cuts it off, and it is malformed.
const LONGEST: usize = 4096;

/// Longest reply over TCP.
const TCP_ROOM: u16 = u16::MAX;

/// Who asked.
#[derive(Clone, Copy, Debug)]
struct Asker {
    transport: Transport,
    address: SocketAddr,
}

/// What a message comes to.
enum Step {
    /// Nothing is sent back.
    Silence,
    Reply(Vec<u8>),
    LookUp(Box<LookUp>),
}

/// A question that waits for addresses.
struct LookUp {
    policy: Arc<Policy>,
    question: Box<Question>,
    name: Name,
}

/// A door: what its sockets share.
struct Door {
    egress: Arc<Egress>,
    recent: Mutex<Recent>,
    ready: Mutex<Ready>,
}

/// Answers datagrams for ever.
pub(crate) async fn serve_udp(egress: Arc<Egress>, socket: Arc<UdpSocket>) {
    let door = Door::new(egress);
    let look_ups = Arc::new(Semaphore::new(LOOK_UPS));
    let mut buffer = vec![0; LONGEST];
    loop {
        if let Err(error) = socket.readable().await {
            tracing::warn!(%error, "DNS socket");
            tokio::time::sleep(REST).await;
        }
        for _ in 0..IN_A_ROW {
            let (length, address) = match socket.try_recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    tracing::warn!(%error, "DNS socket");
                    tokio::time::sleep(REST).await;
                    break;
                }
            };
            let asker = Asker {
                transport: Transport::Udp,
                address,
            };
            let query = buffer.get(..length).unwrap_or_default();
            match door.step(asker, query) {
                Step::Silence => {}
                Step::Reply(reply) => send(&socket, &reply, address),
                Step::LookUp(look_up) => {
                    let (egress, socket) = (Arc::clone(&door.egress), Arc::clone(&socket));
                    let turn = Arc::clone(&look_ups).try_acquire_owned();
                    let room = look_up.question.datagram();
                    let Ok(turn) = turn else {
                        if let Some(reply) = look_up.question.reply(&Answer::failed(), room) {
                            send(&socket, &reply, address);
                        }
                        continue;
                    };
                    tokio::spawn(async move {
                        if let Some(reply) = look_up.reply(&egress, room).await {
                            send(&socket, &reply, address);
                        }
                        drop(turn);
                    });
                }
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Sends, or not: a client whose queue is full asks again.
fn send(socket: &UdpSocket, reply: &[u8], to: SocketAddr) {
    if let Err(error) = socket.try_send_to(reply, to) {
        tracing::debug!(%error, "DNS answer not sent");
    }
}

/// Judges the datagrams that are there, without waiting for more. Nobody is left to be answered.
pub(crate) fn drain_udp(egress: &Arc<Egress>, socket: &UdpSocket) {
    let door = Door::new(Arc::clone(egress));
    // The kernel is asked, not the runtime, which may not have heard of them yet.
    let Ok(socket) = socket.as_fd().try_clone_to_owned() else {
        return;
    };
    let socket = std::net::UdpSocket::from(socket);
    let mut buffer = vec![0; LONGEST];
    for _ in 0..DRAINED {
        let Ok((length, address)) = socket.recv_from(&mut buffer) else {
            return;
        };
        let asker = Asker {
            transport: Transport::Udp,
            address,
        };
        // Judging writes it down.
        drop(door.step(asker, buffer.get(..length).unwrap_or_default()));
    }
}

/// Answers connections for ever.
pub(crate) async fn serve_tcp(egress: Arc<Egress>, listener: TcpListener) {
    let door = Arc::new(Door::new(egress));
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let permit = Arc::clone(&room).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, address)) => {
                let door = Arc::clone(&door);
                tokio::spawn(async move {
                    let asker = Asker {
                        transport: Transport::Tcp,
                        address,
                    };
                    if let Err(error) = door.connection(stream, asker).await {
                        tracing::debug!(%error, "DNS connection ended");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "DNS listener");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

impl Door {
    fn new(egress: Arc<Egress>) -> Self {
        Self {
            egress,
            recent: Mutex::new(Recent::new(Instant::now())),
            ready: Mutex::default(),
        }
    }

    async fn connection(&self, mut stream: TcpStream, asker: Asker) -> io::Result<()> {
        stream.set_nodelay(true)?;
        loop {
            let mut length = [0; 2];
            timeout(IDLE, stream.read_exact(&mut length)).await??;
            let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
            timeout(IDLE, stream.read_exact(&mut query)).await??;
            let reply = match self.step(asker, &query) {
                Step::Silence => None,
                Step::Reply(reply) => Some(reply),
                Step::LookUp(look_up) => look_up.reply(&self.egress, TCP_ROOM).await,
            };
            let Some(reply) = reply else { return Ok(()) };
            let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
            let message = [&length.to_be_bytes()[..], &reply].concat();
            timeout(IDLE, stream.write_all(&message)).await??;
        }
    }

    /// Judges a message, and writes it down.
    fn step(&self, asker: Asker, bytes: &[u8]) -> Step {
        let policy = self.egress.policy();
        if let Some(reply) = self.again(asker, &policy, bytes) {
            return Step::Reply(reply);
        }
        let question = match message::read(bytes) {
            Received::Nothing => return Step::Silence,
            Received::Malformed(reply) => {
                self.write_malformed(asker);
                return Step::Reply(reply);
            }
            Received::Question(question) => question,
        };
        if self.leaks(asker, &question) {
            let room = match asker.transport {
                Transport::Tcp => TCP_ROOM,
                Transport::Udp => question.datagram(),
            };
            let reply = question.reply(&Answer::denied(Reason::SecretLeak, None), room);
            return reply.map_or(Step::Silence, Step::Reply);
        }
        let judged = judge(&policy, &self.egress.names, &question);
        if let Some(verdict) = &judged.verdict {
            self.write(asker, &question, verdict);
        }
        match judged.outcome {
            Outcome::Answer(answer) => {
                let room = match asker.transport {
                    Transport::Tcp => TCP_ROOM,
                    Transport::Udp => question.datagram(),
                };
                let kind = u16::from(question.kind());
                let Some(reply) = question.reply(&answer, room) else {
                    return Step::Silence;
                };
                let allowed = judged.verdict.filter(|it| !it.denied);
                if asker.transport == Transport::Udp
                    && answer.is_good()
                    && let Some(name) = allowed.and_then(|it| it.name)
                {
                    let about = (name, kind);
                    self.ready()
                        .keep(&policy, bytes, about, &reply, Instant::now());
                }
                Step::Reply(reply)
            }
            Outcome::LookUp(name) => Step::LookUp(Box::new(LookUp {
                policy,
                question,
                name,
            })),
        }
    }

    /// The reply that the same question had a moment ago. `None`: there is none, or there is something to write down.
    fn again(&self, asker: Asker, policy: &Arc<Policy>, bytes: &[u8]) -> Option<Vec<u8>> {
        if asker.transport == Transport::Tcp {
            return None;
        }
        let now = Instant::now();
        let ready = self.ready();
        let given = ready.find(policy, bytes, now)?;
        let peer = self.egress.peers.find(asker.transport, asker.address);
        let process = peer.map_or(0, |it| it.pid);
        let known = self
            .recent()
            .is_known(&given.name, given.kind, process, now);
        known.then(|| given.reply(bytes))?
    }

    /// Whether a question is stopped because its name holds a secret. Written down without the name.
    fn leaks(&self, asker: Asker, question: &Question) -> bool {
        let Some(scanner) = &self.egress.scanner else {
            return false;
        };
        let Some(finding) = scanner.find_in_name(&question.name().to_ascii()) else {
            return false;
        };
        if self.has_room() {
            let peer = self.egress.peers.find(asker.transport, asker.address);
            self.egress.write_name_leak(&finding, peer.as_ref());
        }
        scanner.blocks()
    }

    /// A line, unless it says what was said lately.
    fn write(&self, asker: Asker, question: &Question, verdict: &Verdict<'_>) {
        let kind = question.kind();
        if verdict.denied && !self.has_room() {
            return;
        }
        let peer = self.egress.peers.find(asker.transport, asker.address);
        if let (Some(name), false) = (&verdict.name, verdict.denied) {
            let process = peer.as_ref().map_or(0, |it| it.pid);
            if !self
                .recent()
                .is_new(name, kind.into(), process, Instant::now())
            {
                return;
            }
        }
        let text;
        let host = match &verdict.name {
            Some(name) => name.as_str(),
            None => {
                text = question.name().to_ascii();
                text.strip_suffix('.').unwrap_or(&text)
            }
        };
        let reason = verdict.decision.outcome.err();
        let remedy = match reason {
            Some(Reason::HostNotAllowed) => verdict.name.as_ref().and_then(remedy_for),
            _ => None,
        };
        let query = Query {
            host,
            name: verdict.name.as_ref(),
            kind: &kind.to_string(),
            transport: asker.transport,
            rule: verdict.decision.rule,
            remedy: remedy.as_deref(),
            peer: peer.as_ref(),
        };
        match (verdict.denied, reason) {
            (true, reason) => {
                let reason = reason.unwrap_or(Reason::QueryNotAnswered);
                self.egress.write_query_denied(&query, reason);
            }
            (false, audited) => self.egress.write_query_answered(&query, audited),
        }
    }

    /// Whether another denial may be written down; else it is counted.
    fn has_room(&self) -> bool {
        let room = self.recent().has_room(Instant::now());
        if !room {
            self.egress.query_denied_unwritten();
        }
        room
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ready(&self) -> MutexGuard<'_, Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing of what cannot be read is believed, so nothing of it is written down.
    fn write_malformed(&self, asker: Asker) {
        if !self.has_room() {
            return;
        }
        let peer = self.egress.peers.find(asker.transport, asker.address);
        let query = Query {
            host: "",
            name: None,
            kind: "",
            transport: asker.transport,
            rule: None,
            remedy: None,
            peer: peer.as_ref(),
        };
        self.egress.write_query_denied(&query, Reason::BadQuery);
    }
}

impl LookUp {
    async fn reply(self, egress: &Egress, room: u16) -> Option<Vec<u8>> {
        let Self {
            policy,
            question,
            name,
        } = self;
        let kind: RecordType = question.kind();
        let answer = real::answer(egress, &policy, &name, kind).await;
        question.reply(&answer, room)
    }
}
