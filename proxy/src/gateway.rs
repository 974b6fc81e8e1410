// SPDX-License-Identifier: MIT OR Apache-2.0
//! The gateway: plain HTTP from the workload on one port a provider, verified TLS to that provider.
//!
//! A request passes through the files of this directory in the order that `stack` gives. A `Gateway`
//! is one port; a `Link` is one connection of the workload to it.

mod authorize;
mod betas;
mod body;
mod current;
mod endpoints;
mod forward;
mod frames;
pub mod guard;
mod inject;
pub(crate) mod inspect;
mod leak;
mod link;
mod listen;
mod mask;
pub mod path;
mod request_id;
mod retry;
mod rewrite;
mod sign;
mod stack;
pub mod strip;
mod tunnel;
pub mod websocket;

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use http::uri::{Authority, Scheme as UriScheme};
use tokio::sync::Semaphore;

use self::{betas::Refused, body::RequestBody};
pub(crate) use self::{current::Current, link::Link, listen::serve};
use crate::{
    egress::Resolver,
    metrics::Metrics,
    peers::Peers,
    provider::{Provider, Providers},
    request_log::RequestLog,
    scan::Scanner,
    settings::{Limits, Retry, Rewrite, Scheme, UpstreamSettings},
    spend::Spend,
    telemetry::Telemetry,
    upstream::{Connector, Pool, tls::Tls},
};

/// What all ports share.
pub(crate) struct Shared {
    pub(crate) run: Option<String>,
    pub(crate) limits: Limits,
    pub(crate) retry: Retry,
    pub(crate) rewrite: Rewrite,
    pub(crate) log: RequestLog,
    /// One line an answer that said what it cost.
    pub(crate) tokens: RequestLog,
    pub(crate) metrics: Metrics,
    pub(crate) peers: Arc<Peers>,
    pub(crate) providers: Providers,
    /// Names of those that can be served.
    pub(crate) configured: BTreeSet<String>,
    /// Looks for secrets, if that is asked for.
    pub(crate) scanner: Option<Scanner>,
    /// Is told of each request, if somebody asked for that.
    pub(crate) telemetry: Telemetry,
    pub(crate) started: Instant,
    /// For bodies that are collected, because a rule has to read them: in KiB.
    pub(crate) room_for_bodies: Arc<Semaphore>,
    pub(crate) spend: Arc<Spend>,
}

/// One port.
pub(crate) struct Gateway {
    pub(crate) provider: Arc<Provider>,
    pub(crate) shared: Arc<Shared>,
    /// `None`: no credential, every request is answered 503.
    pub(crate) serving: Option<Serving>,
}

/// What it takes to serve a provider.
pub(crate) struct Serving {
    current: Arc<Current>,
    pool: Pool<RequestBody>,
    scheme: UriScheme,
    authority: Authority,
    refused: Refused,
}

impl Serving {
    /// `None` when the pieces do not make a request, which checked settings rule out.
    pub(crate) fn new(
        provider: &Provider,
        current: Arc<Current>,
        upstream: &UpstreamSettings,
        limits: &Limits,
        tls: Tls,
        resolver: Resolver,
    ) -> Option<Self> {
        let authority = provider.target.authority().parse().ok()?;
        let scheme = match provider.target.scheme {
            Scheme::Http => UriScheme::HTTP,
            Scheme::Https => UriScheme::HTTPS,
        };
        let connector = Connector::new(
            provider.target.clone(),
            upstream,
            tls,
            resolver,
            limits.connect,
        );
        Some(Self {
            current,
            pool: Pool::new(connector, upstream.http1_connections),
            scheme,
            authority,
            refused: Refused::default(),
        })
    }
}
