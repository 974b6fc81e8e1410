// SPDX-License-Identifier: MIT OR Apache-2.0
//! The emulator's own certificate authority: made at start, gone at exit, trusted by nobody who was
//! not handed its certificate.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::{Alpn, StartError};

/// The names that every leaf has.
const NAMES: &[&str] = &[
    "api.openai.com",
    "api.anthropic.com",
    "api.githubcopilot.com",
    "generativelanguage.googleapis.com",
    "aiplatform.googleapis.com",
    "bedrock-runtime.us-east-1.amazonaws.com",
    "localhost",
    "127.0.0.1",
    "::1",
];

/// A fresh CA, and the TLS configuration of a server with a leaf that it signed.
pub(crate) struct Authority {
    /// The CA's certificate, PEM.
    pub(crate) ca_pem: String,
    pub(crate) server: Arc<ServerConfig>,
}

impl Authority {
    pub(crate) fn new(names: &[String], alpn: Alpn) -> Result<Self, StartError> {
        let mut ca = CertificateParams::default();
        ca.distinguished_name
            .push(DnType::CommonName, "keyward emulator CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_key = KeyPair::generate().map_err(StartError::Certificate)?;
        let ca_pem = ca
            .self_signed(&ca_key)
            .map_err(StartError::Certificate)?
            .pem();
        let issuer = Issuer::new(ca, ca_key);

        let mut all: Vec<String> = NAMES.iter().map(|&name| name.to_owned()).collect();
        all.extend(names.iter().cloned());
        let mut leaf = CertificateParams::new(all).map_err(StartError::Certificate)?;
        leaf.distinguished_name
            .push(DnType::CommonName, "keyward emulator");
        leaf.use_authority_key_identifier_extension = true;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf_key = KeyPair::generate().map_err(StartError::Certificate)?;
        let leaf = leaf
            .signed_by(&leaf_key, &issuer)
            .map_err(StartError::Certificate)?;

        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(StartError::Tls)?
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .map_err(StartError::Tls)?;
        server.alpn_protocols = match alpn {
            Alpn::Both => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Alpn::Http1 => vec![b"http/1.1".to_vec()],
            Alpn::Http2 => vec![b"h2".to_vec()],
        };
        Ok(Self {
            ca_pem,
            server: Arc::new(server),
        })
    }
}
