// SPDX-License-Identifier: MIT OR Apache-2.0
//! Settings that hold: [`Settings`] can only be made from [`RawSettings`] by a conversion that checks
//! everything and reports every fault at once.
//!
//! Reading files and the environment is not done here (see `standalone`): a [`RawSettings`] that still
//! names files is refused, so that a supervised proxy, which has no rights to read any, says so.

mod dns;
mod limits;
mod models;
mod parse;
mod proxy;
mod raw;
mod retry;
mod rewrite;
mod scan;
mod spend;
mod target;
mod telemetry;
mod variables;

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use keyward_policy::Policy;

pub use self::{
    dns::{Dns, DnsServer},
    limits::Limits,
    models::RawModels,
    proxy::{NoProxy, UpstreamProxy},
    raw::{
        RawAccessKey, RawCredential, RawDns, RawFederation, RawFollowed, RawInjection, RawLimits,
        RawLog, RawProvider, RawRetry, RawScan, RawSettings, RawSigning, RawUpstream,
        RawUpstreamProxy, RawVariant, RawVersions, SigningKind,
    },
    retry::Retry,
    rewrite::{RawRewrite, Rewrite},
    scan::{ScanMode, ScanSettings},
    spend::{RawSpend, RawWeights},
    target::{Scheme, Target},
    telemetry::{RawTelemetry, TelemetrySettings},
};
pub(crate) use self::{parse::is_identifier, target::check_base_path};
use crate::{
    provider::Providers,
    spend::{ModelRules, SpendLimits},
};

/// Settings, checked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// Identifier of the run, for log lines.
    pub run: Option<String>,
    /// Threads that serve.
    pub worker_threads: usize,
    /// Whom the gateway serves.
    pub providers: Providers,
    /// How upstreams are reached.
    pub upstream: UpstreamSettings,
    /// Which hosts may be reached besides the providers.
    pub policy: Policy,
    /// How names are answered and looked up.
    pub dns: Dns,
    /// Whether secrets are looked for in what the workload sends.
    pub scan: ScanSettings,
    /// Sizes and times.
    pub limits: Limits,
    /// When a request is sent again.
    pub retry: Retry,
    /// What is changed in requests on their way.
    pub rewrite: Rewrite,
    /// What a run may spend.
    pub spend: SpendLimits,
    /// Which models may be used.
    pub models: ModelRules,
    /// Where telemetry is sent to, if it is.
    pub telemetry: Option<TelemetrySettings>,
}

/// How upstreams are reached, checked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UpstreamSettings {
    /// Further trusted roots, PEM. They are parsed after the start, off its path.
    pub ca_pem: Vec<String>,
    /// Whether the host's own certificate store is trusted.
    pub system_roots: bool,
    /// Fixed addresses of hosts, in the order given.
    pub resolve: Vec<Resolution>,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
    /// How many requests at a time have an HTTP/1.1 connection each, before others share HTTP/2.
    pub http1_connections: usize,
    /// How often an HTTP/2 connection is asked whether it lives.
    pub ping: Duration,
    /// A proxy that everything goes through.
    pub proxy: Option<Arc<UpstreamProxy>>,
}

/// A fixed address of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resolution {
    /// Host, in lower case.
    pub host: String,
    /// Only for this port, if given.
    pub port: Option<u16>,
    /// Where it is dialled.
    pub address: SocketAddr,
}

/// Everything that is wrong with the settings, one line each, with the setting's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError(pub Vec<String>);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("settings: ")?;
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for SettingsError {}

impl UpstreamSettings {
    /// The fixed address of `host:port`, if there is one.
    #[must_use]
    pub fn resolved(&self, host: &str, port: u16) -> Option<SocketAddr> {
        let fits =
            |it: &&Resolution| it.host == host && it.port.is_none_or(|expected| expected == port);
        self.resolve.iter().find(fits).map(|it| it.address)
    }
}
