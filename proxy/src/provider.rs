// SPDX-License-Identifier: MIT OR Apache-2.0
//! What keyward knows of each model provider, as data.
//!
//! One table drives the gateway, the workload's environment, the preflight check, the collection of
//! credentials, the health answer and the documentation. Its rows are files: those in `proxy/providers/`
//! come with keyward, `[[provider]]` in a policy file adds others or changes what these say. Nothing here
//! acts.

mod builtin;
mod host;
mod parse;
mod route;

use std::{fmt, net::IpAddr, sync::Arc};

use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use self::host::{REGION, region_in};
pub(crate) use self::host::{is_host, is_host_pattern};
pub use self::route::Route;
use crate::{
    binding::has_shape,
    credential::{Credential, Federation},
    settings::Target,
};

/// Ports that a provider may have: below are the well-known ones, above is the transparent door.
pub const PORTS: std::ops::RangeInclusive<u16> = 10000..=10099;

/// One model provider: a row of the table, checked.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Provider {
    /// Stable short name: in settings, logs, answers.
    pub name: String,
    /// The gateway's port for it, on the proxy's address.
    pub port: u16,
    /// How models and usage are read from what it is sent and answers.
    pub dialect: Dialect,
    /// Variables of keyward's own environment that may hold the credential: the first that is set wins.
    pub credential_variables: Vec<String>,
    /// Variables of keyward's own environment that may hold an AWS access key, if none of those is set.
    pub access_key_variables: Option<AccessKeyVariables>,
    /// Further variables in which clients of this provider keep a credential. Never read, never passed
    /// to a workload with a value of the host's.
    pub withheld_variables: Vec<String>,
    /// Variable of keyward's own environment that names another target.
    pub target_variable: Option<String>,
    /// Variable of keyward's own environment that names the base path at that target.
    pub base_path_variable: Option<String>,
    /// Variables of keyward's own environment that say in which region its target is: the first that is set counts.
    pub region_variables: Vec<String>,
    /// What the workload holds instead of the credential.
    pub placeholder: String,
    /// What the workload finds in its environment.
    pub environment: Vec<(String, Template)>,
    /// Where requests go.
    pub target: Target,
    /// Path in front of every request: empty, or `/…` without a slash at the end.
    pub base_path: String,
    /// Version prefixes of the API's paths.
    pub versions: Versions,
    /// How the credential is put in: the first whose condition holds. The last has none.
    pub injections: Vec<Injection>,
    /// Headers set if the workload did not.
    pub defaults: Vec<(HeaderName, HeaderValue)>,
    /// Headers set on every request.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What may be asked. Anything else is refused.
    pub routes: Vec<Route>,
    /// How the proxy fetches the credential itself, if it does.
    pub federation: Option<Federation>,
    /// Whether a foreign credential is refused rather than replaced.
    pub require_placeholder: bool,
}

/// A family of APIs: where in a request the model is named, and where in an answer the usage.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// OpenAI's responses, chat completions, completions, embeddings; also what is compatible.
    Openai,
    /// Anthropic's messages.
    Anthropic,
    /// Google's generateContent and its kin.
    Gemini,
    /// AWS Bedrock's converse and invoke-model.
    Bedrock,
    /// Nothing is known of it: no model, no usage.
    #[default]
    Other,
}

/// The version prefix of an API's paths, so that one base URL serves clients that send it and
/// clients that do not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Versions {
    /// Recognised first segments, with their slash; a doubled one is folded into one.
    pub known: Vec<String>,
    /// Stands for the version in `routes` where the workload sent none. May be empty.
    pub default: String,
    /// Whether the default version is also *sent* when the workload gave none and the target has no
    /// base path. (Otherwise the path goes out as it came: a private target may have no versions.)
    pub always: bool,
}

/// How a credential is carried upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Injection {
    /// Which credentials this is for: those that begin with this text. Empty: all.
    pub credential_starts: String,
    /// Which credentials this is for: those of this shape (`proxy/credentials/shapes.toml`).
    pub credential_shape: Option<String>,
    /// Which targets this is for: those whose host is one of these. Empty: all.
    pub hosts: Vec<String>,
    /// What carries it.
    pub carrier: Carrier,
    /// Text in front of the credential, with its space; empty for none, and for a signature.
    pub scheme: String,
    /// Values merged into comma-separated headers.
    pub merge: Vec<(HeaderName, HeaderValue)>,
}

