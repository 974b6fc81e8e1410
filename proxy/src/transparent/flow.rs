// SPDX-License-Identifier: MIT OR Apache-2.0
//! From a connection of which is known whom it may be for, to a tunnel or a denial.
//!
//! 1. If nothing that it could speak would be allowed, it is denied before a byte is read.
//! 2. Its first bytes say what it speaks. The server name of a ClientHello must be the name that it is for; plain HTTP
//!    is handed on, to be judged request by request.
//! 3. It is judged. Only then is anything dialled, and only what the permit says.
//!
//! Where anything may be spoken the server may be the one who speaks first: if the workload says nothing for a moment,
//! its upstream is dialled (it is allowed), and whoever speaks first decides.

use std::{io, sync::Arc, time::Duration};

use bytes::BytesMut;
use firewall_common::Reason;
use keyward_policy::{Host, Scheme};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    select,
    sync::watch,
    time::timeout,
};

use super::{
    choice::{Choice, Verdict},
    first::{Look, Spoken},
};
use crate::{
    egress::{Connection, Dialled, Door, Egress, Permit, Question, tunnel::linger},
    http_door::{self, Arrived},
    peers::Peer,
};

/// How long a workload that may speak anything has to speak first. A client that does has long done so by then; one
/// that waits for its server waits so much longer.
const FIRST_WORD: Duration = Duration::from_millis(50);

/// How long, and for how many bytes, a client that was sent an alert is listened to: closed at once, the connection
/// would be reset, and the alert lost with it.
const LAST_WORDS: Duration = Duration::from_secs(1);
const LAST_BYTES: usize = 64 * 1024;

/// TLS alerts (RFC 8446, section 6).
const ACCESS_DENIED: u8 = 49;
const DECODE_ERROR: u8 = 50;
const UNRECOGNIZED_NAME: u8 = 112;

/// A connection, and what is known of whom it is for.
pub(crate) struct Flow {
    pub(crate) egress: Arc<Egress>,
    pub(crate) stream: TcpStream,
    /// What was read of it already.
    pub(crate) read: BytesMut,
    /// Whom it may be for, the likeliest first. At least one.
    pub(crate) hosts: Vec<Host>,
    pub(crate) port: u16,
    pub(crate) peer: Option<Peer>,
    pub(crate) draining: watch::Receiver<bool>,
}

/// What is left to do when it is decided.
enum Next {
    Carry(Opened),
    Http,
    Over,
}

/// An upstream connection, and its place in the books.
struct Opened {
    upstream: Dialled,
    connection: Connection,
}

impl Opened {
    /// Ends what turned out to be nothing that may be carried.
    fn fail(self, reason: Reason) {
        self.connection.failed(reason);
        linger(self.upstream.stream.tcp(), Some(Duration::ZERO));
    }
}

/// What was heard.
enum Heard {
    Spoken(Spoken),
    /// Not enough, in time.
    Late,
    /// The connection broke.
    Broken,
}

impl Flow {
    /// Serves it to its end.
    pub(crate) async fn serve(mut self) {
        // Until it is served, every end is a denial.
        linger(&self.stream, Some(Duration::ZERO));
        // Boxed: a tunnel that is open holds none of what it took to open it.
        match Box::pin(self.open()).await {
            Next::Carry(Opened {
                upstream,
                connection,
            }) => {
                let (read, limits) = (self.read.into(), self.egress.limits);
                upstream
                    .carry(self.stream, read, &connection, &limits)
                    .await;
            }
            Next::Http => {
                linger(&self.stream, None);
                Box::pin(self.http()).await;
            }
            Next::Over => {}
        }
    }

    /// Hands it on to be judged request by request.
    async fn http(self) {
        let arrived = Arrived {
            stream: self.stream,
            read: self.read,
            peer: self.peer,
        };
        let (egress, hosts, port, draining) = (self.egress, self.hosts, self.port, self.draining);
        http_door::serve_transparent(egress, arrived, hosts, port, draining).await;
    }

