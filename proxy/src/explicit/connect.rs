// SPDX-License-Identifier: MIT OR Apache-2.0
//! `CONNECT host:port`: a tunnel, and what may go through it.
//!
//! The decision comes first, the dial second, the answer third, so that a client learns from the answer what it can reach.
//! What a rule allows for TLS or plain HTTP only is known after the client's first bytes; then the tunnel either fits or
//! ends.

use std::{pin::Pin, sync::Arc};

use bytes::BytesMut;
use firewall_common::Reason;
use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use keyward_policy::{Asked, Host, Scheme};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    client_hello::{Fault, Reader, is_ssl2},
    egress::{Dialled, Permit, lets_through},
    http_door::{After, Answer, Arrived, Link, not_dialled, regain, serve_tunnel},
};

/// TLS alerts: fatal, `handshake_failure` or `unrecognized_name`.
const HANDSHAKE_FAILURE: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Room for a client's first bytes: a ClientHello fits mostly.
const FIRST: usize = 4 * 1024;

/// What may go through a tunnel to one host and port.
#[derive(Clone, Copy, Debug, Default)]
struct Allowed {
    tls: bool,
    http: bool,
    tcp: bool,
}

impl Allowed {
    fn of(link: &Link, host: &Host, port: u16) -> Self {
        let policy = link.egress.policy();
        let allowed = |scheme| {
            let asked = Asked {
                host,
                port,
                scheme,
                request: None,
            };
            policy.decide(&asked).outcome.is_ok() || lets_through(&policy, host)
        };
        Self {
            tls: allowed(Scheme::Tls),
            http: allowed(Scheme::Http),
            tcp: allowed(Scheme::Tcp),
        }
    }

    /// The one to judge by before a byte was seen. Of none, the one that the port is mostly used with.
    fn guess(self, port: u16) -> Scheme {
        match (self, port) {
            (Self { tls: true, .. }, _) => Scheme::Tls,
            (Self { tcp: true, .. }, _) => Scheme::Tcp,
            (Self { http: true, .. }, _) | (_, 80) => Scheme::Http,
            (_, 22) => Scheme::Tcp,
            _ => Scheme::Tls,
        }
    }
}

/// Opens a tunnel, or says why not.
///
/// Boxed here, with its type: plain HTTP in the tunnel leads back to the caller, and a tunnel's state would make every
/// other request's larger.
pub(crate) fn open<'a>(
    link: &'a Arc<Link>,
    host: Host,
    port: u16,
    upgrade: &'a mut Option<OnUpgrade>,
) -> Pin<Box<dyn Future<Output = Result<Response<()>, Answer>> + Send + 'a>> {
    Box::pin(grant(link, host, port, upgrade))
}

async fn grant(
    link: &Arc<Link>,
    host: Host,
    port: u16,
    upgrade: &mut Option<OnUpgrade>,
) -> Result<Response<()>, Answer> {
    let allowed = Allowed::of(link, &host, port);
    let question = link.question(host, port, allowed.guess(port), None);
    let permit = link
        .egress
        .judge(question)
        .map_err(|denial| Answer::denied(&denial, true))?;
    // Plain HTTP dials for itself, request by request.
    let dialled = if allowed.tls || allowed.tcp {
        match link.egress.dialler.dial(&permit).await {
            Ok(dialled) => Some(dialled),
            Err(undialled) => return Err(not_dialled(link, &permit, undialled, true)),
        }
    } else {
        None
    };
    let Some(upgrade) = upgrade.take() else {
        return Err(Answer::malformed(
            StatusCode::INTERNAL_SERVER_ERROR,
            Reason::InternalError,
            Reason::InternalError.sentence().to_owned(),
        ));
    };
    let tunnel = Tunnel {
        link: Arc::clone(link),
        allowed,
        permit,
    };
    // From here on the guard lets everything through; hyper takes it only after it sent the 200.
    link.verdicts.open_tunnel();
    link.then(After::Carry(Box::pin(tunnel.carry(upgrade, dialled))));
    Ok(Response::new(()))
}

/// What a client's first bytes are.
enum First {
    Tls,
    Http,
    /// HTTP/2 without TLS.
    Http2,
    Other,
}

/// A tunnel that was granted.
struct Tunnel {
    link: Arc<Link>,
    allowed: Allowed,
    /// By what it was granted.
    permit: Permit,
}

