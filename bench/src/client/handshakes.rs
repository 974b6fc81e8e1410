// SPDX-License-Identifier: MIT OR Apache-2.0
//! TLS connections a second: a whole handshake each, end to end, whoever is in between.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::route::Place;
use super::{Rate, Route, Setup};
use crate::origin;

pub(super) fn run(
    route: &mut Route,
    setup: &Setup,
    clients: usize,
    time: Duration,
) -> Result<Rate> {
    let place = route.to(origin::TLS_PORT)?;
    let config = config(&setup.certificate)?;
    once(&place, &config)?;
    let begin = Instant::now();
    let one = || {
        let mut count = 0_u32;
        while begin.elapsed() < time {
            once(&place, &config)?;
            count += 1;
        }
        anyhow::Ok(count)
    };
    let count: u32 = std::thread::scope(|scope| {
        let running: Vec<_> = (0..clients).map(|_| scope.spawn(one)).collect();
        let ended = running.into_iter().map(|it| match it.join() {
            Ok(count) => count,
            Err(_panicked) => bail!("a client's thread panicked"),
        });
        ended.sum::<Result<u32>>()
    })?;
    Ok(Rate {
        per_second: f64::from(count) / begin.elapsed().as_secs_f64(),
    })
}

/// Connects, handshakes, has a byte sent each way, and says goodbye.
fn once(place: &Place, config: &Arc<ClientConfig>) -> Result<()> {
    let stream = place.open()?;
    let name = ServerName::try_from(origin::NAME).context("server name")?;
    let connection = ClientConnection::new(Arc::clone(config), name).context("TLS client")?;
    let mut tls = StreamOwned::new(connection, stream);
    tls.write_all(&[origin::ECHO]).context("TLS")?;
    tls.read_exact(&mut [0]).context("TLS")?;
    tls.conn.send_close_notify();
    tls.flush().context("TLS")
}

fn config(certificate: &str) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let trusted = CertificateDer::from_pem_slice(certificate.as_bytes()).context("certificate")?;
    roots.add(trusted).context("certificate")?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("TLS versions")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // Every handshake as the first.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}