    /// Decides, and dials.
    async fn open(&mut self) -> Next {
        let policy = self.egress.policy();
        let choice = Choice::new(&policy, &self.hosts, self.port);
        let opaque = choice.allowed(Scheme::Tcp).cloned();
        let likely = choice.likely();
        if opaque.is_none() && !choice.allows_web() {
            if let Some(host) = choice.first(likely).cloned() {
                // Judged like any other, so that the denial says why.
                drop(self.judge(host, likely));
            }
            return Next::Over;
        }
        let mut look = Look::new(std::mem::take(&mut self.read), opaque.is_some());
        let mut opened = None;
        let heard = match opaque {
            None => self.listen(&mut look).await,
            Some(host) => match self.listen_for(FIRST_WORD, &mut look).await {
                Heard::Late if look.may_be_tls() => self.listen(&mut look).await,
                Heard::Late if look.bytes.is_empty() => {
                    let Some(mut early) = self.dial(host).await else {
                        return Next::Over;
                    };
                    let heard = self.whoever_speaks(&mut early, &mut look).await;
                    opened = Some(early);
                    heard
                }
                Heard::Late => Heard::Spoken(Spoken::Other),
                heard @ (Heard::Spoken(_) | Heard::Broken) => heard,
            },
        };
        self.read = look.bytes;
        self.decide(heard, opened, likely).await
    }

    /// Decides by what was heard. `opened`: what was dialled already, because anything may be spoken to it.
    async fn decide(&mut self, heard: Heard, opened: Option<Opened>, likely: Scheme) -> Next {
        let policy = self.egress.policy();
        let choice = Choice::new(&policy, &self.hosts, self.port);
        let verdict = match &heard {
            Heard::Spoken(spoken) => choice.verdict(spoken),
            Heard::Late => choice.denied(likely, Reason::FirstBytesTimedOut),
            Heard::Broken => return Next::Over,
        };
        match verdict {
            Some(Verdict::Http) => Next::Http,
            Some(Verdict::Carry(host, scheme)) => {
                let host = host.clone();
                let early = opened.filter(|it| it.connection.permit().question().host == host);
                // It was judged when it was dialled, as what nobody looks at.
                let early = match (early, scheme) {
                    (Some(opened), Scheme::Tcp) => return Next::Carry(opened),
                    (early, _) => early,
                };
                let permit = match self.judge(host, scheme) {
                    Ok(permit) => permit,
                    Err(reason) => {
                        if let Some(opened) = early {
                            opened.fail(reason);
                        }
                        self.refuse(&heard, reason).await;
                        return Next::Over;
                    }
                };
                if let Some(opened) = early {
                    return Next::Carry(opened);
                }
                match self.dial_permitted(permit).await {
                    Ok(opened) => Next::Carry(opened),
                    Err(Some(reason)) => {
                        self.refuse(&heard, reason).await;
                        Next::Over
                    }
                    Err(None) => Next::Over,
                }
            }
            Some(Verdict::Deny(host, scheme, reason)) => {
                let question = self.question(host.clone(), scheme);
                self.egress.deny(question, reason, None);
                if let Some(opened) = opened {
                    opened.fail(reason);
                }
                self.refuse(&heard, reason).await;
                Next::Over
            }
            None => Next::Over,
        }
    }

    /// Listens for as long as a connection may take to say whom it is for.
    async fn listen(&mut self, look: &mut Look) -> Heard {
        self.listen_for(self.egress.limits.first_bytes, look).await
    }

    async fn listen_for(&mut self, time: Duration, look: &mut Look) -> Heard {
        match timeout(time, look.look(&mut self.stream)).await {
            Ok(spoken) => heard(spoken),
            Err(_late) => Heard::Late,
        }
    }

