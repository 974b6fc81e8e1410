// SPDX-License-Identifier: MIT OR Apache-2.0
//! Puts the real credential, and what else the provider wants, into a stripped request.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{credential::Credential, provider::Provider};

/// What is put into every request of one provider: made once for each credential, so that a request
/// costs a few reference counts.
///
/// No `Debug`: the header is marked sensitive, but there is no need to come near.
pub(crate) struct Injector {
    credential: (HeaderName, HeaderValue),
    merge: Vec<(HeaderName, HeaderValue)>,
    defaults: Vec<(HeaderName, HeaderValue)>,
    set: Vec<(HeaderName, HeaderValue)>,
}

impl Injector {
    /// Prepares the headers. `None` if the credential cannot be a header; [`Credential`] sees to it that
    /// this does not happen.
    pub(crate) fn new(provider: &Provider, credential: &Credential) -> Option<Self> {
        let injection = provider.injection(credential)?;
        Some(Self {
            credential: (
                injection.header.clone(),
                credential.header(&injection.scheme)?,
            ),
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
        let (name, value) = &self.credential;
        headers.insert(name.clone(), value.clone());
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
}