/// The part of a request that carries a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A header.
    Header(HeaderName),
    /// A parameter of the query. Only for services that know nothing better: servers log their URLs.
    Query(String),
    /// A signature, made with an AWS access key, which does not travel.
    Signature(Signing),
}

/// AWS Signature Version 4.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Signing {
    /// What AWS calls the service in signatures.
    pub service: String,
    /// The service's hosts, `{region}` for the label that is one. What is signed goes nowhere else.
    pub hosts: Vec<String>,
    /// The region of the target. `None`: the target is none of the hosts.
    pub region: Option<String>,
}

/// Variables that hold the parts of an AWS access key.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AccessKeyVariables {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: String,
    /// The session token of a temporary one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl AccessKeyVariables {
    /// All of them.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        [&self.id, &self.secret].into_iter().chain(&self.token)
    }
}

/// The value of a variable in the workload's environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(String);

impl Template {
    /// `{url}` stands for the gateway's address, `{placeholder}` for the provider's placeholder.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The value. `url` is `http://IP:PORT`.
    #[must_use]
    pub fn fill(&self, url: &str, placeholder: &str) -> String {
        self.0
            .replace("{url}", url)
            .replace("{placeholder}", placeholder)
    }

    /// Whether the value tells where the gateway is.
    #[must_use]
    pub fn is_address(&self) -> bool {
        self.0.starts_with("{url}")
    }

    /// Whether the value holds the placeholder.
    #[must_use]
    pub fn is_placeholder(&self) -> bool {
        self.0.contains("{placeholder}")
    }
}

impl Provider {
    /// What the workload finds in its environment when this provider is configured and the gateway is
    /// at `address` (an IPv6 address gets its brackets here).
    pub fn workload_environment(&self, address: IpAddr) -> impl Iterator<Item = (&str, String)> {
        let url = format!("http://{}", std::net::SocketAddr::new(address, self.port));
        self.environment
            .iter()
            .map(move |(name, value)| (name.as_str(), value.fill(&url, &self.placeholder)))
    }

    /// Every variable that may hold a credential of this provider: none of them reaches a workload
    /// with any value but the placeholder.
    pub fn secret_variables(&self) -> impl Iterator<Item = &str> {
        let held = self.environment.iter().filter(|it| it.1.is_placeholder());
        let read = self
            .credential_variables
            .iter()
            .chain(&self.withheld_variables)
            .chain(
                self.access_key_variables
                    .iter()
                    .flat_map(AccessKeyVariables::names),
            );
        read.map(String::as_str)
            .chain(held.map(|(name, _)| name.as_str()))
    }

    /// The way in which `credential` is put in, at this provider's target. An access key signs; nothing else does.
    #[must_use]
    pub fn injection(&self, credential: &Credential) -> Option<&Injection> {
        let signs = credential.as_access_key().is_some();
        let applies = |it: &&Injection| {
            let shape = it.credential_shape.as_deref();
            signs == matches!(it.carrier, Carrier::Signature(_))
                && credential.has_prefix(&it.credential_starts)
                && shape.is_none_or(|name| has_shape(name, credential))
                && is_at(&it.hosts, &self.target.host)
        };
        self.injections.iter().find(applies)
    }
}

/// Whether `host` is one of these, or these are all there are.
fn is_at(hosts: &[String], host: &str) -> bool {
    hosts.is_empty() || hosts.iter().any(|it| is_host(it, host))
}

/// The table: every provider, in the order of their ports.
#[derive(Clone, Debug, PartialEq)]
pub struct Providers {
    all: Arc<[Arc<Provider>]>,
    /// The headers in which some provider's credential travels, each once: every header of every request is compared.
    carriers: Arc<[HeaderName]>,
}

impl Providers {
    fn new(all: Vec<Arc<Provider>>) -> Self {
        let mut carriers: Vec<HeaderName> = Vec::new();
        for injection in all.iter().flat_map(|it| &it.injections) {
            if let Carrier::Header(name) = &injection.carrier
                && !carriers.contains(name)
            {
                carriers.push(name.clone());
            }
        }
        let (all, carriers) = (all.into(), carriers.into());
        Self { all, carriers }
    }

    /// The table of what comes with keyward, nothing changed.
    #[must_use]
    pub fn builtin() -> Self {
        builtin::providers().clone()
    }

