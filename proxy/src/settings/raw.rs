// SPDX-License-Identifier: MIT OR Apache-2.0
//! Settings as they are written: by a person in TOML, or by the supervisor in JSON.
//!
//! Nothing here is checked; [`Settings`](super::Settings) is. Every struct refuses unknown names, so
//! that a misspelt limit is a fault and not a missing limit.

use std::{collections::BTreeMap, fmt, net::IpAddr, path::PathBuf};

use keyward_policy::{Answers, RawPolicy};
use serde::{Deserialize, Serialize};

/// Everything that can be set.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawSettings {
    /// Identifier of the run, for log lines: at most 64 of `[A-Za-z0-9_.-]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Address on which to bind the gateway's ports. Standalone only: under a supervisor the
    /// listeners are passed as descriptors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<IpAddr>,
    /// Threads that serve; 1 is right for one workload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_threads: Option<usize>,
    /// Per provider, by the provider's name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", alias = "provider")]
    pub providers: BTreeMap<String, RawProvider>,
    /// How upstreams are reached.
    pub upstream: RawUpstream,
    /// A proxy that everything goes through that leaves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_proxy: Option<RawUpstreamProxy>,
    /// Which hosts may be reached besides the providers.
    pub policy: RawPolicy,
    /// How names are answered and looked up.
    pub dns: RawDns,
    /// Sizes and times.
    pub limits: RawLimits,
    /// Where to write what.
    pub log: RawLog,
}

/// Settings of one provider.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawProvider {
    /// Where to send requests instead of the provider's own host: `host`, `host:port`,
    /// `https://host:port/path`, or, if `allow_plaintext` is set, `http://` and a loopback address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Path in front of every request at that target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_path: Option<String>,
    /// Allows a target with `http://` on a loopback address.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_plaintext: bool,
    /// Header that carries the credential, raw, instead of the provider's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_header: Option<String>,
    /// Whether a request that brings a credential other than the placeholder is refused (default), or
    /// has it replaced in silence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_placeholder: Option<bool>,
    /// Further routes, each `METHOD /path` or `METHOD /path/*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Headers set on every request, such as `openai-organization`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Where the credential is: `env:NAME` or `file:PATH`. Standalone only: a supervisor sends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// How upstreams are reached.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawUpstream {
    /// Further trusted roots, as the text of PEM files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ca_pem: Vec<String>,
    /// Further trusted roots, as PEM files to read at start. Standalone only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ca_files: Vec<PathBuf>,
    /// Whether the host's own certificate store is trusted (default).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_roots: Option<bool>,
    /// Fixed addresses, each `host=ip:port` or `host:port=ip:port`: that host is dialled there. The
    /// name that TLS verifies stays the host's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resolve: Vec<String>,
    /// Whether HTTP/2 is offered to upstreams (default).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http2: Option<bool>,
}

/// A proxy that everything goes through that leaves.
#[derive(Clone, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawUpstreamProxy {
    /// `http://host:port` or `https://host:port`, with `user:password@` in front of the host if it asks for them.
    pub url: String,
    /// What does not go through it: hosts with all below them, `.suffix`, `*.suffix`, addresses, networks, each with
    /// `:port` or without, or `*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub no_proxy: Vec<String>,
}

/// The URL may hold a password.
impl fmt::Debug for RawUpstreamProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawUpstreamProxy")
            .field("url", &"**")
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}

/// How names are answered and looked up.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawDns {
    /// What an allowed name is answered with.
    pub answers: Answers,
    /// Servers to ask in place of the host's own: an address, `address:port`, or the URL of a DNS over HTTPS service.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<String>,
}

/// Sizes in bytes, times in seconds. Absent: the default in `limits.rs`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
#[expect(
    missing_docs,
    reason = "each field is documented at the checked `Limits`"
)]
pub struct RawLimits {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnels: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_idle_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_idle_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub websocket_idle_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_bytes_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel_idle_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel_total_seconds: Option<f64>,
}

/// Where to write what.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawLog {
    /// File for the request log. Standalone only: a supervisor passes a descriptor. Absent: none
    /// under a supervisor, standard output standalone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<PathBuf>,
    /// `error`, `warn` (default), `info`, `debug`, `trace`: diagnostics, on standard error or the
    /// descriptor that the supervisor passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
}
