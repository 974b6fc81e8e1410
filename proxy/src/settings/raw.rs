// SPDX-License-Identifier: MIT OR Apache-2.0
//! Settings as they are written: by a person in TOML, or by the supervisor in JSON.
//!
//! Nothing here is checked; [`Settings`](super::Settings) is. Every struct refuses unknown names, so
//! that a misspelt limit is a fault and not a missing limit.

use std::{collections::BTreeMap, fmt, net::IpAddr, path::PathBuf};

use keyward_policy::{Answers, RawPolicy};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, MapAccess, Visitor},
};

use super::{RawModels, RawRewrite, RawSpend, RawTelemetry, ScanMode};
use crate::provider::{AccessKeyVariables, Dialect};

/// Everything that can be set.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
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
    #[serde(skip_serializing_if = "BTreeMap::is_empty", rename = "provider")]
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
    /// Whether secrets are looked for in what the workload sends.
    pub scan: RawScan,
    /// Sizes and times.
    pub limits: RawLimits,
    /// Whether a provider that asks for patience is asked again.
    pub retry: RawRetry,
    /// What is changed in requests on their way.
    pub rewrite: RawRewrite,
    /// What a run may spend.
    pub spend: RawSpend,
    /// Which models may be used.
    pub models: RawModels,
    /// Where telemetry is sent to.
    pub telemetry: RawTelemetry,
    /// Where to write what.
    pub log: RawLog,
}

/// One provider: a row of the table as it is written, or changes to one that comes with keyward.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct RawProvider {
    /// Another provider that this one is like: what is not said here is taken from there, but for its
    /// port, its variables and its placeholder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub like: Option<String>,
    /// The gateway's port for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How models and usage are read: `openai`, `anthropic`, `gemini`, `bedrock`, `other`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dialect: Option<Dialect>,
    /// Where to send requests: `host`, `host:port`, `https://host:port/path`, or, if `allow-plaintext` is
    /// set, `http://` and a loopback address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Path in front of every request at that target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_path: Option<String>,
    /// Allows a target with `http://` on a loopback address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_plaintext: Option<bool>,
    /// Variable of keyward's own environment that names another target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_variable: Option<String>,
    /// Variable of keyward's own environment that names the base path there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_path_variable: Option<String>,
    /// The region of the target: stands for `{region}` in `target` and `environment`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Variables of keyward's own environment that say it, if `region` does not: the first that is set counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region_variables: Option<Vec<String>>,
    /// Where the credential is, or how it is fetched. References are followed at the start; a supervisor sends
    /// what it found there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<RawCredential>,
    /// Variables of keyward's own environment that may hold the credential: the first that is set wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential_variables: Option<Vec<String>>,
    /// Variables of keyward's own environment that may hold an AWS access key, if none of those is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_variables: Option<AccessKeyVariables>,
    /// Further variables that never reach a workload with a value of the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withheld_variables: Option<Vec<String>>,
    /// What the workload holds instead of the credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placeholder: Option<String>,
    /// Whether a request that brings a credential other than the placeholder is refused (default), or
    /// has it replaced in silence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_placeholder: Option<bool>,
    /// The workload's variables: `{url}` is the gateway's address, `{placeholder}` the placeholder, `{region}` the
    /// region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<BTreeMap<String, String>>,
    /// Version prefixes of the API's paths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub versions: Option<RawVersions>,
    /// How the credential is put in: the first whose conditions hold; the last has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inject: Option<Vec<RawInjection>>,
    /// Header that carries the credential, raw, in place of all `inject`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_header: Option<String>,
    /// Headers set if the workload did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defaults: Option<BTreeMap<String, String>>,
    /// Headers set on every request, such as `openai-organization`; `{run}` stands for the run's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, String>>,
    /// What may be asked: `METHOD /path`, or `METHOD /path/*` with all that lies below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<String>>,
    /// Further routes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// What more is so at some targets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<Vec<RawVariant>>,
}

/// What more is so if the target is one of some hosts.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct RawVariant {
    /// Which: `host`, `*.suffix`, or with `*` for one label.
    pub hosts: Vec<String>,
    /// Headers set if the workload did not.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub defaults: BTreeMap<String, String>,
    /// Headers set on every request.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Further routes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
}

