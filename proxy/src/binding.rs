// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a credential may go to a target at all, by what can be told from its looks.
//!
//! Settings say where a provider's requests go, and may be wrong, or somebody else's. What is known of a
//! credential's shape (`proxy/credentials/shapes.toml`) is a second opinion that no setting changes: a
//! GitHub token goes to GitHub, and one maker's key never to another maker. Pure.

use std::{collections::BTreeMap, sync::OnceLock};

use serde::Deserialize;

use crate::{
    credential::{Credential, Credentials},
    provider::{Carrier, Provider, Providers, Signing, is_host},
};

/// What a credential looks like, and where it may go.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    /// What it is called.
    what: String,
    /// How it begins: one of these.
    starts: Vec<String>,
    /// The only hosts it may go to; empty: see `home`.
    #[serde(default)]
    only: Vec<String>,
    /// Its maker's own hosts.
    #[serde(default)]
    home: Vec<String>,
}

impl Shape {
    fn fits(&self, credential: &Credential) -> bool {
        self.starts.iter().any(|it| credential.has_prefix(it))
    }

    /// Whether `host` is its maker's.
    fn is_home(&self, host: &str) -> bool {
        let hosts = self.only.iter().chain(&self.home);
        hosts.into_iter().any(|it| is_host(it, host))
    }
}

const FILE: &str = include_str!(concat!(env!("OUT_DIR"), "/shapes.json"));

fn shapes() -> &'static BTreeMap<String, Shape> {
    static SHAPES: OnceLock<BTreeMap<String, Shape>> = OnceLock::new();
    // A file that is wrong knows nothing, which a test finds.
    SHAPES.get_or_init(|| serde_json::from_str(FILE).unwrap_or_default())
}

/// Whether this name is one of the shapes.
pub(crate) fn is_shape(name: &str) -> bool {
    shapes().contains_key(name)
}

/// Whether `credential` has the shape of this name.
pub(crate) fn has_shape(name: &str, credential: &Credential) -> bool {
    shapes().get(name).is_some_and(|it| it.fits(credential))
}

/// A credential that may not go to where its provider is: two settings that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("provider.{provider}.credential: {what}")]
pub struct Unbound {
    /// Whose it is.
    pub provider: String,
    /// A sentence that names the target, and nothing of the credential but its kind.
    pub what: String,
}

/// Whether `credential` may go to where `provider` is.
///
/// # Errors
///
/// That it may not, and why.
pub fn bound(provider: &Provider, credential: &Credential) -> Result<(), Unbound> {
    let target = &provider.target;
    let fault = |what: String| {
        let provider = provider.name.clone();
        Err(Unbound { provider, what })
    };
    let injection = provider.injection(credential).map(|it| &it.carrier);
    match (injection, credential.as_access_key()) {
        (None, Some(_)) => {
            return fault("it is an AWS access key, and no way to sign is set (inject)".to_owned());
        }
        (None, None) => {
            return fault("it is no AWS access key, and nothing else is taken (inject)".to_owned());
        }
        (
            Some(Carrier::Signature(Signing {
                region: None,
                hosts,
                ..
            })),
            _,
        ) => {
            let hosts = hosts.join(", ");
            return fault(format!(
                "it is an AWS access key, which may go to {hosts} only; the target is {target}"
            ));
        }
        (Some(Carrier::Signature(_)), _) => return Ok(()),
        (Some(Carrier::Header(_) | Carrier::Query(_)), _) => {}
    }
    let host = target.host.as_str();
    let Some(own) = shapes().values().find(|it| it.fits(credential)) else {
        return Ok(());
    };
    if own.is_home(host) {
        return Ok(());
    }
    let what = &own.what;
    if !own.only.is_empty() {
        let only = own.only.join(", ");
        return fault(format!(
            "it is {what}, which may go to {only} only; the target is {target}"
        ));
    }
    match shapes().values().find(|it| it.is_home(host)) {
        None => Ok(()),
        Some(_) => fault(format!(
            "it is {what}, and the target {target} is another maker's"
        )),
    }
}

