// SPDX-License-Identifier: MIT OR Apache-2.0
//! Connections that are kept and shared.
//!
//! HTTP/2 connections are shared by up to [`STREAMS`] requests each; HTTP/1.1 connections serve one
//! request at a time and come back only when its answer ended cleanly. Which protocol an upstream
//! speaks is known after the first connection, so the first requests wait for one connection together
//! instead of making one each.

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

/// How long. Below the keep-alive time of the servers in use (nginx: 75 s), so that a connection is
/// rarely closed under a request.
const IDLE_TIME: Duration = Duration::from_secs(60);

/// How long an HTTP/1.1 connection gets to become ready again after its answer ended.
const SETTLE: Duration = Duration::from_secs(1);

/// How often a request is given to another connection because the one it was given to turned out to
/// be closed before the request was sent.
const ATTEMPTS: usize = 3;

/// The connections to one target.
pub(crate) struct Pool<B> {
    connector: Connector,
    kept: Arc<Mutex<Kept<B>>>,
    /// Held while connecting, as long as a connection may be one that others can share.
    connecting: tokio::sync::Mutex<()>,
}

struct Kept<B> {
    protocol: Option<Protocol>,
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
    Http1(http1::SendRequest<B>, SocketAddr),
    Http2(http2::SendRequest<B>, Counted, SocketAddr),
}

/// One request on a shared connection.
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
    pub(crate) fn new(connector: Connector) -> Self {
        let kept = Kept {
            protocol: None,
            http2: Vec::new(),
            http1: Vec::new(),
            failed: None,
        };
        Self {
            connector,
            kept: Arc::new(Mutex::new(kept)),
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
                Taken::Http1(mut sender, address) => {
                    to_origin_form(&mut request);
                    match sender.try_send_request(request).await {
                        Ok(response) => {
                            let home = Arc::clone(&self.kept);
                            let lease = Lease(Hold::Http1 {
                                sender,
                                address,
                                home,
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
        if let Some(kept) = self.take_kept() {
            return Ok(kept);
        }
        if self.lock().protocol == Some(Protocol::Http1) {
            return Ok(self.adopt(self.connector.connect().await?));
        }
        let began = Instant::now();
        let _alone = self.connecting.lock().await;
        // Whoever connected before may have made one that can be shared, or found out that none can.
        if let Some(kept) = self.take_kept() {
            return Ok(kept);
        }
        // Or it tried for as long as is worth it: a queue of requests fails together, not one by one.
        if let Some((_, fault)) = self.lock().failed.filter(|(at, _)| *at >= began) {
            return Err(fault);
        }
        match self.connector.connect().await {
            Ok(connection) => Ok(self.adopt(connection)),
            Err(fault) => {
                self.lock().failed = Some((Instant::now(), fault));
                Err(fault)
            }
        }
    }

    /// Notes what a new connection tells, and lets others share it if they can.
    fn adopt(&self, connection: Connection<B>) -> Taken<B> {
        let mut kept = self.lock();
        match connection {
            Connection::Http1(sender, address) => {
                kept.protocol = Some(Protocol::Http1);
                Taken::Http1(sender, address)
            }
            Connection::Http2(sender, address) => {
                kept.protocol = Some(Protocol::Http2);
                let streams = Arc::default();
                let counted = Counted::new(&streams);
                kept.http2.push(Shared {
                    sender: sender.clone(),
                    streams,
                    address,
                });
                Taken::Http2(sender, counted, address)
            }
        }
    }

    fn take_kept(&self) -> Option<Taken<B>> {
        let mut kept = self.lock();
        kept.http2.retain(|it| !it.sender.is_closed());
        let free = |it: &&Shared<B>| it.streams.load(Ordering::Relaxed) < STREAMS;
        if let Some(Shared {
            sender,
            streams,
            address,
        }) = kept.http2.iter().find(free)
        {
            return Some(Taken::Http2(
                sender.clone(),
                Counted::new(streams),
                *address,
            ));
        }
        while let Some(idle) = kept.http1.pop() {
            if idle.since.elapsed() > IDLE_TIME {
                // The others have waited longer.
                kept.http1.clear();
            } else if idle.sender.is_ready() {
                return Some(Taken::Http1(idle.sender, idle.address));
            }
        }
        None
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