/// Where a credential is, or how it is fetched.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum RawCredential {
    /// `env:NAME`, `file:PATH`, `cmd:/program argument…`, `systemd:NAME`.
    Reference(String),
    /// A file or a command, and how often it is looked at again.
    Followed(RawFollowed),
    /// Where the parts of an AWS access key are.
    AccessKey(RawAccessKey),
    /// The proxy fetches it itself.
    Federated(RawFederation),
}

/// A file or a command, and how often it is looked at again.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct RawFollowed {
    /// Path of a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Absolute path of a program, and its arguments between spaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// How often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_seconds: Option<u64>,
}

/// Where the parts of an AWS access key are, each a reference, and how often they are looked at again.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct RawAccessKey {
    /// Its id.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// The session token of a temporary one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_token: Option<String>,
    /// How often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_seconds: Option<u64>,
}

/// How the proxy fetches a credential itself. Which fields there are depends on the kind.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct RawFederation {
    /// `oauth` or `github-oidc`.
    pub kind: String,
    /// The rest.
    #[serde(flatten)]
    pub fields: BTreeMap<String, String>,
}

/// The text may be a credential that was written where a reference belongs.
impl fmt::Debug for RawCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reference(_) => "Reference(**)",
            Self::Followed(_) => "Followed(**)",
            Self::AccessKey(_) => "AccessKey(**)",
            Self::Federated(_) => "Federated(**)",
        })
    }
}

/// By hand, so that a fault names what is wrong and not that nothing of three fits.
impl<'de> Deserialize<'de> for RawCredential {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = RawCredential;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a reference such as env:NAME, or a table")
            }

            fn visit_str<E>(self, text: &str) -> Result<RawCredential, E> {
                Ok(RawCredential::Reference(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawCredential, A::Error> {
                let mut fields = BTreeMap::new();
                let mut seconds = None;
                while let Some(name) = map.next_key::<String>()? {
                    match name.as_str() {
                        "refresh-seconds" => seconds = Some(map.next_value()?),
                        _ => drop(fields.insert(name, map.next_value()?)),
                    }
                }
                if let (Some(kind), None) = (fields.remove("kind"), seconds) {
                    return Ok(RawCredential::Federated(RawFederation { kind, fields }));
                }
                if let (Some(access_key_id), Some(secret_access_key)) = (
                    fields.remove("access-key-id"),
                    fields.remove("secret-access-key"),
                ) {
                    let key = RawAccessKey {
                        access_key_id,
                        secret_access_key,
                        session_token: fields.remove("session-token"),
                        refresh_seconds: seconds,
                    };
                    return match fields.keys().next() {
                        Some(stray) => Err(A::Error::custom(format!(
                            "{stray:?} does not belong to an access key: it has access-key-id, \
                             secret-access-key, session-token, and refresh-seconds"
                        ))),
                        None => Ok(RawCredential::AccessKey(key)),
                    };
                }
                let followed = RawFollowed {
                    file: fields.remove("file"),
                    command: fields.remove("command"),
                    refresh_seconds: seconds,
                };
                match fields.keys().next() {
                    Some(stray) => Err(A::Error::custom(format!(
                        "{stray:?} does not belong to the credential; without kind it is file or command, \
                         or access-key-id and secret-access-key, and refresh-seconds"
                    ))),
                    None => Ok(RawCredential::Followed(followed)),
                }
            }
        }
        from.deserialize_any(Either)
    }
}

/// Version prefixes of an API's paths.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct RawVersions {
    /// Recognised first segments, with their slash.
    pub known: Vec<String>,
    /// Stands for the version in `routes` where the workload sent none.
    pub default: String,
    /// Whether the default is also sent where the workload gave none and there is no base path.
    pub always: bool,
}

