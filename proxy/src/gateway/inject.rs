// SPDX-License-Identifier: MIT OR Apache-2.0
//! Puts the real credential, and what else the provider wants, into a stripped request.

use std::{borrow::Cow, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::{mask::Mask, sign::Signer};
use crate::{
    credential::Credential,
    provider::{Carrier, Provider},
};

/// What is put into every request of one provider: made once for each credential, so that a request
/// costs a few reference counts.
///
/// No `Debug`: the header is marked sensitive, but there is no need to come near.
pub(crate) struct Injector {
    credential: Prepared,
    /// Looks for the credential in answers; `None`: it is too short.
    mask: Option<Arc<Mask>>,
    merge: Vec<(HeaderName, HeaderValue)>,
    defaults: Vec<(HeaderName, HeaderValue)>,
    set: Vec<(HeaderName, HeaderValue)>,
}

/// The credential where it is going to be.
enum Prepared {
    Header(HeaderName, HeaderValue),
    /// `name=value`, escaped.
    Query(Zeroizing<String>),
    /// It is put in when the rest of the request is known.
    Signature(Arc<Signer>),
}

impl Injector {
    /// Prepares the headers. `None` if the credential cannot be put in here; [`Credential`] and
    /// [`bound`](crate::binding::bound) see to it that this does not happen.
    pub(crate) fn new(provider: &Provider, credential: &Credential) -> Option<Self> {
        let injection = provider.injection(credential)?;
        Some(Self {
            mask: Mask::new(credential).ok()?,
            credential: match &injection.carrier {
                Carrier::Header(name) => {
                    Prepared::Header(name.clone(), credential.header(&injection.scheme)?)
                }
                Carrier::Query(name) => Prepared::Query(credential.parameter(name)?),
                Carrier::Signature(signing) => {
                    let signer = Signer::new(credential.as_access_key()?, signing)?;
                    Prepared::Signature(Arc::new(signer))
                }
            },
            merge: injection.merge.clone(),
            defaults: provider.defaults.clone(),
            set: provider.headers.clone(),
        })
    }

    /// Puts everything in. The credential comes last: nothing overwrites it.
    pub(crate) fn inject(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.defaults {
            if !headers.contains_key(name) {
                headers.insert(name.clone(), value.clone());
            }
        }
        for (name, value) in &self.set {
            headers.insert(name.clone(), value.clone());
        }
        for (name, value) in &self.merge {
            merge(headers, name, value);
        }
        if let Prepared::Header(name, value) = &self.credential {
            headers.insert(name.clone(), value.clone());
        }
    }

    /// What covers the credential where an answer repeats it.
    pub(super) fn mask(&self) -> Option<&Arc<Mask>> {
        self.mask.as_ref()
    }

    /// Who signs the request, once the rest of it is known.
    pub(super) fn signer(&self) -> Option<&Arc<Signer>> {
        match &self.credential {
            Prepared::Signature(signer) => Some(signer),
            Prepared::Header(..) | Prepared::Query(_) => None,
        }
    }

    /// The query with the credential, if that is where it belongs.
    pub(crate) fn inject_query<'a>(&self, query: Option<Cow<'a, str>>) -> Option<Cow<'a, str>> {
        let Prepared::Query(parameter) = &self.credential else {
            return query;
        };
        let front = match query {
            Some(query) if !query.is_empty() => format!("{query}&"),
            _ => String::new(),
        };
        Some(Cow::Owned(front + parameter))
    }
}

