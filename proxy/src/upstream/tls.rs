// SPDX-License-Identifier: MIT OR Apache-2.0
//! What upstreams' certificates are verified with.
//!
//! Reading and parsing the host's certificate store takes longer than everything else at start
//! together. So it happens on a thread of its own, once somebody asks or the start is over, and the first
//! connection waits for it.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use ::aws_lc_rs::rand;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio::sync::watch;

use crate::{refusal::UpstreamFault, settings::UpstreamSettings};

/// How long the loading leaves the processor to what starts: a workload that connects earlier than that asks for it,
/// and one that never connects may be over.
const LATER: Duration = Duration::from_millis(20);

/// TLS configurations that come when they are ready.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    loaded: watch::Receiver<Option<Result<Configs, UpstreamFault>>>,
    wanted: SyncSender<()>,
}

/// One configuration for each set of protocols that is offered.
#[derive(Clone, Debug)]
struct Configs {
    /// HTTP/2 where the upstream has it, else HTTP/1.1.
    any: Arc<ClientConfig>,
    /// HTTP/1.1 only: a WebSocket needs it.
    http1: Arc<ClientConfig>,
}

/// Loads the roots, when told to.
#[derive(Debug)]
pub(crate) struct Loader {
    sender: watch::Sender<Option<Result<Configs, UpstreamFault>>>,
    wanted: Receiver<()>,
    settings: UpstreamSettings,
}

impl Loader {
    /// Begins, on a thread of its own. A loader that is dropped instead lets every connection fail
    /// with [`UpstreamFault::NoRoots`].
    ///
    /// # Errors
    ///
    /// When no thread can be made. Roots that cannot be read are warned of and left out; if none is
    /// left, every connection fails with [`UpstreamFault::NoRoots`].
    pub(crate) fn start(self) -> io::Result<()> {
        thread::Builder::new()
            .name("roots".to_owned())
            .spawn(move || {
                if self.wanted.recv_timeout(LATER) == Err(RecvTimeoutError::Disconnected) {
                    return;
                }
                let configs = configs(&self.settings);
                seed();
                self.sender.send_replace(Some(configs));
            })?;
        Ok(())
    }
}

impl Tls {
    /// Configurations that are not there yet, and what makes them.
    #[must_use]
    pub(crate) fn new(settings: &UpstreamSettings) -> (Self, Loader) {
        let (sender, loaded) = watch::channel(None);
        let (want, wanted) = sync_channel(1);
        (
            Self {
                loaded,
                wanted: want,
            },
            Loader {
                sender,
                wanted,
                settings: settings.clone(),
            },
        )
    }

    /// The configuration, once it is there.
    pub(crate) async fn config(
        &self,
        http1_only: bool,
    ) -> Result<Arc<ClientConfig>, UpstreamFault> {
        // Full or closed: it was asked for already.
        self.wanted.try_send(()).ok();
        let mut receiver = self.loaded.clone();
        // An error here means that the loading thread died.
        let loaded = receiver.wait_for(Option::is_some).await;
        let loaded = loaded.map_err(|_closed| UpstreamFault::NoRoots)?;
        let configs = loaded.as_ref().ok_or(UpstreamFault::NoRoots)?.as_ref();
        let configs = configs.map_err(|fault| *fault)?;
        Ok(Arc::clone(if http1_only {
            &configs.http1
        } else {
            &configs.any
        }))
    }
}

/// Asks for randomness once: aws-lc makes its source at the first question, and the first handshake would ask on the
/// thread that serves everybody. Built without `.cargo/config.toml`, that takes 40 ms.
fn seed() {
    if rand::fill(&mut [0; 1]).is_err() {
        tracing::error!("no randomness");
    }
}

fn configs(settings: &UpstreamSettings) -> Result<Configs, UpstreamFault> {
    let mut roots = RootCertStore::empty();
    for pem in &settings.ca_pem {
        let (certificates, faults): (Vec<_>, Vec<_>) =
            CertificateDer::pem_slice_iter(pem.as_bytes()).partition(Result::is_ok);
        let (added, ignored) = roots.add_parsable_certificates(certificates.into_iter().flatten());
        if added == 0 || ignored + faults.len() > 0 {
            tracing::warn!(added, ignored, malformed = faults.len(), "further roots");
        }
    }
    if settings.system_roots {
        let native = rustls_native_certs::load_native_certs();
        let (added, ignored) = roots.add_parsable_certificates(native.certs);
        tracing::debug!(
            added,
            ignored,
            errors = native.errors.len(),
            "roots of the host"
        );
    }
    if roots.is_empty() {
        tracing::error!("no trusted root: no upstream can be verified");
        return Err(UpstreamFault::NoRoots);
    }
    let http2: &[&[u8]] = if settings.http2 {
        &[b"h2", b"http/1.1"]
    } else {
        &[b"http/1.1"]
    };
    let roots = Arc::new(roots);
    let any = config(Arc::clone(&roots), http2)?;
    let http1 = config(roots, &[b"http/1.1"])?;
    Ok(Configs { any, http1 })
}

fn config(roots: Arc<RootCertStore>, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, UpstreamFault> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_unsupported| UpstreamFault::TlsFailed)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|it| it.to_vec()).collect();
    Ok(Arc::new(config))
}
