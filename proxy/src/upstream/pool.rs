// SPDX-License-Identifier: MIT OR Apache-2.0
//! Connections that are kept and shared.
//!
//! HTTP/1.1 connections serve one request at a time and come back only when its answer ended cleanly;
//! HTTP/2 connections are shared by up to [`STREAMS`] requests each. HTTP/1.1 takes less processor time
//! for a request, and a lost packet holds up nobody else; HTTP/2 takes less memory, and fewer
//! connections. So the first few requests at a time have a connection each (`upstream.http1-connections`),
//! and further ones share. Whether they can is known after the first connection that offers it, so they
//! wait for one together instead of making one each.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http::{HeaderValue, Request, Response, Uri};
use http_body::Body;
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};

use super::{Connection, Connector, Protocol};
use crate::refusal::UpstreamFault;

/// Requests on one HTTP/2 connection: the least that servers are advised to allow (RFC 9113,
/// section 6.5.2), and few enough that one lost packet does not hold up everyone.
const STREAMS: usize = 100;

/// HTTP/1.1 connections that are kept while nobody needs them.
const MOST_IDLE: usize = 128;

/// How long. Below the keep-alive time of the servers in use (nginx: 75 s, AWS's load balancers: 60 s), so that a
/// connection is rarely closed under a request.
const IDLE_TIME: Duration = Duration::from_secs(50);

/// How long an HTTP/1.1 connection gets to become ready again after its answer ended.
const SETTLE: Duration = Duration::from_secs(1);

/// How often a request is given to another connection because the one it was given to turned out to
/// be closed before the request was sent.
const ATTEMPTS: usize = 3;

/// The connections to one target.
pub(crate) struct Pool<B> {
    connector: Connector,
    kept: Arc<Mutex<Kept<B>>>,
    /// How many requests have an HTTP/1.1 connection, or are about to, and how many may.
    alone: Arc<AtomicUsize>,
    most_alone: usize,
    /// Held while connecting, as long as a connection may be one that others can share.
    connecting: tokio::sync::Mutex<()>,
}

struct Kept<B> {
    /// The only protocol that the upstream has, once that is known.
    only: Option<Protocol>,
    http2: Vec<Shared<B>>,
    http1: Vec<Idle<B>>,
    /// When connecting last failed, and how.
    failed: Option<(Instant, UpstreamFault)>,
}

struct Shared<B> {
    sender: http2::SendRequest<B>,
    streams: Arc<AtomicUsize>,
    address: SocketAddr,
}

struct Idle<B> {
    sender: http1::SendRequest<B>,
    address: SocketAddr,
    since: Instant,
}

/// A connection that takes the next request.
enum Taken<B> {
    Http1(http1::SendRequest<B>, Counted, SocketAddr),
    Http2(http2::SendRequest<B>, Counted, SocketAddr),
}

/// One request among others.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(streams: &Arc<AtomicUsize>) -> Self {
        streams.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(streams))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An answer, and the hold on the connection that it comes over.
pub(crate) struct Reply<B> {
    pub(crate) response: Response<Incoming>,
    pub(crate) lease: Lease<B>,
    pub(crate) address: SocketAddr,
}

/// A hold on a connection, for as long as an answer is read from it. Dropped before
/// [`Lease::give_back`], an HTTP/1.1 connection is closed: what is left on it belongs to nobody.
pub(crate) struct Lease<B>(Hold<B>);

enum Hold<B> {
    Http1 {
        sender: http1::SendRequest<B>,
        address: SocketAddr,
        home: Arc<Mutex<Kept<B>>>,
        _counted: Counted,
    },
    Http2 {
        _counted: Counted,
    },
}

impl<B: Send + 'static> Lease<B> {
    /// The answer was read to its end.
    pub(crate) fn give_back(self) {
        let Hold::Http1 {
            mut sender,
            address,
            home,
            _counted,
        } = self.0
        else {
            return;
        };
        if sender.is_ready() {
            keep(&home, sender, address);
            return;
        }
        // The connection has not seen the end yet, or is still sending the request's body.
        tokio::spawn(async move {
            if let Ok(Ok(())) = tokio::time::timeout(SETTLE, sender.ready()).await {
                keep(&home, sender, address);
            }
        });
    }
}

fn keep<B>(home: &Mutex<Kept<B>>, sender: http1::SendRequest<B>, address: SocketAddr) {
    let mut kept = home.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.http1.len() < MOST_IDLE {
        kept.http1.push(Idle {
            sender,
            address,
            since: Instant::now(),
        });
    }
}