    /// Every provider, in the order of the ports.
    pub fn iter(&self) -> std::slice::Iter<'_, Arc<Provider>> {
        self.all.iter()
    }

    /// The provider with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Provider>> {
        self.iter().find(|it| it.name == name)
    }

    /// The provider whose gateway port this is.
    #[must_use]
    pub fn on(&self, port: u16) -> Option<&Arc<Provider>> {
        self.iter().find(|it| it.port == port)
    }

    /// The port that tells of all the others: the lowest.
    #[must_use]
    pub fn first_port(&self) -> u16 {
        self.iter().next().map_or(0, |it| it.port)
    }

    /// The highest port.
    #[must_use]
    pub fn last_port(&self) -> u16 {
        self.iter().next_back().map_or(0, |it| it.port)
    }

    /// Whether `value` is the placeholder of some provider.
    #[must_use]
    pub fn is_placeholder(&self, value: &[u8]) -> bool {
        self.iter().any(|it| it.placeholder.as_bytes() == value)
    }

    /// The table with the run's name in every header that asks for it with `{run}`.
    #[must_use]
    pub fn for_run(self, run: &str) -> Self {
        const RUN: &str = "{run}";
        let asks = |it: &HeaderValue| it.to_str().is_ok_and(|it| it.contains(RUN));
        let filled = |provider: &Arc<Provider>| {
            if !provider.headers.iter().any(|(_, it)| asks(it)) {
                return Arc::clone(provider);
            }
            let mut provider = Provider::clone(provider);
            for (_, value) in provider.headers.iter_mut().filter(|(_, it)| asks(it)) {
                let text = value.to_str().unwrap_or_default().replace(RUN, run);
                if let Ok(text) = HeaderValue::from_str(&text) {
                    *value = text;
                }
            }
            Arc::new(provider)
        };
        Self::new(self.iter().map(filled).collect())
    }

    /// The headers in which some provider's credential travels.
    pub(crate) fn carriers(&self) -> &[HeaderName] {
        &self.carriers
    }

    /// Every variable that may hold a credential of any provider.
    pub fn secret_variables(&self) -> impl Iterator<Item = &str> {
        self.iter().flat_map(|it| it.secret_variables())
    }
}

impl Default for Providers {
    fn default() -> Self {
        Self::builtin()
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Openai => "openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Bedrock => "bedrock",
            Self::Other => "other",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, net::Ipv4Addr};

    use super::*;

    #[test]
    fn rows_are_the_gateways_ports_in_order() {
        let table = Providers::builtin();
        let ports: Vec<u16> = table.iter().map(|it| it.port).collect();
        assert!(ports.starts_with(&[10000, 10001, 10002, 10003, 10004, 10005]));
        assert!(ports.is_sorted() && ports.iter().all(|it| PORTS.contains(it)));
    }

    #[test]
    fn names_and_placeholders_are_distinct() {
        let table = Providers::builtin();
        let names: BTreeSet<_> = table.iter().map(|it| &it.name).collect();
        let placeholders: BTreeSet<_> = table.iter().map(|it| &it.placeholder).collect();
        assert_eq!(
            (names.len(), placeholders.len()),
            (table.iter().len(), table.iter().len())
        );
        assert!(table.is_placeholder(b"sk-placeholder-for-api-proxy"));
        assert!(!table.is_placeholder(b"sk-placeholder-for-api-prox"));
    }

    #[test]
    fn workload_environment_is_the_contracts() {
        let table = Providers::builtin();
        let address = Ipv4Addr::new(172, 30, 0, 30).into();
        let mut environment: Vec<_> = table
            .get("openai")
            .unwrap()
            .workload_environment(address)
            .collect();
        environment.sort();
        assert_eq!(
            environment,
            [
                ("CODEX_API_KEY", "sk-placeholder-for-api-proxy".to_owned()),
                ("OPENAI_API_KEY", "sk-placeholder-for-api-proxy".to_owned()),
                ("OPENAI_BASE_URL", "http://172.30.0.30:10000".to_owned()),
            ]
        );
        let v6 = table.get("anthropic").unwrap();
        let mut v6 = v6.workload_environment("fd00::30".parse().unwrap());
        assert!(v6.any(|it| it.1 == "http://[fd00::30]:10001"));
    }
}
