// SPDX-License-Identifier: MIT OR Apache-2.0
//! From raw settings to checked ones, every fault named.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use keyward_policy::{Policy, PolicyError};

use super::{
    Dns, Limits, OpenedRoute, ProviderSettings, RawProvider, RawSettings, RawUpstream, Resolution,
    Settings, SettingsError, Target, UpstreamProxy, UpstreamSettings,
    target::{check_base_path, check_host, split_port},
};
use crate::provider::{Provider, Upstream, When, provider, providers};

/// Longest run identifier: long enough for a CI system's, short enough for every log line.
const MAX_RUN: usize = 64;

impl TryFrom<RawSettings> for Settings {
    type Error = SettingsError;

    fn try_from(raw: RawSettings) -> Result<Self, SettingsError> {
        let mut faults = Vec::new();
        refuse_files(&raw, &mut faults);
        if raw
            .run
            .as_deref()
            .is_some_and(|it| !is_identifier(it, MAX_RUN))
        {
            faults.push(format!("run: not 1 to {MAX_RUN} of [A-Za-z0-9_.-]"));
        }
        let worker_threads = raw.worker_threads.unwrap_or(1);
        if !(1..=64).contains(&worker_threads) {
            faults.push("worker_threads: not between 1 and 64".to_owned());
        }
        for name in raw.providers.keys() {
            match provider(name) {
                None => faults.push(format!("providers.{name}: there is no such provider")),
                Some(it) if !it.servable() => {
                    faults.push(format!("providers.{name}: the gateway cannot serve it yet"));
                }
                Some(_) => {}
            }
        }
        let nothing = RawProvider::default();
        let servable = providers()
            .iter()
            .filter_map(|it| Some((it, it.upstream.as_ref()?)));
        let providers = servable.map(|(provider, upstream)| {
            let raw = raw.providers.get(provider.name).unwrap_or(&nothing);
            (
                provider.name,
                parse_provider(provider, upstream, raw, &mut faults),
            )
        });
        let providers = providers.collect();
        let mut upstream = parse_upstream(&raw.upstream, &mut faults);
        upstream.proxy = raw
            .upstream_proxy
            .as_ref()
            .and_then(|it| UpstreamProxy::parse(it, &mut faults))
            .map(Arc::new);
        let dns = Dns::parse(&raw.dns, &mut faults);
        let limits = Limits::parse(&raw.limits, &mut faults);
        let policy = Policy::new(&raw.policy).unwrap_or_else(|PolicyError(found)| {
            faults.extend(found.iter().map(|(at, why)| format!("{at}: {why}")));
            Policy::default()
        });
        let settings = Self {
            run: raw.run,
            worker_threads,
            providers,
            upstream,
            policy,
            dns,
            limits,
        };
        if faults.is_empty() {
            Ok(settings)
        } else {
            Err(SettingsError(faults))
        }
    }
}

/// Whether `text` is 1 to `most` characters that mean nothing special anywhere.
pub(crate) fn is_identifier(text: &str, most: usize) -> bool {
    let plain = |it: u8| it.is_ascii_alphanumeric() || b"_.-".contains(&it);
    (1..=most).contains(&text.len()) && text.bytes().all(plain)
}

/// What only the standalone start reads must have been taken out by it.
fn refuse_files(raw: &RawSettings, faults: &mut Vec<String>) {
    let mut refuse = |there: bool, name: String| {
        if there {
            faults.push(format!("{name}: only for a standalone proxy"));
        }
    };
    refuse(raw.listen.is_some(), "listen".to_owned());
    refuse(
        !raw.upstream.ca_files.is_empty(),
        "upstream.ca_files".to_owned(),
    );
    refuse(raw.log.requests.is_some(), "log.requests".to_owned());
    for (name, it) in &raw.providers {
        refuse(
            it.credential.is_some(),
            format!("providers.{name}.credential"),
        );
    }
}

