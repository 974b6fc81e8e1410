// SPDX-License-Identifier: MIT OR Apache-2.0
//! One new connection: name, TCP, TLS with the host's verified name, HTTP.

use std::{
    fmt::Display,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use http_body::Body;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use keyward_policy::Name;
use rustls::{AlertDescription, pki_types::ServerName};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Stream, Wire, race, tls::Tls};
use crate::{
    backoff::part,
    egress::{Resolver, Via},
    refusal::UpstreamFault,
    settings::{Scheme, Target, UpstreamSettings},
};

/// Receive window of one stream. Bounds what a workload that does not read makes us hold.
const STREAM_WINDOW: u32 = 256 * 1024;

/// Receive window of a connection: as much as all its streams together, so that workloads that do not
/// read cannot stop those that do.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * 128;

/// How often a connection is tried, where it is refused or reset before it carried anything.
const ATTEMPTS: u32 = 3;

/// The longest pause before the second attempt; it doubles with each further one.
const PAUSE: Duration = Duration::from_millis(100);

/// Makes connections to one target.
#[derive(Debug)]
pub(crate) struct Connector {
    target: Target,
    fixed: Option<SocketAddr>,
    via: Option<Via>,
    tls: Tls,
    resolver: Resolver,
    time: Duration,
    ping: Duration,
}

/// What was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// A new connection, ready for requests.
pub(crate) enum Connection<B> {
    Http1(http1::SendRequest<B>, SocketAddr),
    Http2(http2::SendRequest<B>, SocketAddr),
}

impl Connector {
    pub(crate) fn new(
        target: Target,
        settings: &UpstreamSettings,
        tls: Tls,
        resolver: Resolver,
        time: Duration,
    ) -> Self {
        let fixed = settings.resolved(&target.host, target.port);
        let host = target.host.parse().ok();
        let via = Via::new(settings, tls.clone(), resolver.clone())
            .filter(|via| host.is_some_and(|host| via.leads_to(&host, target.port)));
        Self {
            target,
            fixed,
            via,
            tls,
            resolver,
            time,
            ping: settings.ping,
        }
    }

