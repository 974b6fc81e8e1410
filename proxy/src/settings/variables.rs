// SPDX-License-Identifier: MIT OR Apache-2.0
//! What keyward's own environment says of targets, in the variables that existing workflows set.
//!
//! A setting that is written down counts for more than any variable.

use super::{RawProvider, RawSettings};
use crate::provider::{Dialect, Providers};

impl RawSettings {
    /// Fills in the run, targets, base paths and regions that the settings leave open and `lookup` has: each
    /// provider's `target-variable`, `base-path-variable` and `region-variables`; for Copilot also a provider of one's own
    /// (`COPILOT_PROVIDER_BASE_URL`), or what follows from `GITHUB_SERVER_URL`. An empty variable is not set.
    pub fn fill_from_variables(&mut self, lookup: impl Fn(&str) -> Option<String>) {
        let set = |name: &str| lookup(name).filter(|it| !it.trim().is_empty());
        if self.run.is_none() {
            let run = set("GITHUB_RUN_ID").zip(set("GITHUB_RUN_ATTEMPT"));
            self.run = run.map(|(id, attempt)| format!("{id}-{attempt}"));
        }
        // Faults are for the check that follows to name.
        let table = Providers::parse(&self.providers, &mut Vec::new());
        for provider in table.iter() {
            let written = self.providers.get(&provider.name);
            let open = written.is_none_or(|it| it.target.is_none());
            let target = provider.target_variable.as_deref().and_then(set);
            let base_path = provider.base_path_variable.as_deref().and_then(set);
            let path_open = written.is_none_or(|it| it.base_path.is_none());
            let region_open = written.is_none_or(|it| it.region.is_none());
            if let Some(target) = target.filter(|_| open) {
                self.provider(&provider.name).target = Some(target);
            } else if open && provider.name == "copilot" {
                copilot(&set, self.provider(&provider.name));
            }
            let region = provider.region_variables.iter().find_map(|it| set(it));
            if let Some(region) = region.filter(|_| region_open) {
                self.provider(&provider.name).region = Some(region);
            }
            if let Some(base_path) = base_path.filter(|_| path_open) {
                self.provider(&provider.name).base_path = Some(base_path);
            }
        }
    }

    fn provider(&mut self, name: &str) -> &mut RawProvider {
        self.providers.entry(name.to_owned()).or_default()
    }
}

/// Where Copilot's requests go, if nothing says it outright.
fn copilot(set: &impl Fn(&str) -> Option<String>, row: &mut RawProvider) {
    let own = set("COPILOT_PROVIDER_BASE_URL").zip(set("COPILOT_PROVIDER_API_KEY"));
    // With a GitHub token the requests are GitHub's, whatever else is set.
    if let Some((url, _)) = own.filter(|_| set("COPILOT_GITHUB_TOKEN").is_none()) {
        row.target = Some(url);
        let header = match set("COPILOT_PROVIDER_TYPE").as_deref() {
            Some("anthropic") => {
                row.dialect.get_or_insert(Dialect::Anthropic);
                let version = ("anthropic-version".to_owned(), "2023-06-01".to_owned());
                row.defaults.get_or_insert_with(|| [version].into());
                Some("x-api-key")
            }
            Some("azure") => Some("api-key"),
            _ => None,
        };
        if row.inject.is_none() && row.auth_header.is_none() {
            row.auth_header = header.map(str::to_owned);
        }
        return;
    }
    row.target = set("GITHUB_SERVER_URL").and_then(|it| target_of_server(&it));
}