impl<B> Pool<B>
where
    B: Body + Unpin + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    pub(crate) fn new(connector: Connector, most_alone: usize) -> Self {
        let kept = Kept {
            only: None,
            http2: Vec::new(),
            http1: Vec::new(),
            failed: None,
        };
        Self {
            connector,
            kept: Arc::new(Mutex::new(kept)),
            alone: Arc::default(),
            most_alone,
            connecting: tokio::sync::Mutex::new(()),
        }
    }

    /// For connections that are not shared.
    pub(crate) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Sends a request and waits for the head of its answer. Its URI is absolute; HTTP/1.1 gets the
    /// path alone, and the authority as `Host`.
    pub(crate) async fn send(&self, mut request: Request<B>) -> Result<Reply<B>, UpstreamFault> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let (unsent, error) = match self.take().await? {
                Taken::Http2(mut sender, counted, address) => {
                    match sender.try_send_request(request).await {
                        Ok(response) => {
                            let lease = Lease(Hold::Http2 { _counted: counted });
                            return Ok(Reply {
                                response,
                                lease,
                                address,
                            });
                        }
                        Err(mut error) => (error.take_message(), error.into_error()),
                    }
                }
                Taken::Http1(mut sender, counted, address) => {
                    to_origin_form(&mut request);
                    match sender.try_send_request(request).await {
                        Ok(response) => {
                            let home = Arc::clone(&self.kept);
                            let lease = Lease(Hold::Http1 {
                                sender,
                                address,
                                home,
                                _counted: counted,
                            });
                            return Ok(Reply {
                                response,
                                lease,
                                address,
                            });
                        }
                        Err(mut error) => (error.take_message(), error.into_error()),
                    }
                }
            };
            match unsent {
                // The connection was closed before it took the request: nobody has seen it.
                Some(unsent) if attempt < ATTEMPTS => request = unsent,
                Some(_) | None => {
                    tracing::debug!(%error, "request not answered");
                    return Err(UpstreamFault::Reset);
                }
            }
        }
    }

    /// A connection that can take a request now.
    async fn take(&self) -> Result<Taken<B>, UpstreamFault> {
        let mut turn = None;
        loop {
            if let Some(idle) = self.take_idle() {
                return Ok(idle);
            }
            if let Some(counted) = self.may_be_alone() {
                drop(turn.take());
                // Boxed: connecting is rare, and every request would be larger.
                match Box::pin(self.connector.connect(true)).await {
                    Ok(connection) => return Ok(self.adopt(connection, counted)),
                    Err(UpstreamFault::NoProtocol) => self.lock().only = Some(Protocol::Http2),
                    Err(fault) => return Err(fault),
                }
            }
            if let Some(shared) = self.take_shared() {
                return Ok(shared);
            }
            // Whoever connected before may have made one that can be shared, or found out that none can.
            let Some((began, _)) = &turn else {
                turn = Some((Instant::now(), self.connecting.lock().await));
                continue;
            };
            // Or it tried for as long as is worth it: a queue of requests fails together, not one by one.
            if let Some((_, fault)) = self.lock().failed.filter(|(at, _)| at >= began) {
                return Err(fault);
            }
            match Box::pin(self.connector.connect(false)).await {
                Ok(connection) => {
                    if let Connection::Http1(..) = connection {
                        self.lock().only = Some(Protocol::Http1);
                    }
                    return Ok(self.adopt(connection, Counted::new(&self.alone)));
                }
                Err(fault) => {
                    self.lock().failed = Some((Instant::now(), fault));
                    return Err(fault);
                }
            }
        }
    }

    /// The place of a request that gets a connection of its own.
    fn may_be_alone(&self) -> Option<Counted> {
        let few = || self.alone.load(Ordering::Relaxed) < self.most_alone;
        let alone = match self.lock().only {
            None => few(),
            Some(Protocol::Http1) => true,
            Some(Protocol::Http2) => false,
        };
        alone.then(|| Counted::new(&self.alone))
    }

    /// Lets others share a new connection if they can. `counted` is the place of a request that is alone on it.
    fn adopt(&self, connection: Connection<B>, counted: Counted) -> Taken<B> {
        match connection {
            Connection::Http1(sender, address) => Taken::Http1(sender, counted, address),
            Connection::Http2(sender, address) => {
                let streams = Arc::default();
                let counted = Counted::new(&streams);
                self.lock().http2.push(Shared {
                    sender: sender.clone(),
                    streams,
                    address,
                });
                Taken::Http2(sender, counted, address)
            }
        }
    }

    fn take_idle(&self) -> Option<Taken<B>> {
        let mut kept = self.lock();
        while let Some(idle) = kept.http1.pop() {
            if idle.since.elapsed() > IDLE_TIME {
                // The others have waited longer.
                kept.http1.clear();
            } else if idle.sender.is_ready() {
                let counted = Counted::new(&self.alone);
                return Some(Taken::Http1(idle.sender, counted, idle.address));
            }
        }
        None
    }

    fn take_shared(&self) -> Option<Taken<B>> {
        let mut kept = self.lock();
        kept.http2.retain(|it| !it.sender.is_closed());
        let free = |it: &&Shared<B>| it.streams.load(Ordering::Relaxed) < STREAMS;
        let Shared {
            sender,
            streams,
            address,
        } = kept.http2.iter().find(free)?;
        Some(Taken::Http2(
            sender.clone(),
            Counted::new(streams),
            *address,
        ))
    }

    fn lock(&self) -> MutexGuard<'_, Kept<B>> {
        // Nothing panics while the lock is held; if it did, the list would still be a list.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Brings an absolute URI to the form that an HTTP/1.1 server expects. A request in that form is left
/// as it is: it was tried before.
pub(crate) fn to_origin_form<B>(request: &mut Request<B>) {
    let Some(authority) = request.uri().authority() else {
        return;
    };
    if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
        request.headers_mut().insert(http::header::HOST, host);
    }
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = request.uri().path_and_query().cloned();
    // A path and query alone are always a URI.
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}
