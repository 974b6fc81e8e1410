// SPDX-License-Identifier: MIT OR Apache-2.0
//! The start without a supervisor: a TOML file, credentials by reference, listeners of one's own.

mod follow;

use std::{
    fs::{self, File},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use zeroize::Zeroizing;

pub(crate) use self::follow::follow;
use self::follow::read;
use crate::{
    credential::{
        Credentials,
        follow::{Followed, take, take_telemetry},
        runner::Runner,
    },
    provider::{Provider, Providers},
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
    /// Where they came from, to look there again.
    pub followed: Vec<Followed>,
    /// A listener for each port of the gateway.
    pub listeners: Vec<(Arc<Provider>, TcpListener)>,
    /// Where the request log goes.
    pub requests: File,
    /// Where accounts of tokens go.
    pub tokens: Option<File>,
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
pub(crate) fn start(
    path: &Path,
    runner: Option<&Runner>,
    variable: impl Fn(&str) -> Option<Zeroizing<Vec<u8>>>,
) -> Result<Start, StartError> {
    let text = read_path(path)?;
    let text = str::from_utf8(&text).map_err(|error| StartError::File {
        path: path.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidData, error),
    })?;
    let mut raw: RawSettings = toml::from_str(text).map_err(|source| StartError::Toml {
        path: path.to_owned(),
        source,
    })?;
    raw.fill_from_variables(|name| {
        let value = variable(name)?;
        str::from_utf8(&value).ok().map(str::to_owned)
    });
    let listen = raw.listen.take().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    for file in std::mem::take(&mut raw.upstream.ca_files) {
        let pem = read_path(&file)?;
        raw.upstream
            .ca_pem
            .push(String::from_utf8_lossy(&pem).into_owned());
    }
    let mut faults = Vec::new();
    let mut followed = take(&mut raw.providers, &variable, &mut faults);
    followed.extend(take_telemetry(&mut raw.telemetry, &variable, &mut faults));
    let tokens = raw.log.token_usage.take().map(append).transpose()?;
    let requests = match raw.log.requests.take() {
        Some(path) => append(path)?,
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
    let settings = Settings::try_from(raw);
    let providers = settings.as_ref().map(|it| it.providers.clone());
    let providers = providers.unwrap_or_default();
    let credentials = credentials(&mut followed, &providers, runner, variable);
    let (settings, credentials) = match (settings, credentials) {
        (Ok(settings), Ok(credentials)) if faults.is_empty() => (settings, credentials),
        (settings, credentials) => {
            let found = [settings.err(), credentials.err()];
            faults.extend(found.into_iter().flatten().flat_map(|it| it.0));
            return Err(SettingsError(faults).into());
        }
    };
    let mut listeners = Vec::new();
    for provider in settings.providers.iter() {
        let address = SocketAddr::new(listen, provider.port);
        let listener =
            TcpListener::bind(address).map_err(|source| StartError::Listen { address, source })?;
        listeners.push((Arc::clone(provider), listener));
    }
    Ok(Start {
        settings,
        credentials,
        followed,
        listeners,
        requests,
        tokens,
        level,
    })
}

/// Follows the references to credentials; providers without one take their own variables.
fn credentials(
    references: &mut [Followed],
    providers: &Providers,
    runner: Option<&Runner>,
    variable: impl Fn(&str) -> Option<Zeroizing<Vec<u8>>>,
) -> Result<Credentials, SettingsError> {
    let mut faults = Vec::new();
    let mut found = match Credentials::from_variables(providers, &variable) {
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
    for it in references {
        match it.credential(providers, |it| read(it, runner, &variable)) {
            Ok(credential) => found.insert(&it.slot, credential),
            Err(fault) => faults.push(format!("{}: {fault}", it.setting)),
        }
    }
    match faults.is_empty() {
        true => Ok(found),
        false => Err(SettingsError(faults)),
    }
}

fn append(path: PathBuf) -> Result<File, StartError> {
    let file = File::options().create(true).append(true).open(&path);
    file.map_err(|source| StartError::File { path, source })
}

fn read_path(path: &Path) -> Result<Vec<u8>, StartError> {
    fs::read(path).map_err(|source| StartError::File {
        path: path.to_owned(),
        source,
    })
}
