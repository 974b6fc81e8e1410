// SPDX-License-Identifier: MIT OR Apache-2.0
//! From rows as they are written to the table, every fault named.

use std::{collections::BTreeMap, sync::Arc};

use http::{HeaderName, HeaderValue};

use super::{
    Carrier, Injection, PORTS, Provider, Providers, REGION, Route, Signing, Template, Versions,
    builtin, is_at, is_host_pattern, region_in,
};
use crate::{
    binding::is_shape,
    credential::Federation,
    settings::{
        RawCredential, RawInjection, RawProvider, RawSigning, RawVariant, RawVersions, SigningKind,
        Target, check_base_path, is_identifier,
    },
};

/// Longest name of a provider.
const MAX_NAME: usize = 32;

/// Longest name of a region, and of a service in signatures.
const MAX_REGION: usize = 32;

impl Providers {
    /// The table of what comes with keyward, changed and added to by `raw`.
    #[must_use]
    pub fn parse(raw: &BTreeMap<String, RawProvider>, faults: &mut Vec<String>) -> Self {
        if raw.is_empty() {
            return Self::builtin();
        }
        Self::changed_by(raw, faults)
    }

    /// As [`Self::parse`], also when nothing is changed.
    pub(super) fn changed_by(
        raw: &BTreeMap<String, RawProvider>,
        faults: &mut Vec<String>,
    ) -> Self {
        let rows = builtin::rows();
        let nothing = RawProvider::default();
        let mut all: Vec<Provider> = Vec::new();
        let own = rows.iter().map(|(name, row)| {
            let changes = raw.get(*name).unwrap_or(&nothing);
            (*name, changes.over(row), changes)
        });
        let added = raw
            .iter()
            .filter(|(name, _)| !rows.contains_key(name.as_str()));
        let added = added.map(|(name, it)| {
            let like = it.like.as_deref().and_then(|like| rows.get(like));
            let row = like.map_or_else(|| it.clone(), |row| it.over(&row.model()));
            (name.as_str(), row, it)
        });
        for (name, row, written) in own.chain(added) {
            let mut fault = |setting: &str, what: &str| {
                let dot = if setting.is_empty() { "" } else { "." };
                faults.push(format!("provider.{name}{dot}{setting}: {what}"));
            };
            if !is_identifier(name, MAX_NAME) {
                fault(
                    "",
                    &format!("the name is not 1 to {MAX_NAME} of [A-Za-z0-9_.-]"),
                );
            }
            if let Some(like) = &written.like
                && !rows.contains_key(like.as_str())
            {
                let known: Vec<_> = rows.keys().copied().collect();
                fault(
                    "like",
                    &format!("{like:?} is not one of {}", known.join(", ")),
                );
            }
            if let Some(provider) = provider(name, &row, &mut fault) {
                let taken = all.iter().find(|it| it.port == provider.port);
                if let Some(taken) = taken {
                    let what = format!("{} is the port of {:?}", provider.port, taken.name);
                    fault("port", &what);
                } else {
                    all.push(provider);
                }
            }
        }
        all.sort_by_key(|it| it.port);
        Self::new(all.into_iter().map(Arc::new).collect())
    }
}

