// SPDX-License-Identifier: MIT OR Apache-2.0
//! What keyward knows of each model provider, as data.
//!
//! One table drives the gateway, the workload's environment, the preflight check, the collection of
//! credentials and the health answer. Adding a provider is adding a row; nothing here acts.
//!
//! All five ports of the gateway have a row. A row whose `upstream` is `None` has its name, port and
//! variables kept (so that its credentials never reach a workload), and its port answers 503.

mod table;

pub use table::providers;

/// One model provider.
#[derive(Debug, PartialEq, Eq)]
pub struct Provider {
    /// Stable short name: in settings, logs, answers.
    pub name: &'static str,
    /// The gateway's port for it, on the proxy's address.
    pub port: u16,
    /// Variables of keyward's own environment that may hold the credential: the first that is set wins.
    pub credential_variables: &'static [&'static str],
    /// Further variables in which clients of this provider keep a credential. Never read, never passed
    /// to a workload with a value of the host's.
    pub withheld_variables: &'static [&'static str],
    /// Variable of keyward's own environment that names another target.
    pub target_variable: &'static str,
    /// Variable of keyward's own environment that names the base path at that target.
    pub base_path_variable: &'static str,
    /// What the workload holds instead of the credential.
    pub placeholder: &'static str,
    /// Variables of the workload that hold the placeholder.
    pub placeholder_variables: &'static [&'static str],
    /// Variables of the workload that hold the gateway's address, `http://IP:PORT`.
    pub base_url_variables: &'static [&'static str],
    /// Further variables of the workload, name and value.
    pub further_variables: &'static [(&'static str, &'static str)],
    /// Where requests go and what they may be. `None`: the gateway cannot serve this provider.
    pub upstream: Option<Upstream>,
}

/// Where a provider's requests go, and which.
#[derive(Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Host of the default target, over TLS on port 443.
    pub host: &'static str,
    /// Path in front of every request at the default target; empty for none.
    pub base_path: &'static str,
    /// Version prefixes of the API's paths.
    pub versions: Versions,
    /// How the credential is put in: the first whose `when` holds. The last has no condition.
    pub injections: &'static [Injection],
    /// Headers set if the workload did not.
    pub defaults: &'static [(&'static str, &'static str)],
    /// What may be asked. Anything else is refused until the policy opens it by name.
    pub routes: &'static [Route],
}

/// The version prefix of an API's paths, so that one base URL serves clients that send it and
/// clients that do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// Recognised first segments, with their slash; a doubled one is folded into one.
    pub known: &'static [&'static str],
    /// Stands for the version in `routes` where the workload sent none.
    pub default: &'static str,
    /// Whether the default version is also *sent* when the workload gave none and the target has no
    /// base path. (Otherwise the path goes out as it came: a private target may have no versions.)
    pub always: bool,
}

/// How a credential is carried upstream.
#[derive(Debug, PartialEq, Eq)]
pub struct Injection {
    /// Which credentials this is for.
    pub when: When,
    /// Header that carries it, in lower case.
    pub header: &'static str,
    /// Text in front of the credential, with its space; empty for none.
    pub scheme: &'static str,
    /// A value merged into a comma-separated header.
    pub merge: Option<(&'static str, &'static str)>,
}

/// The condition of an [`Injection`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Every credential.
    Always,
    /// The credential starts with this text.
    CredentialStarts(&'static str),
    /// The target's host ends with this text.
    HostEnds(&'static str),
}

/// One thing that a workload may ask of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Methods, in upper case.
    pub methods: &'static [&'static str],
    /// Path with its version, without a slash at the end.
    pub path: &'static str,
    /// Whether what lies below `path` is allowed too.
    pub below: bool,
}

impl Provider {
    /// Whether the gateway can serve this provider at all, given a credential.
    #[must_use]
    pub fn servable(&self) -> bool {
        self.upstream.is_some()
    }

