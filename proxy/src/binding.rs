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
    provider::{Provider, Providers, is_host},
    settings::SettingsError,
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

const FILE: &str = include_str!("../credentials/shapes.toml");

fn shapes() -> &'static BTreeMap<String, Shape> {
    static SHAPES: OnceLock<BTreeMap<String, Shape>> = OnceLock::new();
    // A file that is wrong knows nothing, which a test finds.
    SHAPES.get_or_init(|| toml::from_str(FILE).unwrap_or_default())
}

/// Whether this name is one of the shapes.
pub(crate) fn is_shape(name: &str) -> bool {
    shapes().contains_key(name)
}

/// Whether `credential` has the shape of this name.
pub(crate) fn has_shape(name: &str, credential: &Credential) -> bool {
    shapes().get(name).is_some_and(|it| it.fits(credential))
}

/// Whether `credential` may go to where `provider` is.
///
/// # Errors
///
/// A sentence that names the slot and the target, and nothing of the credential but its kind.
pub fn bound(provider: &Provider, credential: &Credential) -> Result<(), String> {
    let host = provider.target.host.as_str();
    let Some(own) = shapes().values().find(|it| it.fits(credential)) else {
        return Ok(());
    };
    if own.is_home(host) {
        return Ok(());
    }
    let (slot, what, target) = (&provider.name, &own.what, &provider.target);
    if !own.only.is_empty() {
        let only = own.only.join(", ");
        return Err(format!(
            "provider.{slot}.credential: it is {what}, which may go to {only} only; the target is {target}"
        ));
    }
    match shapes().values().find(|it| it.is_home(host)) {
        None => Ok(()),
        Some(_) => Err(format!(
            "provider.{slot}.credential: it is {what}, and the target {target} is another maker's"
        )),
    }
}

/// Whether each of these may go to its provider's target.
///
/// # Errors
///
/// All that may not.
pub fn all_bound(providers: &Providers, credentials: &Credentials) -> Result<(), SettingsError> {
    let given = providers
        .iter()
        .filter_map(|it| Some((it, credentials.get(&it.name)?)));
    let faults: Vec<String> = given
        .filter_map(|(provider, credential)| bound(provider, credential).err())
        .collect();
    match faults.is_empty() {
        true => Ok(()),
        false => Err(SettingsError(faults)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::is_host_pattern;

    fn at(provider: &str, target: &str, key: &str) -> Result<(), String> {
        let toml = format!("[{provider}]\ntarget = '{target}'\n");
        let mut faults = Vec::new();
        let table = Providers::parse(&toml::from_str(&toml).unwrap(), &mut faults);
        assert_eq!(faults, Vec::<String>::new());
        let key = Credential::new(key.as_bytes().to_vec()).unwrap();
        bound(table.get(provider).unwrap(), &key)
    }

    #[test]
    fn the_file_is_right() {
        let shapes: BTreeMap<String, Shape> = toml::from_str(FILE).unwrap();
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
                let fault = at("copilot", target, &token).unwrap_err();
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
    fn every_fault_is_named_at_once() {
        let mut credentials = Credentials::new();
        for (slot, key) in [
            ("openai", "ghp_1"),
            ("anthropic", "AIza1"),
            ("gemini", "AIza1"),
        ] {
            credentials.insert(slot, Credential::new(key.as_bytes().to_vec()).unwrap());
        }
        let faults = all_bound(&Providers::builtin(), &credentials).unwrap_err();
        assert_eq!(faults.0.len(), 2, "{faults}");
    }
}