impl Tunnel {
    async fn carry(self, upgrade: OnUpgrade, mut dialled: Option<Dialled>) {
        let Ok(upgraded) = upgrade.await else { return };
        let Some((mut client, mut read)) = regain(upgraded) else {
            tracing::error!("not a connection of ours");
            return;
        };
        let limits = self.link.egress.limits;
        // A server that speaks first has something else to say than TLS or HTTP, and may where anything may pass. As
        // long as nobody speaks nothing passes, so there is no hurry.
        let opaque = self.allowed.tcp && read.is_empty();
        if let Some(upstream) = dialled.as_mut().filter(|_| opaque) {
            let mut ours = [0];
            let both_wait = async {
                tokio::select! {
                    biased;
                    found = client.peek(&mut ours) => matches!(found, Ok(0) | Err(_)),
                    () = upstream.stream.speaks() => true,
                }
            };
            match timeout(limits.tunnel_idle, both_wait).await {
                Ok(true) => return self.splice(Scheme::Tcp, client, read, dialled).await,
                Ok(false) => {}
                Err(_silence) => return,
            }
        }
        match timeout(limits.first_bytes, first(&mut client, &mut read)).await {
            Ok(Some(First::Tls)) => {
                let checked = timeout(limits.first_bytes, self.check(&mut client, &mut read)).await;
                match checked.unwrap_or(Err(Reason::FirstBytesTimedOut)) {
                    Ok(()) => self.splice(Scheme::Tls, client, read, dialled).await,
                    Err(reason) => {
                        self.deny(Scheme::Tls, reason);
                        let alert = if reason == Reason::NameMismatch {
                            UNRECOGNIZED_NAME
                        } else {
                            HANDSHAKE_FAILURE
                        };
                        goodbye(client, &alert).await;
                    }
                }
            }
            // Judged as what they are, also where anything may be spoken: a rule that blocks one of them is not to be
            // passed by.
            Ok(Some(First::Http)) => {
                drop(dialled);
                self.serve_http(client, read).await;
            }
            Ok(Some(First::Http2)) => self.deny(Scheme::Http, Reason::Http2Plaintext),
            Ok(Some(First::Other)) => self.splice(Scheme::Tcp, client, read, dialled).await,
            // The client left without a word.
            Ok(None) => {}
            Err(_late) => self.deny(self.permit.question().scheme, Reason::FirstBytesTimedOut),
        }
    }

    /// The right to carry what was seen. `None`: there is none, which is written down.
    fn permit_for(&self, scheme: Scheme) -> Option<Permit> {
        let mut question = self.permit.question().clone();
        question.scheme = scheme;
        self.link.egress.judge(question).ok()
    }

    fn deny(&self, scheme: Scheme, reason: Reason) {
        let mut question = self.permit.question().clone();
        question.scheme = scheme;
        self.link.egress.deny(question, reason, None);
    }

    /// Carries what was seen to be of this scheme, if that is allowed.
    async fn splice(
        self,
        scheme: Scheme,
        client: TcpStream,
        read: BytesMut,
        dialled: Option<Dialled>,
    ) {
        let permit = self.permit_for(scheme);
        let (Some(permit), Some(dialled)) = (permit, dialled) else {
            return;
        };
        let egress = Arc::clone(&self.link.egress);
        drop(self);
        let connection = egress.begin_connection(permit);
        connection.reached(dialled.address);
        let first = read.into();
        dialled
            .carry(client, first, &connection, &egress.limits)
            .await;
    }

    /// Plain HTTP in the tunnel: each request is judged, for the host that the tunnel was asked for.
    async fn serve_http(self, stream: TcpStream, read: BytesMut) {
        let question = self.permit.question();
        let arrived = Arrived {
            stream,
            read,
            peer: self.link.peer.clone(),
        };
        let egress = Arc::clone(&self.link.egress);
        let draining = self.link.draining.clone();
        let (host, port) = (question.host.clone(), question.port);
        drop(self);
        serve_tunnel(egress, arrived, host, port, draining).await;
    }

    /// Reads the ClientHello to its end and checks whom it is for.
    async fn check(&self, client: &mut TcpStream, read: &mut BytesMut) -> Result<(), Reason> {
        let mut reader = Reader::default();
        let mut seen = 0;
        let hello = loop {
            let fresh = read.get(seen..).unwrap_or_default();
            let found = reader.read(fresh).map_err(|fault| match fault {
                Fault::Encrypted => Reason::EncryptedClientHello,
                Fault::Record
                | Fault::TooLong
                | Fault::Message
                | Fault::Malformed
                | Fault::ServerName => Reason::BadClientHello,
            })?;
            seen = read.len();
            if let Some(hello) = found {
                break hello;
            }
            read.reserve(FIRST);
            match client.read_buf(read).await {
                Ok(0) | Err(_) => return Err(Reason::BadClientHello),
                Ok(_) => {}
            }
        };
        match (&hello.server_name, &self.permit.question().host) {
            // The dial went to the host that was asked for, so it may leave its name out.
            (None, _) => Ok(()),
            (Some(name), Host::Name(host)) if name == host => Ok(()),
            (Some(_), _) => Err(Reason::NameMismatch),
        }
    }
}

/// Waits until it is clear what a client speaks. `None`: it ended before.
async fn first(client: &mut TcpStream, read: &mut BytesMut) -> Option<First> {
    loop {
        if let Some(first) = classify(read) {
            return Some(first);
        }
        read.reserve(FIRST);
        match client.read_buf(read).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

/// What bytes begin. `None`: more are needed.
fn classify(bytes: &[u8]) -> Option<First> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";
    let first = *bytes.first()?;
    if first == 22 || is_ssl2(bytes) {
        return Some(First::Tls);
    }
    if bytes.starts_with(PREFACE) {
        return Some(First::Http2);
    }
    if PREFACE.starts_with(bytes) {
        return None;
    }
    // A method, a space, and something.
    let word = bytes.iter().position(|it| !it.is_ascii_uppercase());
    match word {
        None if bytes.len() < 32 => None,
        Some(end @ 1..) if bytes.get(end) == Some(&b' ') => Some(First::Http),
        Some(_) | None => Some(First::Other),
    }
}

/// Says a last word and closes.
async fn goodbye(mut client: TcpStream, word: &[u8]) {
    if let Err(error) = client.write_all(word).await {
        tracing::debug!(%error, "alert not sent");
    }
    if let Err(error) = client.shutdown().await {
        tracing::debug!(%error, "connection not closed in order");
    }
}
