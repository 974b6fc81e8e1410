// SPDX-License-Identifier: MIT OR Apache-2.0
//! The proxy as a value: doors are added, roots are loaded, and it runs until it is drained.

use std::{io, net, os::unix::net::UnixListener, sync::Arc, time::Instant};

use tokio::{
    net::{TcpListener, UdpSocket},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};

use crate::{
    binding::unbound,
    credential::{Client, Credentials, Rotation},
    dns,
    egress::{Dialler, Egress, Names, Resolver, Via},
    explicit,
    gateway::{Gateway, Serving, Shared, serve},
    metrics::Metrics,
    peers::Peers,
    provider::{Provider, Providers},
    request_log::RequestLog,
    scan::Scanner,
    settings::{Limits, Settings, SettingsError},
    spend::Spend,
    status,
    telemetry::{Exporter, Telemetry},
    transparent,
    upstream::{
        Connector,
        tls::{Loader, Tls},
    },
};

/// A proxy. Dropping it ends every connection at once.
pub struct Server {
    settings: Settings,
    rotation: Rotation,
    shared: Arc<Shared>,
    tls: Tls,
    loader: Option<Loader>,
    room: Arc<Semaphore>,
    /// The same at the doors for egress by host name: a flood there leaves the gateway alone.
    tunnels: Arc<Semaphore>,
    draining: watch::Sender<bool>,
    doors: JoinSet<()>,
    /// The sockets of the DNS door, for what lies unread in them at the end, and who answers there until then.
    datagrams: Vec<Arc<UdpSocket>>,
    answering: JoinSet<()>,
    /// Doors that have nothing to drain.
    endless: JoinSet<()>,
    egress: Arc<Egress>,
    exporter: Option<Arc<Exporter>>,
}

/// Where lines go.
#[derive(Clone, Debug)]
pub struct Logs {
    /// One line a request at the gateway.
    pub requests: RequestLog,
    /// One line an answer at the gateway that said what it cost.
    pub tokens: RequestLog,
    /// One line a decision about a host.
    pub audit: RequestLog,
}