    /// Waits until the workload has said what it speaks, or its server has spoken first.
    async fn whoever_speaks(&mut self, opened: &mut Opened, look: &mut Look) -> Heard {
        let first = select! {
            spoken = look.look(&mut self.stream) => Some(heard(spoken)),
            () = opened.upstream.stream.speaks() => None,
            () = opened.connection.ended() => Some(Heard::Broken),
            () = tokio::time::sleep(self.egress.limits.tunnel_idle) => Some(Heard::Broken),
        };
        match first {
            Some(heard) => heard,
            // It was in the middle of a word.
            None if look.may_be_tls() => self.listen(look).await,
            None => Heard::Spoken(Spoken::Other),
        }
    }

    fn question(&self, host: Host, scheme: Scheme) -> Question {
        Question {
            door: Door::Transparent,
            host,
            port: self.port,
            scheme,
            request: None,
            peer: self.peer.clone(),
        }
    }

    fn judge(&self, host: Host, scheme: Scheme) -> Result<Permit, Reason> {
        self.egress
            .judge(self.question(host, scheme))
            .map_err(|denial| denial.reason)
    }

    /// Judges and dials a host to which anything may be spoken.
    async fn dial(&self, host: Host) -> Option<Opened> {
        let permit = self.judge(host, Scheme::Tcp).ok()?;
        self.dial_permitted(permit).await.ok()
    }

    /// Dials. Why it was denied after all, if it was; `None` if it could not be reached.
    async fn dial_permitted(&self, permit: Permit) -> Result<Opened, Option<Reason>> {
        // In the books first: a new policy ends the dialling, too.
        let connection = self.egress.begin_connection(permit);
        let dialled = select! {
            dialled = self.egress.dialler.dial(connection.permit()) => dialled,
            () = connection.ended() => return Err(Some(Reason::PolicyChanged)),
        };
        match dialled {
            Ok(upstream) => {
                connection.reached(upstream.address);
                Ok(Opened {
                    upstream,
                    connection,
                })
            }
            Err(undialled) => {
                let reason = undialled.reason();
                connection.failed(reason);
                Err((reason != Reason::Unreachable).then_some(reason))
            }
        }
    }

    /// Tells a client that speaks TLS that it is denied. Everybody else is reset.
    async fn refuse(&mut self, heard: &Heard, reason: Reason) {
        if !matches!(
            heard,
            Heard::Spoken(Spoken::Tls(_) | Spoken::BadTls(_)) | Heard::Late
        ) || !self.read.starts_with(&[22, 3])
        {
            return;
        }
        let alert = if reason == Reason::NameMismatch {
            UNRECOGNIZED_NAME
        } else if reason == Reason::BadClientHello {
            DECODE_ERROR
        } else {
            ACCESS_DENIED
        };
        if let Err(error) = timeout(LAST_WORDS, self.alert(alert)).await {
            tracing::debug!(%error, "client goes on after an alert");
        }
    }

    async fn alert(&mut self, alert: u8) {
        // A fatal alert, in a record of its own.
        let record = [21, 3, 3, 0, 2, 2, alert];
        let said = async {
            self.stream.write_all(&record).await?;
            self.stream.shutdown().await?;
            let mut rest = BytesMut::with_capacity(4096);
            let mut count = 0;
            while count < LAST_BYTES {
                rest.clear();
                match self.stream.read_buf(&mut rest).await? {
                    0 => {
                        linger(&self.stream, None);
                        break;
                    }
                    more => count += more,
                }
            }
            Ok::<_, io::Error>(())
        };
        if let Err(error) = said.await {
            tracing::debug!(%error, "alert not taken");
        }
    }
}

fn heard(spoken: io::Result<Spoken>) -> Heard {
    match spoken {
        Ok(spoken) => Heard::Spoken(spoken),
        Err(error) => {
            tracing::debug!(%error, "connection broke before it was decided");
            Heard::Broken
        }
    }
}