    /// What the workload finds in its environment when this provider is configured and the gateway is
    /// at `address` (an IPv6 address gets its brackets here).
    pub fn workload_environment(
        &self,
        address: std::net::IpAddr,
    ) -> impl Iterator<Item = (&'static str, String)> {
        let url = format!("http://{}", std::net::SocketAddr::new(address, self.port));
        let base = self
            .base_url_variables
            .iter()
            .map(move |name| (*name, url.clone()));
        let held = self
            .placeholder_variables
            .iter()
            .map(|name| (*name, self.placeholder.to_owned()));
        let rest = self
            .further_variables
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        base.chain(held).chain(rest)
    }

    /// Every variable that may hold a credential of this provider: none of them reaches a workload
    /// with any value but the placeholder.
    pub fn secret_variables(&self) -> impl Iterator<Item = &'static str> {
        let all = [
            self.credential_variables,
            self.withheld_variables,
            self.placeholder_variables,
        ];
        all.into_iter().flatten().copied()
    }
}

/// The provider with this name.
#[must_use]
pub fn provider(name: &str) -> Option<&'static Provider> {
    providers().iter().find(|it| it.name == name)
}

/// The provider whose gateway port this is.
#[must_use]
pub fn provider_on(port: u16) -> Option<&'static Provider> {
    providers().iter().find(|it| it.port == port)
}

/// Whether `value` is the placeholder of some provider.
#[must_use]
pub fn is_placeholder(value: &[u8]) -> bool {
    providers()
        .iter()
        .any(|it| it.placeholder.as_bytes() == value)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, net::Ipv4Addr};

    use super::*;

    #[test]
    fn rows_are_the_gateways_ports_in_order() {
        let ports: Vec<u16> = providers().iter().map(|it| it.port).collect();
        assert_eq!(ports, [10000, 10001, 10002, 10003, 10004]);
    }

    #[test]
    fn names_and_placeholders_are_distinct() {
        let names: BTreeSet<_> = providers().iter().map(|it| it.name).collect();
        let placeholders: BTreeSet<_> = providers().iter().map(|it| it.placeholder).collect();
        assert_eq!((names.len(), placeholders.len()), (5, 5));
        assert!(is_placeholder(b"sk-placeholder-for-api-proxy"));
        assert!(!is_placeholder(b"sk-placeholder-for-api-prox"));
    }

    #[test]
    fn every_upstream_has_an_unconditional_injection_last_and_sane_routes() {
        for upstream in providers().iter().filter_map(|it| it.upstream.as_ref()) {
            assert_eq!(
                upstream.injections.last().map(|it| it.when),
                Some(When::Always)
            );
            for injection in upstream.injections {
                assert_eq!(injection.header, injection.header.to_ascii_lowercase());
            }
            assert!(upstream.versions.known.contains(&upstream.versions.default));
            for route in upstream.routes {
                assert!(
                    !route.path.ends_with('/') && !route.methods.is_empty(),
                    "{route:?}"
                );
                let versioned = |version: &&str| route.path.starts_with(&format!("{version}/"));
                assert!(upstream.versions.known.iter().any(versioned), "{route:?}");
            }
        }
    }

    #[test]
    fn workload_environment_is_the_contracts() {
        let address = Ipv4Addr::new(172, 30, 0, 30).into();
        let environment: Vec<_> = provider("openai")
            .unwrap()
            .workload_environment(address)
            .collect();
        assert_eq!(
            environment,
            [
                ("OPENAI_BASE_URL", "http://172.30.0.30:10000".to_owned()),
                ("OPENAI_API_KEY", "sk-placeholder-for-api-proxy".to_owned()),
                ("CODEX_API_KEY", "sk-placeholder-for-api-proxy".to_owned()),
            ]
        );
        let v6 = provider("anthropic")
            .unwrap()
            .workload_environment("fd00::30".parse().unwrap());
        assert!(v6.into_iter().any(|it| it.1 == "http://[fd00::30]:10001"));
    }
}