/// One way to put a credential in.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct RawInjection {
    /// Only for credentials that begin like this.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub credential_starts: String,
    /// Only for credentials of this shape: a name from `proxy/credentials/shapes.toml`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential_shape: Option<String>,
    /// Only for these targets: `host`, `*.suffix`, or with `*` for one label.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Header that carries it; or else `query`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub header: String,
    /// Parameter of the query that carries it, raw; in place of `header`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub query: String,
    /// An AWS access key signs, and is not carried; in place of `header`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sign: Option<RawSigning>,
    /// Text in front of it, with its space.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scheme: String,
    /// Values merged into comma-separated headers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub merge: BTreeMap<String, String>,
}

/// How requests are signed.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawSigning {
    /// The algorithm.
    pub kind: SigningKind,
    /// What AWS calls the service in signatures.
    pub service: String,
    /// The service's hosts: `host`, or `*.suffix`, with `{region}` for the label that is the region.
    pub hosts: Vec<String>,
}

/// An algorithm for signatures.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub enum SigningKind {
    /// AWS Signature Version 4.
    #[serde(rename = "aws-sigv4")]
    AwsSigV4,
}

impl RawProvider {
    /// This over `base`: what is not said here is as there.
    pub(crate) fn over(&self, base: &Self) -> Self {
        // Another target has a base path of its own, or none.
        let base_path = match (&self.target, &base.target) {
            (Some(target), Some(usual)) if target != usual => None,
            _ => base.base_path.clone(),
        };
        macro_rules! over {
            ($($field:ident),*) => {
                Self {
                    base_path: self.base_path.clone().or(base_path),
                    $($field: self.$field.clone().or_else(|| base.$field.clone()),)*
                }
            };
        }
        over!(
            like,
            port,
            dialect,
            target,
            allow_plaintext,
            target_variable,
            base_path_variable,
            region,
            region_variables,
            credential,
            credential_variables,
            access_key_variables,
            withheld_variables,
            placeholder,
            require_placeholder,
            environment,
            versions,
            inject,
            auth_header,
            defaults,
            headers,
            routes,
            allow,
            variant
        )
    }

    /// What another provider may be like: all but what belongs to this one alone.
    pub(crate) fn model(&self) -> Self {
        Self {
            port: None,
            target: None,
            base_path: None,
            target_variable: None,
            base_path_variable: None,
            credential: None,
            credential_variables: None,
            access_key_variables: None,
            withheld_variables: None,
            placeholder: None,
            environment: None,
            ..self.clone()
        }
    }
}

/// How upstreams are reached.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
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
    /// How many requests at a time have an HTTP/1.1 connection each (default 32); further ones share connections of
    /// HTTP/2, where the upstream has it. 0: all do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http1_connections: Option<usize>,
    /// How often an HTTP/2 connection is asked whether it lives (default 30); it has a third of that to answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ping_seconds: Option<f64>,
}

/// A proxy that everything goes through that leaves.
#[derive(Clone, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
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
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct RawDns {
    /// What an allowed name is answered with.
    pub answers: Answers,
    /// Servers to ask in place of the host's own: an address, `address:port`, or the URL of a DNS over HTTPS service.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<String>,
}

/// Whether secrets are looked for in what the workload sends.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct RawScan {
    /// `off` (default), `warn`: it is written down, or `block`: it does not leave.
    pub mode: ScanMode,
    /// What begins like one of these looks like a secret and is none. Says nothing of configured credentials.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
}

/// Sizes in bytes, times in seconds. Absent: the default in `limits.rs`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_seconds: Option<f64>,
}

/// Whether a provider that asks for patience is asked again.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct RawRetry {
    /// Which answers are waited out, of 429, 503 and 529. None (default): each is the workload's to deal with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<u16>,
    /// How often a request is sent at most, the first time included (default 3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// How long a request waits at most, all its waits together (default 30).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most_seconds: Option<f64>,
}

/// Where to write what.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct RawLog {
    /// File for the request log. Standalone only: a supervisor passes a descriptor. Absent: none
    /// under a supervisor, standard output standalone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<PathBuf>,
    /// File for what answers cost in tokens, one JSON line each. Standalone only, as `requests`.
    /// Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_usage: Option<PathBuf>,
    /// `error`, `warn` (default), `info`, `debug`, `trace`: diagnostics, on standard error or the
    /// descriptor that the supervisor passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
}