/// Adds `value` to a comma-separated header, unless it is there.
fn merge(headers: &mut HeaderMap, name: &HeaderName, value: &HeaderValue) {
    let there = headers
        .get_all(name)
        .iter()
        .flat_map(|it| it.as_bytes().split(|byte| *byte == b','))
        .any(|it| it.trim_ascii() == value.as_bytes());
    if !there {
        headers.append(name.clone(), value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{RawSettings, Settings};

    fn injected(toml: &str, provider: &str, key: &str, before: &[(&str, &str)]) -> HeaderMap {
        let settings = Settings::try_from(toml::from_str::<RawSettings>(toml).unwrap()).unwrap();
        let key = Credential::new(key.as_bytes().to_vec()).unwrap();
        let injector = Injector::new(settings.providers.get(provider).unwrap(), &key).unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in before {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        injector.inject(&mut headers);
        headers
    }

    #[test]
    fn each_provider_gets_its_own_header() {
        let headers = injected("", "openai", "sk-1", &[]);
        assert_eq!(headers["authorization"], "Bearer sk-1");
        assert!(headers["authorization"].is_sensitive());
        assert_eq!(headers.len(), 1);

        let headers = injected("", "anthropic", "sk-ant-1", &[]);
        assert_eq!(headers["x-api-key"], "sk-ant-1");
        assert_eq!(headers["anthropic-version"], "2023-06-01");
        assert!(!headers.contains_key("authorization"));

        let given = [("anthropic-version", "2099-01-01"), ("anthropic-beta", "a")];
        let headers = injected("", "anthropic", "sk-ant-oat01-1", &given);
        assert_eq!(headers["authorization"], "Bearer sk-ant-oat01-1");
        assert_eq!(headers["anthropic-version"], "2099-01-01");
        let betas: Vec<_> = headers.get_all("anthropic-beta").iter().collect();
        assert_eq!(betas, ["a", "oauth-2025-04-20"]);
        assert!(!headers.contains_key("x-api-key"));
    }

    #[test]
    fn azure_and_custom_headers_carry_the_raw_key() {
        let azure = "[provider.openai]\ntarget = 'x.openai.azure.com'";
        let headers = injected(azure, "openai", "k", &[]);
        assert_eq!(headers["api-key"], "k");
        assert!(!headers.contains_key("authorization"));
        let custom =
            "[provider.openai]\nauth-header = 'X-Corp-Key'\nheaders = { openai-project = 'p' }";
        let headers = injected(custom, "openai", "k", &[]);
        assert_eq!(headers["x-corp-key"], "k");
        assert_eq!(headers["openai-project"], "p");
        assert!(!headers.contains_key("authorization"));
    }

    #[test]
    fn copilot_names_the_run_and_its_scheme_depends_on_host_and_token() {
        let host = |host: &str| format!("run = 'r-1'\n[provider.copilot]\ntarget = '{host}'");
        for (target, key, expected) in [
            ("api.githubcopilot.com", "ghu_1", "Bearer ghu_1"),
            ("api.enterprise.githubcopilot.com", "ghu_1", "token ghu_1"),
            (
                "api.business.githubcopilot.com",
                "github_pat_1",
                "token github_pat_1",
            ),
            ("copilot-api.acme.ghe.com", "gho_1", "token gho_1"),
            ("api.enterprise.githubcopilot.com", "tid=1", "Bearer tid=1"),
        ] {
            let headers = injected(&host(target), "copilot", key, &[]);
            assert_eq!(headers["authorization"], expected, "{target}");
            assert_eq!(headers["copilot-integration-id"], "agentic-workflows");
            assert_eq!(headers["x-interaction-id"], "r-1");
            assert_eq!(headers["x-initiator"], "agent");
        }
        let given = [("x-initiator", "user"), ("copilot-integration-id", "mine")];
        let headers = injected(&host("api.githubcopilot.com"), "copilot", "ghu_1", &given);
        assert_eq!(headers["x-initiator"], "user");
        assert_eq!(headers["copilot-integration-id"], "agentic-workflows");
        // Elsewhere none of it is said, and without a run's name there is one for the requests of a run.
        let headers = injected(&host("gw.corp.test"), "copilot", "k", &[]);
        assert_eq!(headers.len(), 1);
        let unnamed = injected("", "copilot", "k", &[]);
        assert_eq!(unnamed["x-interaction-id"].len(), 36);
    }

    #[test]
    fn a_credential_may_travel_in_the_query() {
        let toml =
            "[provider.maps]\nport = 10010\ntarget = 'maps.test'\ninject = [{ query = 'key' }]";
        let settings = Settings::try_from(toml::from_str::<RawSettings>(toml).unwrap()).unwrap();
        let key = Credential::new(b"a&b=c/%".to_vec()).unwrap();
        let injector = Injector::new(settings.providers.get("maps").unwrap(), &key).unwrap();
        let mut headers = HeaderMap::new();
        injector.inject(&mut headers);
        assert!(headers.is_empty());
        let with =
            |query: Option<&'static str>| injector.inject_query(query.map(Cow::Borrowed)).unwrap();
        assert_eq!(with(None), "key=a%26b%3Dc%2F%25");
        assert_eq!(with(Some("alt=sse")), "alt=sse&key=a%26b%3Dc%2F%25");
        for wrong in [
            "{ query = 'key', header = 'x-key' }",
            "{ query = 'key', scheme = 'Bearer ' }",
            "{ query = 'a b' }",
            "{}",
        ] {
            let toml = toml.replace("{ query = 'key' }", wrong);
            let raw = toml::from_str::<RawSettings>(&toml).unwrap();
            assert!(Settings::try_from(raw).is_err(), "{wrong}");
        }
    }
}