fn parse_provider(
    provider: &'static Provider,
    upstream: &Upstream,
    raw: &RawProvider,
    faults: &mut Vec<String>,
) -> ProviderSettings {
    let mut fault = |setting: &str, what: &str| {
        faults.push(format!("providers.{}.{setting}: {what}", provider.name));
    };
    let mut target = Target::default_of(upstream.host);
    let mut base_path = upstream.base_path.to_owned();
    if let Some(text) = &raw.target {
        match Target::parse(text, raw.allow_plaintext) {
            Ok((parsed, path)) => {
                // The default base path belongs to the default host; a private one has its own.
                if parsed != target || !path.is_empty() {
                    base_path = path;
                }
                target = parsed;
            }
            Err(what) => fault("target", what),
        }
    }
    if let Some(text) = &raw.base_path {
        match check_base_path(text) {
            Ok(path) => base_path = path,
            Err(what) => fault("base_path", what),
        }
    }
    let auth_header = raw.auth_header.as_deref().and_then(|text| {
        let name = HeaderName::from_bytes(text.as_bytes()).ok();
        let name = name.filter(|it| !is_reserved(it));
        if name.is_none() {
            fault(
                "auth_header",
                "not the name of a header that can carry a credential",
            );
        }
        name
    });
    let mut allow = Vec::new();
    for text in &raw.allow {
        match parse_route(text) {
            Some(route) => allow.push(route),
            None => fault(
                "allow",
                &format!("{text:?} is not METHOD /path or METHOD /path/*"),
            ),
        }
    }
    let mut headers = Vec::new();
    for (name, value) in &raw.headers {
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .ok()
            .filter(|it| !is_reserved(it));
        let carries = |it: &HeaderName| {
            upstream
                .injections
                .iter()
                .any(|injection| injection.header == it.as_str())
        };
        match (
            parsed.filter(|it| !carries(it)),
            HeaderValue::from_str(value),
        ) {
            (Some(name), Ok(value)) => headers.push((name, value)),
            (None, _) => fault("headers", &format!("{name:?} cannot be set")),
            (_, Err(_)) => fault(
                "headers",
                &format!("the value of {name:?} is not a header value"),
            ),
        }
    }
    ProviderSettings {
        provider,
        target,
        base_path,
        auth_header,
        require_placeholder: raw.require_placeholder.unwrap_or(true),
        allow,
        headers,
    }
}

/// Headers that the proxy or the protocol owns.
fn is_reserved(name: &HeaderName) -> bool {
    const OWNED: [&str; 12] = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "proxy-authorization",
        "cookie",
        "x-request-id",
    ];
    OWNED.contains(&name.as_str()) || name.as_str().starts_with("sec-websocket-")
}

fn parse_route(text: &str) -> Option<OpenedRoute> {
    let (method, path) = text.split_once(' ')?;
    if method.is_empty() || !method.bytes().all(|it| it.is_ascii_uppercase()) {
        return None;
    }
    // These are not requests of an API, and the gateway refuses them before any route is asked.
    if method == "CONNECT" || method == "TRACE" {
        return None;
    }
    let (path, below) = match path.strip_suffix("/*") {
        Some(path) => (path, true),
        None => (path, false),
    };
    let checked = check_base_path(path)
        .ok()
        .filter(|it| it == path && !it.is_empty())?;
    Some(OpenedRoute {
        method: method.to_owned(),
        path: checked,
        below,
    })
}

fn parse_upstream(raw: &RawUpstream, faults: &mut Vec<String>) -> UpstreamSettings {
    let mut resolve = Vec::new();
    for text in &raw.resolve {
        match parse_resolution(text) {
            Ok(it) => resolve.push(it),
            Err(what) => faults.push(format!("upstream.resolve: {text:?}: {what}")),
        }
    }
    let system_roots = raw.system_roots.unwrap_or(true);
    if !system_roots && raw.ca_pem.is_empty() {
        faults.push("upstream: with system_roots off, a root has to be given".to_owned());
    }
    if raw
        .ca_pem
        .iter()
        .any(|it| !it.contains("-----BEGIN CERTIFICATE-----"))
    {
        faults.push("upstream.ca_pem: one of them holds no PEM certificate".to_owned());
    }
    UpstreamSettings {
        ca_pem: raw.ca_pem.clone(),
        system_roots,
        resolve,
        http2: raw.http2.unwrap_or(true),
        proxy: None,
    }
}

