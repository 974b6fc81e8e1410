// SPDX-License-Identifier: MIT OR Apache-2.0
//! The start without a supervisor: a TOML file, credentials by reference, listeners of one's own.

use std::{
    fs::{self, File},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::{
    credential::{Credential, Credentials},
    provider::{Provider, provider, providers},
    settings::{RawSettings, Settings, SettingsError},
};

/// Everything that a standalone proxy starts with.
#[derive(Debug)]
#[non_exhaustive]
pub struct Start {
    /// Checked settings.
    pub settings: Settings,
    /// The credentials that the settings refer to.
    pub credentials: Credentials,
    /// A listener for each port of the gateway.
    pub listeners: Vec<(&'static Provider, TcpListener)>,
    /// Where the request log goes.
    pub requests: File,
    /// Level of the diagnostics.
    pub level: Option<String>,
}

/// Why a standalone proxy does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file cannot be read or written.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The configuration is not TOML of the right shape.
    #[error("{}", path.display())]
    Toml {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: toml::de::Error,
    },
    /// The settings do not hold.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// An address cannot be bound.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Reads the configuration and everything that it refers to, and opens the listeners.
///
/// `variable` looks an environment variable up. Without a `credential` in the file, a provider takes
/// its own variables, as the firewall would.
///
/// # Errors
///
/// The first thing that cannot be read; of the settings, every fault.
pub fn start(
    path: &Path,
    variable: impl Fn(&str) -> Option<Zeroizing<Vec<u8>>>,
) -> Result<Start, StartError> {
    let text = read(path)?;
    let text = str::from_utf8(&text).map_err(|error| StartError::File {
        path: path.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidData, error),
    })?;
    let mut raw: RawSettings = toml::from_str(text).map_err(|source| StartError::Toml {
        path: path.to_owned(),
        source,
    })?;
    let listen = raw.listen.take().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    for file in std::mem::take(&mut raw.upstream.ca_files) {
        let pem = read(&file)?;
        raw.upstream
            .ca_pem
            .push(String::from_utf8_lossy(&pem).into_owned());
    }
    let (credentials, mut faults) = credentials(&mut raw, variable);
    let requests = match raw.log.requests.take() {
        Some(path) => File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|source| StartError::File { path, source })?,
        None => io::stdout()
            .as_fd()
            .try_clone_to_owned()
            .map(File::from)
            .map_err(|source| StartError::File {
                path: PathBuf::from("standard output"),
                source,
            })?,
    };
    let level = raw.log.level.clone();
    let settings = match Settings::try_from(raw) {
        Ok(settings) if faults.is_empty() => settings,
        Ok(_) => return Err(SettingsError(faults).into()),
        Err(SettingsError(more)) => {
            faults.extend(more);
            return Err(SettingsError(faults).into());
        }
    };
    let mut listeners = Vec::new();
    for provider in providers() {
        let address = SocketAddr::new(listen, provider.port);
        let listener =
            TcpListener::bind(address).map_err(|source| StartError::Listen { address, source })?;
        listeners.push((provider, listener));
    }
    Ok(Start {
        settings,
        credentials,
        listeners,
        requests,
        level,
    })
}

/// Takes the references to credentials out of the settings and follows them.
fn credentials(
    raw: &mut RawSettings,
    variable: impl Fn(&str) -> Option<Zeroizing<Vec<u8>>>,
) -> (Credentials, Vec<String>) {
    let mut faults = Vec::new();
    let mut found = match Credentials::from_variables(&variable) {
        Ok(found) => found,
        Err(wrong) => {
            faults.extend(
                wrong
                    .into_iter()
                    .map(|(name, fault)| format!("{name}: {fault}")),
            );
            Credentials::new()
        }
    };
    for (name, settings) in &mut raw.providers {
        let (Some(provider), Some(reference)) = (provider(name), settings.credential.take()) else {
            continue;
        };
        let value = follow(&reference, &variable).and_then(|value| {
            let credential = Credential::new(value).map_err(|fault| fault.to_string())?;
            found
                .insert(provider, credential)
                .map_err(|fault| fault.to_string())
        });
        if let Err(fault) = value {
            faults.push(format!("providers.{name}.credential: {fault}"));
        }
    }
    (found, faults)
}

fn follow(
    reference: &str,
    variable: &impl Fn(&str) -> Option<Zeroizing<Vec<u8>>>,
) -> Result<Zeroizing<Vec<u8>>, String> {
    match reference.split_once(':') {
        Some(("env", name)) => variable(name).ok_or_else(|| format!("{name} is not set")),
        Some(("file", path)) => fs::read(path)
            .map(Zeroizing::new)
            .map_err(|error| format!("{path}: {error}")),
        // The text may be a credential that was written where a reference belongs: not quoted.
        Some(_) | None => Err("it must be env:NAME or file:PATH".to_owned()),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, StartError> {
    fs::read(path).map_err(|source| StartError::File {
        path: path.to_owned(),
        source,
    })
}