fn provider(name: &str, row: &RawProvider, fault: &mut impl FnMut(&str, &str)) -> Option<Provider> {
    let port = row.port.filter(|it| PORTS.contains(it));
    if port.is_none() {
        let (first, last) = (PORTS.start(), PORTS.end());
        fault(
            "port",
            &format!("a number from {first} to {last} is needed"),
        );
    }
    let is_region = |it: &&String| is_identifier(it, MAX_REGION) && !it.contains('.');
    let written = row.region.as_ref().filter(is_region);
    if written.is_none() && row.region.is_some() {
        fault(
            "region",
            &format!("it is not 1 to {MAX_REGION} of [A-Za-z0-9_-]"),
        );
    }
    let in_region = |text: &str, region: Option<&String>| match region {
        Some(region) => text.replace(REGION, region),
        None => text.to_owned(),
    };
    let target = match &row.target {
        None => {
            fault("target", "it says where requests go, and is needed");
            None
        }
        Some(text) => match Target::parse(
            &in_region(text, written),
            row.allow_plaintext.unwrap_or(false),
        ) {
            Ok(it) => Some(it),
            Err(what) => {
                fault("target", what);
                None
            }
        },
    };
    let mut base_path = target.as_ref().map(|it| it.1.clone()).unwrap_or_default();
    if let Some(text) = &row.base_path {
        match check_base_path(text) {
            Ok(path) => base_path = path,
            Err(what) => fault("base-path", what),
        }
    }
    let host = target.as_ref().map_or("", |it| it.0.host.as_str());
    let mut injections = injections(row, (host, written), fault);
    // What the target itself says of its region counts.
    let region = injections.iter().find_map(|it| match &it.carrier {
        Carrier::Signature(signing) => signing.region.clone(),
        Carrier::Header(_) | Carrier::Query(_) => None,
    });
    let region = region.or_else(|| written.cloned());
    let federation = match &row.credential {
        Some(RawCredential::Federated(raw)) => Federation::parse(raw, region.as_deref(), fault),
        Some(
            RawCredential::Reference(_) | RawCredential::Followed(_) | RawCredential::AccessKey(_),
        )
        | None => None,
    };
    if let Some(federation) = &federation {
        let signs = |it: &Injection| matches!(it.carrier, Carrier::Signature(_));
        if federation.is_access_key() && !injections.iter().any(signs) {
            fault(
                "credential.exchange",
                "aws gives an access key, which signs requests, and nothing here is signed",
            );
        }
    }
    if federation.as_ref().is_some_and(|it| !it.is_access_key()) && row.auth_header.is_none() {
        // Fetched tokens are bearer tokens wherever a provider takes keys in a header of its own.
        injections.retain(|it| !it.credential_starts.is_empty());
        injections.push(Injection {
            credential_starts: String::new(),
            credential_shape: None,
            hosts: Vec::new(),
            carrier: Carrier::Header(http::header::AUTHORIZATION),
            scheme: "Bearer ".to_owned(),
            merge: Vec::new(),
        });
    }
    let mut pairs = |setting: &str, from: Option<&BTreeMap<String, String>>| {
        let carries = |it: &HeaderName| {
            injections
                .iter()
                .any(|one| matches!(&one.carrier, Carrier::Header(own) if own == it))
        };
        let mut found = Vec::new();
        for (name, value) in from.into_iter().flatten() {
            let parsed = header(name).filter(|it| !carries(it));
            match (parsed, HeaderValue::from_str(value)) {
                (Some(name), Ok(value)) => found.push((name, value)),
                (None, _) => fault(setting, &format!("{name:?} cannot be set")),
                (_, Err(_)) => {
                    fault(
                        setting,
                        &format!("the value of {name:?} is not a header value"),
                    );
                }
            }
        }
        found
    };
    // What is said of the provider counts for more than what is said of its variants: of the defaults the
    // first counts, of what is always set the last.
    let mut defaults = pairs("defaults", row.defaults.as_ref());
    let mut headers = Vec::new();
    let here = |it: &&RawVariant| {
        target
            .as_ref()
            .is_some_and(|(target, _)| !it.hosts.is_empty() && is_at(&it.hosts, &target.host))
    };
    let variants = || row.variant.iter().flatten();
    for variant in variants() {
        let pairs = [&variant.defaults, &variant.headers].map(|it| pairs("variant", Some(it)));
        if here(&variant) {
            let [more, set] = pairs;
            defaults.extend(more);
            headers.extend(set);
        }
    }
    headers.extend(pairs("headers", row.headers.as_ref()));
    if variants().any(|it| it.hosts.is_empty()) {
        fault("variant", "its hosts are needed");
    }
    hosts_are_patterns(variants().flat_map(|it| &it.hosts), "variant", fault);
    let mut routes = Vec::new();
    let lists = [("routes", &row.routes), ("allow", &row.allow)];
    let lists = lists.map(|(setting, list)| (setting, list.as_deref().unwrap_or_default(), true));
    let further = variants().map(|it| ("variant", it.routes.as_slice(), here(&it)));
    for (setting, list, counts) in lists.into_iter().chain(further) {
        for text in list {
            match Route::parse(text) {
                Some(route) if counts => routes.push(route),
                Some(_) => {}
                None => fault(
                    setting,
                    &format!("{text:?} is not METHOD /path or METHOD /path/*"),
                ),
            }
        }
    }
    let placeholder = row
        .placeholder
        .clone()
        .unwrap_or_else(|| format!("{name}-placeholder-for-credential-isolation"));
    if placeholder.len() < 8 || !placeholder.bytes().all(|it| it.is_ascii_graphic()) {
        fault(
            "placeholder",
            "it is shorter than 8 characters, or not plain ASCII",
        );
    }
    let environment = row.environment.iter().flatten();
    let filled = |text: &String| Template::new(&in_region(text, region.as_ref()));
    let environment = environment.map(|(name, value)| (name.clone(), filled(value)));
    let list = |it: &Option<Vec<String>>| it.clone().unwrap_or_default();
    Some(Provider {
        name: name.to_owned(),
        port: port?,
        dialect: row.dialect.unwrap_or_default(),
        credential_variables: list(&row.credential_variables),
        access_key_variables: row.access_key_variables.clone(),
        withheld_variables: list(&row.withheld_variables),
        target_variable: row.target_variable.clone(),
        base_path_variable: row.base_path_variable.clone(),
        region_variables: list(&row.region_variables),
        placeholder,
        environment: environment.collect(),
        target: target?.0,
        base_path,
        versions: versions(row.versions.as_ref(), fault),
        injections,
        defaults,
        headers,
        routes,
        federation,
        require_placeholder: row.require_placeholder.unwrap_or(true),
    })
}