/// Copilot's host for a server of GitHub's: an enterprise with a domain of its own has one of its own.
fn target_of_server(url: &str) -> Option<String> {
    let host = url.split_once("://").map_or(url, |it| it.1);
    let host = host.split(['/', ':']).next()?.to_ascii_lowercase();
    if host == "github.com" {
        return None;
    }
    let tenant = host.strip_suffix(".ghe.com").filter(|it| !it.is_empty());
    Some(match tenant {
        Some(tenant) => format!("copilot-api.{tenant}.ghe.com"),
        None => "api.enterprise.githubcopilot.com".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    /// Target and base path of a provider.
    fn target(toml: &str, name: &str, variables: &[(&str, &str)]) -> String {
        let settings = settings(toml, variables);
        let provider = settings.providers.get(name).unwrap();
        format!("{}{}", provider.target, provider.base_path)
    }

    fn settings(toml: &str, variables: &[(&str, &str)]) -> Settings {
        let mut raw: RawSettings = toml::from_str(toml).unwrap();
        let find = |name: &str| variables.iter().find(|it| it.0 == name);
        raw.fill_from_variables(|name| find(name).map(|it| it.1.to_owned()));
        Settings::try_from(raw).unwrap()
    }

    #[test]
    fn each_provider_has_its_variables_and_what_is_written_counts_for_more() {
        let gateway = ("OPENAI_API_TARGET", "https://gw.corp.test:8443");
        let path = ("OPENAI_API_BASE_PATH", "/llm");
        assert_eq!(target("", "openai", &[]), "https://api.openai.com/v1");
        assert_eq!(
            target("", "openai", &[("OPENAI_API_TARGET", "")]),
            "https://api.openai.com/v1"
        );
        assert_eq!(
            target("", "openai", &[gateway]),
            "https://gw.corp.test:8443"
        );
        assert_eq!(
            target("", "openai", &[gateway, path]),
            "https://gw.corp.test:8443/llm"
        );
        let written = "provider.openai.target = 'written.test'";
        assert_eq!(
            target(written, "openai", &[gateway]),
            "https://written.test"
        );
        for (name, variable) in [
            ("anthropic", "ANTHROPIC_API_TARGET"),
            ("copilot", "COPILOT_API_TARGET"),
            ("gemini", "GEMINI_API_TARGET"),
            ("vertex", "VERTEX_API_TARGET"),
            ("bedrock", "BEDROCK_API_TARGET"),
        ] {
            assert_eq!(
                target("", name, &[(variable, "gw.test")]),
                "https://gw.test"
            );
        }
    }

    #[test]
    fn a_region_is_part_of_the_target() {
        let host = |region: &str| format!("https://bedrock-runtime.{region}.amazonaws.com");
        let (own, usual) = (
            ("AWS_REGION", "eu-west-1"),
            ("AWS_DEFAULT_REGION", "ap-south-1"),
        );
        let written = "provider.bedrock.region = 'sa-east-1'";
        assert_eq!(target("", "bedrock", &[]), host("us-east-1"));
        assert_eq!(target("", "bedrock", &[usual]), host("ap-south-1"));
        assert_eq!(target("", "bedrock", &[usual, own]), host("eu-west-1"));
        assert_eq!(target(written, "bedrock", &[own]), host("sa-east-1"));
        let elsewhere = (
            "BEDROCK_API_TARGET",
            "bedrock-runtime.us-west-2.amazonaws.com",
        );
        assert_eq!(target("", "bedrock", &[own, elsewhere]), host("us-west-2"));
    }

    #[test]
    fn copilots_target_follows_from_the_server() {
        for (url, expected) in [
            ("https://github.com", "https://api.githubcopilot.com"),
            ("https://acme.ghe.com", "https://copilot-api.acme.ghe.com"),
            ("https://ACME.ghe.com/", "https://copilot-api.acme.ghe.com"),
            (
                "https://git.corp.test",
                "https://api.enterprise.githubcopilot.com",
            ),
        ] {
            let server = ("GITHUB_SERVER_URL", url);
            assert_eq!(target("", "copilot", &[server]), expected, "{url}");
            let named = ("COPILOT_API_TARGET", "gw.test");
            assert_eq!(target("", "copilot", &[server, named]), "https://gw.test");
        }
    }

    #[test]
    fn copilot_may_have_a_provider_of_ones_own() {
        let url = ("COPILOT_PROVIDER_BASE_URL", "https://gw.test/v1");
        let key = ("COPILOT_PROVIDER_API_KEY", "k");
        let anthropic = ("COPILOT_PROVIDER_TYPE", "anthropic");
        assert_eq!(target("", "copilot", &[url, key]), "https://gw.test/v1");
        let settings = settings("", &[url, key, anthropic]);
        let copilot = settings.providers.get("copilot").unwrap();
        assert_eq!(copilot.dialect, Dialect::Anthropic);
        assert_eq!(copilot.injections.len(), 1);
        let token = ("COPILOT_GITHUB_TOKEN", "ghu_1");
        assert_eq!(
            target("", "copilot", &[url, key, token]),
            "https://api.githubcopilot.com"
        );
    }

    #[test]
    fn a_run_of_a_workflow_has_its_name() {
        let run = [("GITHUB_RUN_ID", "7"), ("GITHUB_RUN_ATTEMPT", "2")];
        assert_eq!(settings("", &run).run.as_deref(), Some("7-2"));
        assert_eq!(settings("run = 'mine'", &run).run.as_deref(), Some("mine"));
        assert_eq!(settings("", &run[..1]).run, None);
    }
}