fn parse_resolution(text: &str) -> Result<Resolution, &'static str> {
    let (authority, address) = text.split_once('=').ok_or("not host[:port]=address:port")?;
    let (host, port) = split_port(authority)?;
    let host = check_host(host)?;
    let address = address
        .parse()
        .map_err(|_cause| "what follows = is not address:port")?;
    Ok(Resolution {
        host,
        port,
        address,
    })
}

impl ProviderSettings {
    /// The way in which a credential of this provider is put in, at this target.
    #[must_use]
    pub fn injection(
        &self,
        credential: &crate::credential::Credential,
    ) -> Option<&'static crate::provider::Injection> {
        let applies = |it: &&crate::provider::Injection| match it.when {
            When::Always => true,
            When::CredentialStarts(prefix) => credential.has_prefix(prefix),
            When::HostEnds(suffix) => self.target.host.ends_with(suffix),
        };
        self.provider
            .upstream
            .as_ref()?
            .injections
            .iter()
            .find(applies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(toml: &str) -> Result<Settings, SettingsError> {
        Settings::try_from(toml::from_str::<RawSettings>(toml).unwrap())
    }

    #[test]
    fn nothing_set_is_the_contracts_defaults() {
        let settings = parse("").unwrap();
        let openai = &settings.providers["openai"];
        assert_eq!(openai.target.to_string(), "https://api.openai.com");
        assert_eq!(openai.base_path, "/v1");
        assert!(openai.require_placeholder);
        let anthropic = &settings.providers["anthropic"];
        assert_eq!(anthropic.target.to_string(), "https://api.anthropic.com");
        assert_eq!(anthropic.base_path, "");
        assert_eq!(settings.limits, Limits::default());
        assert_eq!(settings.worker_threads, 1);
    }

    #[test]
    fn a_private_target_has_its_own_base_path() {
        let of = |toml: &str| parse(toml).unwrap().providers["openai"].base_path.clone();
        assert_eq!(of("[provider.openai]\ntarget = 'gw.corp'"), "");
        assert_eq!(
            of("[provider.openai]\ntarget = 'https://gw.corp/openai/v1'"),
            "/openai/v1"
        );
        assert_eq!(
            of("[provider.openai]\ntarget = 'gw.corp'\nbase_path = 'v2/'"),
            "/v2"
        );
        assert_eq!(of("[provider.openai]\ntarget = 'api.openai.com'"), "/v1");
    }

    #[test]
    fn every_fault_is_reported_at_once() {
        let faults = parse(
            "run = 'a b'\nworker_threads = 0\nlisten = '127.0.0.1'\n\
             [provider.openai]\ntarget = 'http://x'\nallow = ['GET v1', 'get /v1', 'GET /a/../b']\n\
             auth_header = 'host'\ncredential = 'env:X'\nheaders = { authorization = 'x' }\n\
             [provider.nobody]\n[provider.gemini]\n\
             [upstream]\nsystem_roots = false\nresolve = ['x', 'a=b']\n\
             [limits]\nhead = 1\nhead_seconds = 0.0",
        )
        .unwrap_err();
        assert_eq!(faults.0.len(), 17, "{:#?}", faults.0);
        assert!(!faults.to_string().contains('\n'));
    }

    #[test]
    fn unknown_names_are_refused_everywhere() {
        for toml in [
            "x = 1",
            "[limits]\nbodi = 1",
            "[provider.openai]\nx = 1",
            "[upstream]\nx = 1",
            "[log]\nx = 1",
        ] {
            assert!(toml::from_str::<RawSettings>(toml).is_err(), "{toml}");
        }
    }

    #[test]
    fn fixed_addresses_are_found_by_host_and_port() {
        let settings =
            parse("[upstream]\nresolve = ['a.test:8443=127.0.0.1:1', 'A.test=127.0.0.1:2']")
                .unwrap();
        let port = |port| {
            settings
                .upstream
                .resolved("a.test", port)
                .map(|it| it.port())
        };
        assert_eq!((port(8443), port(443)), (Some(1), Some(2)));
        assert_eq!(settings.upstream.resolved("b.test", 443), None);
    }
}