/// `place`: the target's host, and the region as it is written.
fn injections(
    row: &RawProvider,
    place: (&str, Option<&String>),
    fault: &mut impl FnMut(&str, &str),
) -> Vec<Injection> {
    // One header of the user's own stands for all that the row knows.
    let own = row.auth_header.as_ref().map(|header| {
        vec![RawInjection {
            header: header.clone(),
            ..RawInjection::default()
        }]
    });
    let setting = if own.is_some() {
        "auth-header"
    } else {
        "inject"
    };
    let written = own.or_else(|| row.inject.clone()).unwrap_or_default();
    let mut found = Vec::new();
    for it in written {
        let carrier = match carrier(&it, place) {
            Ok(carrier) => carrier,
            Err(what) => {
                fault(setting, &what);
                continue;
            }
        };
        hosts_are_patterns(it.hosts.iter(), setting, fault);
        if let Some(shape) = it
            .credential_shape
            .as_deref()
            .filter(|name| !is_shape(name))
        {
            fault(
                setting,
                &format!("{shape:?} is not a known shape of credentials"),
            );
        }
        let merged = it.merge.iter().filter_map(|(name, value)| {
            let pair = header(name).zip(HeaderValue::from_str(value).ok());
            if pair.is_none() {
                fault(setting, &format!("{name:?} cannot be merged"));
            }
            pair
        });
        let merge = merged.collect();
        if HeaderValue::from_str(&it.scheme).is_err() {
            fault(setting, "the scheme is no text for a header");
        }
        found.push(Injection {
            credential_starts: it.credential_starts,
            credential_shape: it.credential_shape,
            hosts: it.hosts,
            carrier,
            scheme: it.scheme,
            merge,
        });
    }
    // A signature has a condition of its own; alone, it is for a service that knows nothing else.
    let signs = |it: &Injection| matches!(it.carrier, Carrier::Signature(_));
    let always = |it: &Injection| {
        it.credential_starts.is_empty() && it.credential_shape.is_none() && it.hosts.is_empty()
    };
    let others = || found.iter().filter(|it| !signs(it));
    let complete = match others().next_back() {
        Some(last) => always(last),
        None => !found.is_empty(),
    };
    if !complete {
        fault(
            setting,
            "the last way to put the credential in must have no condition",
        );
    }
    found
}

