// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starting and stopping an emulator, and accepting connections.
//!
//! The emulator runs on one thread of its own, so that it can be started from synchronous and
//! asynchronous code alike and pinned to a core. Its sockets are bound on the *calling* thread: a
//! network namespace belongs to a thread, and callers choose it by being in it.

mod connection;
mod wire;

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::authority::Authority;
use crate::record::Recorder;
use crate::{Behaviour, BehaviourError, Options, Record};

/// Starts emulators.
#[derive(Debug)]
pub struct Emulator;

/// A running emulator. Dropping it stops it and closes its connections.
#[derive(Debug)]
pub struct Handle {
    addresses: Vec<SocketAddr>,
    ca_pem: String,
    recorder: Arc<Recorder>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// Why an emulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `Options::listen` is empty.
    #[error("no address to listen on")]
    NoAddress,
    /// An address could not be bound.
    #[error("listening on {address}: {source}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The certificates could not be made: a name is not one, most likely.
    #[error("making certificates: {0}")]
    Certificate(#[source] rcgen::Error),
    /// The TLS configuration was refused.
    #[error("configuring TLS: {0}")]
    Tls(#[source] rustls::Error),
    /// One of `Options::first` means nothing.
    #[error("the first answers: {0}")]
    First(#[from] BehaviourError),
    /// The record file could not be opened.
    #[error("opening the record file: {0}")]
    Record(#[source] io::Error),
    /// The runtime or its thread could not be started.
    #[error("starting the runtime: {0}")]
    Runtime(#[source] io::Error),
}

impl Emulator {
    /// Binds, makes certificates and serves: when this returns, connections are accepted.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(options: Options) -> Result<Handle, StartError> {
        let authority = Authority::new(&options.names, options.alpn)?;
        let first = options.first.iter();
        let first = first
            .map(|it| options.behaviour.with(it))
            .collect::<Result<_, _>>()?;
        let recorder = Arc::new(Recorder::new(&options).map_err(StartError::Record)?);
        let listeners = bind(&options.listen)?;
        let addresses = listeners.iter().map(|(address, _)| *address).collect();
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::Runtime)?;
        let server = Arc::new(Server {
            options,
            first: Mutex::new(first),
            recorder: Arc::clone(&recorder),
            connections: AtomicU64::new(0),
        });
        let acceptor = TlsAcceptor::from(authority.server);
        let listeners = {
            let _entered = runtime.enter();
            let from_std = |(address, listener)| {
                tokio::net::TcpListener::from_std(listener)
                    .map_err(|source| StartError::Listen { address, source })
            };
            listeners
                .into_iter()
                .map(from_std)
                .collect::<Result<Vec<_>, _>>()?
        };
        let serve = move || runtime.block_on(server.serve(listeners, acceptor, stopped));
        let thread = std::thread::Builder::new()
            .name("emulator".to_owned())
            .spawn(serve)
            .map_err(StartError::Runtime)?;
        Ok(Handle {
            addresses,
            ca_pem: authority.ca_pem,
            recorder,
            stop,
            thread: Some(thread),
        })
    }
}

fn bind(wanted: &[SocketAddr]) -> Result<Vec<(SocketAddr, TcpListener)>, StartError> {
    if wanted.is_empty() {
        return Err(StartError::NoAddress);
    }
    let listen = |&address: &SocketAddr| {
        let bound = TcpListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok((listener.local_addr()?, listener))
        });
        bound.map_err(|source| StartError::Listen { address, source })
    };
    wanted.iter().map(listen).collect()
}

impl Handle {
    /// The first address that it listens on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Every address that it listens on, in the order asked for.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The certificate to trust, PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// What arrived so far, in order of arrival; empty if `Options::keep_records` is off.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.recorder.records()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The receiver is gone only if the thread has ended already.
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take()
            && let Err(panic) = thread.join()
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// What every connection shares.
struct Server {
    options: Options,
    /// What is left of [`Options::first`].
    first: Mutex<VecDeque<Behaviour>>,
    recorder: Arc<Recorder>,
    connections: AtomicU64,
}

impl Server {
    async fn serve(
        self: Arc<Self>,
        listeners: Vec<tokio::net::TcpListener>,
        acceptor: TlsAcceptor,
        mut stopped: watch::Receiver<bool>,
    ) {
        for listener in listeners {
            tokio::spawn(accept(Arc::clone(&self), listener, acceptor.clone()));
        }
        // Returning ends the runtime, and with it every connection. An error means that the handle
        // is gone, which comes to the same.
        stopped.wait_for(|stop| *stop).await.ok();
    }
}

async fn accept(server: Arc<Server>, listener: tokio::net::TcpListener, acceptor: TlsAcceptor) {
    loop {
        let Ok((stream, _peer)) = listener.accept().await else {
            // Out of descriptors, most likely: others must close some first.
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            continue;
        };
        let number = server.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let (server, acceptor) = (Arc::clone(&server), acceptor.clone());
        tokio::spawn(async move {
            // Without this, small writes of a stream would wait for acknowledgements. A failure
            // costs time only.
            stream.set_nodelay(true).ok();
            // A client that does not trust the CA, or goes away, is not the emulator's fault, and
            // nobody is waiting to hear of it.
            if let Ok(stream) = acceptor.accept(stream).await {
                connection::serve(server, number, stream).await;
            }
        });
    }
}