    /// A connection for plain requests: in HTTP/1.1, or in the best protocol that the upstream has.
    pub(crate) async fn connect<B>(&self, http1_only: bool) -> Result<Connection<B>, UpstreamFault>
    where
        B: Body + Unpin + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (stream, address, protocol) = self.stream(http1_only).await?;
        match protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::handshake(TokioIo::new(stream))
                    .await
                    .map_err(broken)?;
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "upstream connection ended");
                    }
                });
                Ok(Connection::Http1(sender, address))
            }
            Protocol::Http2 => {
                let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                    .timer(TokioTimer::new())
                    .initial_stream_window_size(STREAM_WINDOW)
                    .initial_connection_window_size(CONNECTION_WINDOW)
                    .keep_alive_interval(self.ping)
                    .keep_alive_timeout(self.ping / 3)
                    .keep_alive_while_idle(true)
                    .max_send_buf_size(64 * 1024)
                    .handshake(TokioIo::new(stream))
                    .await
                    .map_err(broken)?;
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "upstream connection ended");
                    }
                });
                Ok(Connection::Http2(sender, address))
            }
        }
    }

    /// A connection of its own for one request that may be upgraded: HTTP/1.1, never shared.
    pub(crate) async fn connect_for_upgrade<B>(
        &self,
    ) -> Result<(http1::SendRequest<B>, SocketAddr), UpstreamFault>
    where
        B: Body + Unpin + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (stream, address, _) = self.stream(true).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "upstream connection ended");
            }
        });
        Ok((sender, address))
    }

    /// TCP and TLS. A server that is just being replaced refuses for a moment; no request has been sent
    /// yet, so another attempt repeats nothing.
    async fn stream(
        &self,
        http1_only: bool,
    ) -> Result<(Stream<Wire>, SocketAddr, Protocol), UpstreamFault> {
        let end = Instant::now() + self.time;
        let mut attempt = 1;
        loop {
            let fault = match timeout_at(end, self.try_stream(http1_only)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(fault)) => fault,
                Err(_late) => return Err(UpstreamFault::ConnectTimedOut),
            };
            let most = PAUSE * 2_u32.pow(attempt - 1);
            let pause = most / 2 + part(most / 2);
            let passing = matches!(fault, UpstreamFault::Unreachable | UpstreamFault::Reset);
            if !passing || attempt == ATTEMPTS || Instant::now() + pause >= end {
                return Err(fault);
            }
            tracing::debug!(target_host = %self.target, attempt, "connecting again");
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    async fn try_stream(
        &self,
        http1_only: bool,
    ) -> Result<(Stream<Wire>, SocketAddr, Protocol), UpstreamFault> {
        let wire = match (self.fixed, &self.via) {
            (Some(address), _) => Wire::Plain(race::dial(address).await?),
            (None, Some(via)) => {
                let port = self.target.port;
                via.tunnel(&self.target.host, port).await.map_err(|fault| {
                    tracing::warn!(target_host = %self.target, %fault, "upstream proxy");
                    UpstreamFault::Unreachable
                })?
            }
            (None, None) => Wire::Plain(self.dial_name().await?),
        };
        let address = wire
            .tcp()
            .peer_addr()
            .map_err(|_gone| UpstreamFault::Unreachable)?;
        match self.target.scheme {
            Scheme::Http => Ok((Stream::Plain(wire), address, Protocol::Http1)),
            Scheme::Https => {
                let tls = self.handshake(wire, http1_only).await?;
                let protocol = match tls.get_ref().1.alpn_protocol() {
                    Some(b"h2") => Protocol::Http2,
                    Some(_) | None => Protocol::Http1,
                };
                Ok((Stream::Tls(Box::new(tls)), address, protocol))
            }
        }
    }

    async fn handshake(
        &self,
        wire: Wire,
        http1_only: bool,
    ) -> Result<TlsStream<Wire>, UpstreamFault> {
        let config = self.tls.config(http1_only).await?;
        let name = ServerName::try_from(self.target.host.clone())
            .map_err(|_not_a_name| UpstreamFault::TlsFailed)?;
        TlsConnector::from(config)
            .connect(name, wire)
            .await
            .map_err(|error| {
                if is_other_protocol(&error) {
                    return UpstreamFault::NoProtocol;
                }
                tracing::warn!(target_host = %self.target, %error, "TLS handshake failed");
                // What rustls itself objects to; anything else came from the connection.
                if error.kind() == io::ErrorKind::InvalidData {
                    UpstreamFault::TlsFailed
                } else {
                    UpstreamFault::Reset
                }
            })
    }

    /// Resolves the name and dials its addresses.
    async fn dial_name(&self) -> Result<TcpStream, UpstreamFault> {
        if let Ok(address) = self.target.host.parse::<IpAddr>() {
            return race::dial(SocketAddr::new(address, self.target.port)).await;
        }
        let not_resolved = |error: &dyn Display| {
            tracing::warn!(target_host = %self.target, %error, "name not resolved");
            UpstreamFault::NotResolved
        };
        let name = self.target.host.parse::<Name>();
        let name = name.map_err(|error| not_resolved(&error))?;
        let addresses = self.resolver.resolve(&name).await;
        let addresses = addresses.map_err(|error| not_resolved(&error))?;
        let at_port = |it| SocketAddr::new(it, self.target.port);
        race::connect(addresses.into_iter().map(at_port).collect()).await
    }
}

fn broken(error: hyper::Error) -> UpstreamFault {
    tracing::debug!(%error, "HTTP handshake failed");
    UpstreamFault::Reset
}

/// Whether the upstream has none of the protocols that it was offered (RFC 7301, section 3.2).
fn is_other_protocol(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|it| it.downcast_ref());
    let alert = AlertDescription::NoApplicationProtocol;
    matches!(error, Some(rustls::Error::AlertReceived(it)) if *it == alert)
}