/// What carries the credential: a header or, raw, a parameter of the query; or what it signs.
fn carrier(raw: &RawInjection, place: (&str, Option<&String>)) -> Result<Carrier, String> {
    if let Some(sign) = &raw.sign {
        let alone = RawInjection {
            sign: raw.sign.clone(),
            ..RawInjection::default()
        };
        // An access key has no marks, and goes to the service's own hosts.
        return match *raw == alone {
            true => signing(sign, place).map(Carrier::Signature),
            false => Err(
                "sign stands alone: without header, query, scheme, merge, conditions".to_owned(),
            ),
        };
    }
    if raw.query.is_empty() {
        let name = header(&raw.header).ok_or_else(|| {
            let name = &raw.header;
            format!("{name:?} is not the name of a header that can carry a credential")
        })?;
        return Ok(Carrier::Header(name));
    }
    if !(raw.header.is_empty() && raw.scheme.is_empty()) {
        return Err("query excludes header and scheme".to_owned());
    }
    let plain = |it: u8| it.is_ascii_alphanumeric() || b"-._~".contains(&it);
    match raw.query.bytes().all(plain) {
        true => Ok(Carrier::Query(raw.query.clone())),
        false => Err(format!(
            "{:?} is not a plain name of a parameter",
            raw.query
        )),
    }
}

fn signing(raw: &RawSigning, (host, written): (&str, Option<&String>)) -> Result<Signing, String> {
    let SigningKind::AwsSigV4 = raw.kind;
    if !is_identifier(&raw.service, MAX_REGION) {
        return Err(format!("{:?} is not the name of a service", raw.service));
    }
    // It wants paths spelt in a way of its own.
    if raw.service == "s3" {
        return Err("requests to s3 cannot be signed".to_owned());
    }
    let is_pattern = |it: &&String| {
        let plain = it.replace(REGION, "x");
        is_host_pattern(&plain) && it.matches(REGION).count() <= 1
    };
    if let Some(wrong) = raw.hosts.iter().find(|it| !is_pattern(it)) {
        return Err(format!(
            "{wrong:?} is not a host in lower case, or *.suffix, with {REGION} for one label"
        ));
    }
    if raw.hosts.is_empty() {
        return Err("sign needs hosts".to_owned());
    }
    let here = raw.hosts.iter().find_map(|it| region_in(it, host));
    let region = here.map(|it| it.map(str::to_owned).or_else(|| written.cloned()));
    if region == Some(None) {
        return Err(format!("in which region {host} is has to be said: region"));
    }
    Ok(Signing {
        service: raw.service.clone(),
        hosts: raw.hosts.clone(),
        region: region.flatten(),
    })
}

fn hosts_are_patterns<'a>(
    hosts: impl Iterator<Item = &'a String>,
    setting: &str,
    fault: &mut impl FnMut(&str, &str),
) {
    for it in hosts.filter(|it| !is_host_pattern(it)) {
        let what =
            format!("{it:?} is not a host in lower case, *.suffix, or host with * for a label");
        fault(setting, &what);
    }
}

fn versions(raw: Option<&RawVersions>, fault: &mut impl FnMut(&str, &str)) -> Versions {
    let Some(raw) = raw else {
        return Versions::default();
    };
    let fine = |it: &String| check_base_path(it).is_ok_and(|path| path == *it && !path.is_empty());
    let known = raw.known.iter().all(fine);
    if !known || !(raw.default.is_empty() || raw.known.contains(&raw.default)) {
        fault(
            "versions",
            "each is /segment, and the default is one of them or empty",
        );
    }
    Versions {
        known: raw.known.clone(),
        default: raw.default.clone(),
        always: raw.always,
    }
}