/// Those that may not go to their provider's target.
#[must_use]
pub fn unbound(providers: &Providers, credentials: &Credentials) -> Vec<Unbound> {
    let given = providers
        .iter()
        .filter_map(|it| Some((it, credentials.get(&it.name)?)));
    let faults = given.filter_map(|(provider, credential)| bound(provider, credential).err());
    faults.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::is_host_pattern;

    fn at(provider: &str, target: &str, key: &str) -> Result<(), Unbound> {
        let toml = format!("[{provider}]\ntarget = '{target}'\n");
        let mut faults = Vec::new();
        let table = Providers::parse(&toml::from_str(&toml).unwrap(), &mut faults);
        assert_eq!(faults, Vec::<String>::new());
        let key = Credential::new(key.as_bytes().to_vec()).unwrap();
        bound(table.get(provider).unwrap(), &key)
    }

    #[test]
    fn the_file_is_right() {
        let shapes: BTreeMap<String, Shape> = serde_json::from_str(FILE).unwrap();
        for (name, it) in &shapes {
            assert!(!it.starts.is_empty() && !it.what.is_empty(), "{name}");
            // One or the other, or nothing is said.
            assert_ne!(it.only.is_empty(), it.home.is_empty(), "{name}");
            let mut hosts = it.only.iter().chain(&it.home);
            assert!(hosts.all(|it| is_host_pattern(it)), "{name}");
        }
        let starts: Vec<_> = shapes.values().flat_map(|it| &it.starts).collect();
        for (at, one) in starts.iter().enumerate() {
            let same = |it: &&&String| it.starts_with(one.as_str());
            assert_eq!(starts.iter().filter(same).count(), 1, "{at}: {one}");
        }
    }

    #[test]
    fn a_github_token_goes_to_github_only() {
        for kind in ["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"] {
            let token = format!("{kind}0123456789");
            for target in [
                "api.githubcopilot.com",
                "api.enterprise.githubcopilot.com",
                "copilot-api.acme.ghe.com",
                "api.github.com",
                "models.github.ai",
            ] {
                assert_eq!(at("copilot", target, &token), Ok(()), "{target}");
            }
            for target in [
                "gw.corp.test",
                "evilgithub.com",
                "github.com.evil.test",
                "api.openai.com",
                "10.0.0.1",
            ] {
                let fault = at("copilot", target, &token).unwrap_err().to_string();
                assert!(fault.contains("provider.copilot.credential"), "{fault}");
                assert!(fault.contains(&format!("https://{target}")), "{fault}");
                assert!(!fault.contains("0123456789"), "{fault}");
            }
        }
    }

    #[test]
    fn one_makers_key_is_not_told_to_another() {
        for (provider, target, key) in [
            ("openai", "api.anthropic.com", "sk-proj-1"),
            ("anthropic", "api.openai.com", "sk-ant-api03-1"),
            ("openai", "api.openai.com", "sk-ant-api03-1"),
            ("openai", "api.openai.com", "AIzaSy1"),
            ("gemini", "generativelanguage.googleapis.com", "sk-or-v1-1"),
            ("anthropic", "api.githubcopilot.com", "sk-ant-1"),
            (
                "bedrock",
                "bedrock-runtime.us-east-1.amazonaws.com",
                "sk-ant-1",
            ),
        ] {
            assert!(at(provider, target, key).is_err(), "{key} to {target}");
        }
        for (provider, target, key) in [
            ("openai", "api.openai.com", "sk-proj-1"),
            ("openai", "eu.api.openai.com", "sk-proj-1"),
            // A private gateway that takes the maker's keys; keys of no known shape.
            ("anthropic", "gw.corp.test", "sk-ant-api03-1"),
            ("openai", "api.openai.com", "sk-1"),
            ("openai", "acme.openai.azure.com", "0123456789abcdef"),
            ("vertex", "us-central1-aiplatform.googleapis.com", "ya29.1"),
            (
                "bedrock",
                "bedrock-runtime.eu-west-1.amazonaws.com",
                "ABSK1",
            ),
        ] {
            assert_eq!(at(provider, target, key), Ok(()), "{key} to {target}");
        }
    }

    #[test]
    fn an_access_key_goes_to_its_service_only() {
        let key = r#"{"AccessKeyId":"AKIA1","SecretAccessKey":"s3cret"}"#;
        for target in [
            "bedrock-runtime.eu-west-1.amazonaws.com",
            "bedrock-runtime-fips.us-gov-west-1.amazonaws.com",
            "vpce-1.bedrock-runtime.us-east-1.vpce.amazonaws.com",
            "bedrock-runtime.us-east-1.api.aws",
            "bedrock-runtime.cn-north-1.amazonaws.com.cn",
        ] {
            assert_eq!(at("bedrock", target, key), Ok(()), "{target}");
        }
        for target in [
            "bedrock.us-east-1.amazonaws.com",
            "s3.us-east-1.amazonaws.com",
            "bedrock-runtime.us-east-1.amazonaws.com.evil.test",
            "evil.bedrock-runtime.us-east-1.amazonaws.com",
            "gw.corp.test",
            "127.0.0.1",
        ] {
            let fault = at("bedrock", target, key).unwrap_err().to_string();
            assert!(fault.contains("provider.bedrock.credential"), "{fault}");
            assert!(fault.contains(&format!("https://{target}")), "{fault}");
            assert!(
                !fault.contains("s3cret") && !fault.contains("AKIA1"),
                "{fault}"
            );
            // A key of no known shape may go to a gateway of one's own.
            assert_eq!(at("bedrock", target, "key-1"), Ok(()), "{target}");
        }
        let fault = at("openai", "api.openai.com", key).unwrap_err();
        assert!(fault.what.contains("no way to sign"), "{fault}");
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let mut credentials = Credentials::new();
        for (slot, key) in [
            ("openai", "ghp_1"),
            ("anthropic", "AIza1"),
            ("gemini", "AIza1"),
        ] {
            credentials.insert(slot, Credential::new(key.as_bytes().to_vec()).unwrap());
        }
        let faults = unbound(&Providers::builtin(), &credentials);
        let named: Vec<_> = faults.iter().map(|it| it.provider.as_str()).collect();
        assert_eq!(named, ["openai", "anthropic"]);
    }
}