impl Server {
    /// A proxy without doors. Needs a Tokio runtime from here on.
    ///
    /// # Errors
    ///
    /// When a credential may not go to its provider's target, or the host's own resolver configuration
    /// cannot be used.
    pub fn new(
        settings: Settings,
        credentials: Credentials,
        logs: Logs,
        peers: Peers,
    ) -> io::Result<Self> {
        let unbound = unbound(&settings.providers, &credentials);
        if !unbound.is_empty() {
            let faults = unbound.iter().map(ToString::to_string).collect();
            let faults = SettingsError(faults);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, faults));
        }
        let peers = Arc::new(peers);
        let upstream = Arc::new(settings.upstream.clone());
        let (tls, loader) = Tls::new(&settings.upstream);
        let resolver = Resolver::new(&settings.dns, tls.clone());
        let via = Via::new(&settings.upstream, tls.clone(), resolver.clone());
        let scanner = Scanner::new(&settings.scan, &credentials, &settings.providers)
            .map_err(io::Error::other)?;
        let mut egress = Egress::new(
            settings.run.clone(),
            settings.limits,
            Arc::clone(&peers),
            logs.audit,
            Names::new(settings.dns.answers),
            Dialler::new(upstream, resolver, via, settings.limits.connect),
            settings.policy.clone(),
        );
        egress.scanner.clone_from(&scanner);
        let telemetry = settings.telemetry.as_ref();
        let telemetry = telemetry.map(|it| Telemetry::new(it.traces));
        let telemetry = telemetry.unwrap_or_default();
        egress.telemetry.clone_from(&telemetry);
        let providers = settings.providers.clone();
        let rotation = Rotation::new(&providers, &credentials, scanner.clone());
        let configured = rotation.configured().map(str::to_owned).collect();
        let shared = Shared {
            run: settings.run.clone(),
            limits: settings.limits,
            retry: settings.retry.clone(),
            rewrite: settings.rewrite.clone(),
            log: logs.requests,
            tokens: logs.tokens,
            metrics: Metrics::new(&providers),
            peers,
            providers,
            configured,
            scanner,
            telemetry: telemetry.clone(),
            room_for_bodies: Arc::new(Semaphore::new(room_for_bodies(&settings.limits))),
            started: Instant::now(),
            spend: Arc::new(Spend::new(settings.spend.clone(), settings.models.clone())),
        };
        let mut endless = JoinSet::new();
        let exporter = settings.telemetry.clone().map(|to| {
            let connector = Connector::new(
                to.target.clone(),
                &settings.upstream,
                tls.clone(),
                egress.dialler.resolver().clone(),
                settings.limits.connect,
            );
            let (inputs, run) = (rotation.inputs(), settings.run.clone());
            Arc::new(Exporter::new(telemetry, to, connector, inputs, run))
        });
        if let Some(exporter) = &exporter {
            endless.spawn(Arc::clone(exporter).run());
        }
        for provider in settings.providers.iter() {
            let client = Client {
                upstream: settings.upstream.clone(),
                tls: tls.clone(),
                resolver: egress.dialler.resolver().clone(),
                connect: settings.limits.connect,
            };
            if let Some(keeping) = rotation.keeping(provider, client) {
                endless.spawn(keeping);
            }
        }
        Ok(Self {
            egress: Arc::new(egress),
            room: Arc::new(Semaphore::new(settings.limits.connections)),
            tunnels: Arc::new(Semaphore::new(settings.limits.tunnels)),
            settings,
            rotation,
            shared: Arc::new(shared),
            tls,
            loader: Some(loader),
            draining: watch::Sender::new(false),
            datagrams: Vec::new(),
            answering: JoinSet::new(),
            doors: JoinSet::new(),
            endless,
            exporter,
        })
    }

    /// Whom it has gateways for.
    #[must_use]
    pub fn providers(&self) -> &Providers {
        &self.settings.providers
    }

    /// What a new policy is given to.
    pub(crate) fn egress(&self) -> Arc<Egress> {
        Arc::clone(&self.egress)
    }

    /// What a new credential is given to.
    #[must_use]
    pub fn rotation(&self) -> Rotation {
        self.rotation.clone()
    }

    /// Serves connections that the kernel redirected.
    ///
    /// # Errors
    ///
    /// When the listener cannot be made asynchronous.
    pub fn add_transparent(&mut self, listener: net::TcpListener) -> io::Result<()> {
        let listener = asynchronous(listener)?;
        let (egress, room) = (self.egress(), Arc::clone(&self.tunnels));
        let draining = self.draining.subscribe();
        self.doors
            .spawn(transparent::serve(egress, listener, room, draining));
        Ok(())
    }

    /// Serves clients that know that it is a proxy.
    ///
    /// # Errors
    ///
    /// When the listener cannot be made asynchronous.
    pub fn add_explicit(&mut self, listener: net::TcpListener) -> io::Result<()> {
        let listener = asynchronous(listener)?;
        let (egress, room) = (self.egress(), Arc::clone(&self.tunnels));
        let draining = self.draining.subscribe();
        self.doors
            .spawn(explicit::serve(egress, listener, room, draining));
        Ok(())
    }

    /// Tells root what is going on.
    ///
    /// # Errors
    ///
    /// When the listener cannot be made asynchronous.
    pub fn add_status(&mut self, listener: UnixListener) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::UnixListener::from_std(listener)?;
        self.endless.spawn(status::serve(self.egress(), listener));
        Ok(())
    }

    /// Serves `provider` on `listener`. Without a credential every request there is answered 503.
    ///
    /// # Errors
    ///
    /// When the listener cannot be made asynchronous.
    pub fn add_gateway(
        &mut self,
        provider: Arc<Provider>,
        listener: net::TcpListener,
    ) -> io::Result<()> {
        let listener = asynchronous(listener)?;
        let current = self.rotation.current(&provider.name);
        let serving = current.and_then(|current| {
            let limits: &Limits = &self.settings.limits;
            Serving::new(
                &provider,
                current,
                &self.settings.upstream,
                limits,
                self.tls.clone(),
                self.egress.dialler.resolver().clone(),
            )
        });
        let gateway = Gateway {
            provider,
            shared: Arc::clone(&self.shared),
            serving,
        };
        let room = Arc::clone(&self.room);
        self.doors.spawn(serve(
            Arc::new(gateway),
            listener,
            room,
            self.draining.subscribe(),
        ));
        Ok(())
    }

    /// Answers DNS on a bound UDP socket.
    ///
    /// # Errors
    ///
    /// When the socket cannot be made asynchronous.
    pub fn add_dns_udp(&mut self, socket: net::UdpSocket) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        let socket = Arc::new(UdpSocket::from_std(socket)?);
        self.datagrams.push(Arc::clone(&socket));
        self.answering.spawn(dns::serve_udp(self.egress(), socket));
        Ok(())
    }

    /// Answers DNS on a listening TCP socket.
    ///
    /// # Errors
    ///
    /// When the listener cannot be made asynchronous.
    pub fn add_dns_tcp(&mut self, listener: net::TcpListener) -> io::Result<()> {
        let listener = asynchronous(listener)?;
        self.endless.spawn(dns::serve_tcp(self.egress(), listener));
        Ok(())
    }

    /// Begins to load the trusted roots. Apart from the rest because it takes longer than everything
    /// else together, and nothing waits for it but the first upstream connection.
    ///
    /// # Errors
    ///
    /// When no thread can be made.
    pub fn load_roots(&mut self) -> io::Result<()> {
        self.loader.take().map_or(Ok(()), Loader::start)
    }

    /// Serves until `drain` is over; then takes no new connections, waits for what runs, for as long
    /// as the settings say, and ends.
    pub async fn run(mut self, drain: impl Future<Output = ()>) {
        drain.await;
        self.draining.send_replace(true);
        let all = async { while self.doors.join_next().await.is_some() {} };
        if timeout(self.settings.limits.drain, all).await.is_err() {
            tracing::warn!("connections were still open at the end of the drain");
        }
        // What was asked in the last moment is to be in the log, too: what somebody has read, and what nobody has.
        self.answering.shutdown().await;
        for socket in &self.datagrams {
            dns::drain_udp(&self.egress, socket);
        }
        if let Some(exporter) = &self.exporter {
            exporter.finish().await;
        }
    }
}

/// All bodies that are collected at a time, in KiB: 256 MiB, and at least one of the largest.
fn room_for_bodies(limits: &Limits) -> usize {
    let largest = usize::try_from(limits.body.div_ceil(1024)).unwrap_or(usize::MAX);
    largest.clamp(256 * 1024, Semaphore::MAX_PERMITS)
}

fn asynchronous(listener: net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}