/// The name of a header that may be set: not one that the proxy or the protocol owns.
fn header(name: &str) -> Option<HeaderName> {
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
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    let owned = OWNED.contains(&name.as_str()) || name.as_str().starts_with("sec-websocket-");
    (!owned).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(toml: &str) -> (Providers, Vec<String>) {
        let raw: BTreeMap<String, RawProvider> = toml::from_str(toml).unwrap();
        let mut faults = Vec::new();
        (Providers::parse(&raw, &mut faults), faults)
    }

    #[test]
    fn a_provider_of_ones_own_needs_no_rust() {
        let (table, faults) = table(
            "[groq]\nlike = 'openai'\nport = 10010\ntarget = 'https://api.groq.test/openai/v1'\n\
             environment = { GROQ_BASE_URL = '{url}', GROQ_API_KEY = '{placeholder}' }\n\
             credential-variables = ['GROQ_API_KEY']",
        );
        assert_eq!(faults, Vec::<String>::new());
        let groq = table.get("groq").unwrap();
        assert_eq!((groq.port, groq.base_path.as_str()), (10010, "/openai/v1"));
        assert_eq!(groq.routes, table.get("openai").unwrap().routes);
        assert_eq!(
            groq.placeholder,
            "groq-placeholder-for-credential-isolation"
        );
        assert_eq!(
            groq.secret_variables().collect::<Vec<_>>(),
            ["GROQ_API_KEY", "GROQ_API_KEY"]
        );
    }

    #[test]
    fn another_service_of_aws_needs_no_rust() {
        let toml = |target: &str, hosts: &str| {
            format!(
                "[agents]\nport = 10010\nregion = 'eu-west-1'\ntarget = '{target}'\n\
                 access-key-variables = {{ id = 'A_ID', secret = 'A_SECRET' }}\n\
                 environment = {{ A_URL = '{{url}}', A_REGION = '{{region}}', A_ID = '{{placeholder}}' }}\n\
                 inject = [{{ sign = {{ kind = 'aws-sigv4', service = 'agents', hosts = {hosts} }} }}]"
            )
        };
        let usual = "['agents.{region}.amazonaws.com']";
        for (target, host, region) in [
            (
                "agents.{region}.amazonaws.com",
                "agents.eu-west-1.amazonaws.com",
                Some("eu-west-1"),
            ),
            (
                "agents.us-west-2.amazonaws.com",
                "agents.us-west-2.amazonaws.com",
                Some("us-west-2"),
            ),
            ("gw.corp.test", "gw.corp.test", None),
        ] {
            let (table, faults) = table(&toml(target, usual));
            assert_eq!(faults, Vec::<String>::new());
            let agents = table.get("agents").unwrap();
            assert_eq!(agents.target.host, host);
            let [
                Injection {
                    carrier: Carrier::Signature(signing),
                    ..
                },
            ] = agents.injections.as_slice()
            else {
                unreachable!()
            };
            assert_eq!(signing.region.as_deref(), region);
            let told = agents.workload_environment("192.0.2.1".parse().unwrap());
            let told: BTreeMap<_, _> = told.collect();
            assert_eq!(told["A_REGION"], region.unwrap_or("eu-west-1"));
            let withheld: Vec<_> = agents.secret_variables().collect();
            assert!(withheld.contains(&"A_ID") && withheld.contains(&"A_SECRET"));
        }
        for (target, hosts) in [
            ("agents.{region}.amazonaws.com", "[]"),
            ("agents.{region}.amazonaws.com", "['*']"),
            (
                "agents.{region}.amazonaws.com",
                "['agents.{region}.{region}.test']",
            ),
            ("agents.{region", usual),
        ] {
            assert!(
                !table(&toml(target, hosts)).1.is_empty(),
                "{target} {hosts}"
            );
        }
        let global = toml("agents.test", "['agents.test']").replace("region = 'eu-west-1'\n", "");
        let (_, faults) = table(&global);
        assert!(faults[0].contains("region"), "{faults:?}");
        let s3 =
            toml("agents.test", "['agents.test']").replace("service = 'agents'", "service = 's3'");
        assert!(table(&s3).1[0].contains("s3"));
    }

    #[test]
    fn what_is_missing_or_taken_is_named() {
        let (_, faults) = table("[x]\nport = 10000\n[y]\nlike = 'nobody'");
        let all = faults.join("\n");
        for part in [
            "provider.x.target",
            "provider.x.inject",
            "provider.y.like",
            "provider.y.port",
        ] {
            assert!(all.contains(part), "{part}: {all}");
        }
        let (_, faults) = table("[x]\nlike = 'openai'\ntarget = 'x.test'\nport = 10001");
        assert_eq!(
            faults,
            ["provider.x.port: 10001 is the port of \"anthropic\""]
        );
    }
}
