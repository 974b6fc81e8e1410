// SPDX-License-Identifier: GPL-3.0-or-later
//! Names, users and certificates: what programs find on a host and trust.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// A certificate authority, and one certificate of it.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority's certificate, PEM.
    pub ca: PathBuf,
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes them for these names and addresses, in a directory.
    ///
    /// # Errors
    ///
    /// A name is none, or a file cannot be written.
    pub fn make(directory: &Path, names: impl Iterator<Item = String>) -> Result<Self> {
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, "outside");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate()?;
        let ca_pem = ca.self_signed(&ca_key)?.pem();
        let issuer = Issuer::new(ca, ca_key);
        let mut leaf = CertificateParams::new(names.collect::<Vec<_>>())?;
        leaf.use_authority_key_identifier_extension = true;
        let leaf_key = KeyPair::generate()?;
        let leaf = leaf.signed_by(&leaf_key, &issuer)?;
        let write = |name: &str, text: String| {
            let path = directory.join(name);
            fs::write(&path, text)
                .with_context(|| format!("cannot write {}", path.display()))
                .map(|()| path)
        };
        Ok(Self {
            ca: write("ca.pem", ca_pem)?,
            certificate: write("leaf.pem", leaf.pem())?,
            key: write("leaf.key", leaf_key.serialize_pem())?,
        })
    }
}

/// Lays a file over one of the machine's, in the calling thread's own mount namespace.
///
/// # Errors
///
/// It takes root, and a file of that name.
pub fn lay_over(directory: &Path, path: &str, content: &str) -> Result<()> {
    let name = Path::new(path).file_name().context("a file's name")?;
    let file = directory.join(name);
    fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))?;
    let nothing: Option<&str> = None;
    mount(Some(&file), path, nothing, MsFlags::MS_BIND, nothing)
        .with_context(|| format!("cannot lay a file over {path}"))
}

/// `/etc/hosts` with these names and addresses.
#[must_use]
pub fn hosts(names: &[(&str, &str)]) -> String {
    let lines = names
        .iter()
        .map(|(name, address)| format!("{address} {name}\n"));
    format!(
        "127.0.0.1 localhost\n::1 localhost\n{}",
        lines.collect::<String>()
    )
}
