// SPDX-License-Identifier: MIT OR Apache-2.0
//! What all connections lead to: a server that sends, or takes, as much as it can, or says one byte back.

mod plain;
mod tls;

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Its name, for those who ask by name.
pub(crate) const NAME: &str = "bench.test";

/// Its address: of documentation (RFC 5737), so that nothing takes it for this host's own.
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);

/// Where it speaks a protocol of its own.
pub(crate) const PORT: u16 = 9000;

/// Where it speaks TLS, in which every byte is answered with one.
pub(crate) const TLS_PORT: u16 = 443;

/// What a client wants of a connection: what it sends, byte by byte. None of these could begin a request of HTTP or
/// a record of TLS, so that nobody in between waits for more of one.
pub(crate) const ECHO: u8 = 1;
/// From here on the origin sends.
pub(crate) const SOURCE: u8 = 2;
/// From here on it takes, and says a byte back for each [`ACKNOWLEDGED`] bytes.
pub(crate) const SINK: u8 = 3;

pub(crate) const ACKNOWLEDGED: usize = 256 << 10;

/// Starts it, on threads that inherit the caller's core and live as long as the process. Returns its certificate, PEM.
pub(crate) fn start() -> Result<String> {
    let plain = TcpListener::bind((ADDRESS, PORT)).context("the origin's listener")?;
    let tls = TcpListener::bind((ADDRESS, TLS_PORT)).context("the origin's listener")?;
    let key = rcgen::generate_simple_self_signed([NAME.to_owned()]).context("a certificate")?;
    let private = PrivatePkcs8KeyDer::from(key.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("TLS versions")?
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], PrivateKeyDer::Pkcs8(private))
        .context("the certificate")?;
    // Nobody comes back with one.
    config.send_tls13_tickets = 0;
    plain::start(plain)?;
    tls::start(&tls, &Arc::new(config))?;
    Ok(key.cert.pem())
}
