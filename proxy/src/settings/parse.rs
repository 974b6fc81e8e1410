// SPDX-License-Identifier: MIT OR Apache-2.0
//! From raw settings to checked ones, every fault named.

use std::{sync::Arc, time::Duration};

use keyward_policy::{Policy, PolicyError};

use super::{
    Dns, Limits, RawCredential, RawSettings, RawUpstream, Resolution, Retry, Rewrite, ScanSettings,
    Settings, SettingsError, TelemetrySettings, UpstreamProxy, UpstreamSettings,
    target::{check_host, split_port},
};
use crate::provider::Providers;

/// Longest run identifier: long enough for a CI system's, short enough for every log line.
const MAX_RUN: usize = 64;

/// How many requests at a time have an HTTP/1.1 connection each: more than most agents have under way, and few enough
/// that their memory, some 30 KiB each, does not count.
const HTTP1_CONNECTIONS: usize = 32;

/// How often an HTTP/2 connection is asked whether it lives, in seconds. A connection that died silently
/// would otherwise swallow the next request until its own time is over.
const PING: f64 = 30.0;

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
        let providers = Providers::parse(&raw.providers, &mut faults);
        // A run without a name gets one here, so that all that its requests say of it is the same.
        let providers = match &raw.run {
            Some(run) => providers.for_run(run),
            None => providers.for_run(&uuid::Uuid::new_v4().to_string()),
        };
        let mut upstream = parse_upstream(&raw.upstream, &mut faults);
        upstream.proxy = raw
            .upstream_proxy
            .as_ref()
            .and_then(|it| UpstreamProxy::parse(it, &mut faults))
            .map(Arc::new);
        let dns = Dns::parse(&raw.dns, &mut faults);
        let scan = ScanSettings::parse(&raw.scan, &mut faults);
        let limits = Limits::parse(&raw.limits, &mut faults);
        let retry = Retry::parse(&raw.retry, &mut faults);
        let rewrite = Rewrite::parse(&raw.rewrite, &mut faults);
        let spend = super::spend::parse(&raw.spend, &mut faults);
        let models = super::models::parse(&raw.models, &mut faults);
        let telemetry = TelemetrySettings::parse(&raw.telemetry, &mut faults);
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
            scan,
            limits,
            retry,
            rewrite,
            spend,
            models,
            telemetry,
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
    refuse(raw.log.token_usage.is_some(), "log.token-usage".to_owned());
    let telemetry = &raw.telemetry;
    refuse(telemetry.bearer.is_some(), "telemetry.bearer".to_owned());
    refuse(
        !telemetry.headers.is_empty(),
        "telemetry.headers".to_owned(),
    );
    for (name, it) in &raw.providers {
        refuse(
            !matches!(it.credential, None | Some(RawCredential::Federated(_))),
            format!("provider.{name}.credential"),
        );
    }
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
    let ping = raw.ping_seconds.unwrap_or(PING);
    let sensible = (0.1..=3600.0).contains(&ping);
    if !sensible {
        faults.push(format!(
            "upstream.ping-seconds: {ping} is not between 0.1 and 3600"
        ));
    }
    UpstreamSettings {
        ping: Duration::from_secs_f64(if sensible { ping } else { PING }),
        ca_pem: raw.ca_pem.clone(),
        system_roots,
        resolve,
        http2: raw.http2.unwrap_or(true),
        http1_connections: raw.http1_connections.unwrap_or(HTTP1_CONNECTIONS),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(toml: &str) -> Result<Settings, SettingsError> {
        Settings::try_from(toml::from_str::<RawSettings>(toml).unwrap())
    }

    #[test]
    fn nothing_set_is_the_contracts_defaults() {
        let settings = parse("").unwrap();
        let openai = settings.providers.get("openai").unwrap();
        assert_eq!(openai.target.to_string(), "https://api.openai.com");
        assert_eq!(openai.base_path, "/v1");
        assert!(openai.require_placeholder);
        let anthropic = settings.providers.get("anthropic").unwrap();
        assert_eq!(anthropic.target.to_string(), "https://api.anthropic.com");
        assert_eq!(anthropic.base_path, "");
        assert_eq!(settings.limits, Limits::default());
        assert_eq!(settings.worker_threads, 1);
    }

    #[test]
    fn a_private_target_has_its_own_base_path() {
        let of = |toml: &str| {
            parse(toml)
                .unwrap()
                .providers
                .get("openai")
                .unwrap()
                .base_path
                .clone()
        };
        assert_eq!(of("[provider.openai]\ntarget = 'gw.corp'"), "");
        assert_eq!(
            of("[provider.openai]\ntarget = 'https://gw.corp/openai/v1'"),
            "/openai/v1"
        );
        assert_eq!(
            of("[provider.openai]\ntarget = 'gw.corp'\nbase-path = 'v2/'"),
            "/v2"
        );
        assert_eq!(of("[provider.openai]\ntarget = 'api.openai.com'"), "/v1");
    }

    #[test]
    fn every_fault_is_reported_at_once() {
        let faults = parse(
            "run = 'a b'\nworker-threads = 0\nlisten = '127.0.0.1'\n\
             [provider.openai]\ntarget = 'http://x'\nallow = ['GET v1', 'get /v1', 'GET /a/../b']\n\
             auth-header = 'host'\ncredential = 'env:X'\nheaders = { authorization = 'x' }\n\
             [provider.nobody]\n[provider.gemini]\n\
             [upstream]\nsystem-roots = false\nresolve = ['x', 'a=b']\n\
             [limits]\nhead = 1\nhead-seconds = 0.0",
        )
        .unwrap_err();
        assert_eq!(faults.0.len(), 18, "{:#?}", faults.0);
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
