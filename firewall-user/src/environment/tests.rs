// SPDX-License-Identifier: GPL-3.0-or-later
use std::path::PathBuf;

use keyward_proxy::credential::Credential;
use nix::unistd::{Gid, Uid};

use super::*;
use crate::endpoints;

const REAL: &str = "sk-real-0123456789";

fn credentials() -> Credentials {
    credentials_of(&["openai"])
}

fn credentials_of(providers: &[&str]) -> Credentials {
    let mut credentials = Credentials::new();
    for provider in providers {
        let credential = Credential::new(REAL.as_bytes().to_vec()).unwrap();
        credentials.insert(provider, credential);
    }
    credentials
}

fn variables(pairs: &[(&str, &str)]) -> Variables {
    pairs
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

fn prepare(
    host: &[(&str, &str)],
    requested: &Requested,
) -> Result<Environment, Vec<PreflightError>> {
    prepare_command(host, requested, &["true"])
}

fn prepare_command(
    host: &[(&str, &str)],
    requested: &Requested,
    command: &[&str],
) -> Result<Environment, Vec<PreflightError>> {
    let identity = Identity {
        uid: Uid::from_raw(1000),
        gid: Gid::from_raw(1000),
        name: Some("ada".into()),
        home: PathBuf::from("/home/ada"),
        shell: None,
    };
    let command: Vec<OsString> = command.iter().map(OsString::from).collect();
    let endpoints = endpoints::for_run(
        endpoints::DEFAULT_ADDRESS,
        endpoints::Doors::Closed,
        &Providers::builtin(),
    );
    Environment::prepare(
        &variables(host),
        requested,
        &identity,
        &endpoints,
        &Providers::builtin(),
        &credentials(),
        &command,
    )
}

fn explicit(name: &str, value: &str) -> Requested {
    Requested {
        explicit: vec![(name.into(), value.into())],
        ..Requested::default()
    }
}

const ALL: Requested = Requested {
    holes: Vec::new(),
    explicit_proxy: ExplicitProxy::Untold,
    one_shot: OneShot::NONE,
    all: true,
    exclude: Vec::new(),
    explicit: Vec::new(),
};

#[test]
fn the_real_key_becomes_the_placeholder() {
    for requested in [Requested::default(), ALL] {
        let host = [
            ("OPENAI_API_KEY", REAL),
            ("PATH", "/bin"),
            ("SUDO_UID", "1000"),
            ("HOME", "/root"),
        ];
        let environment = prepare(&host, &requested).unwrap();
        let expected = variables(&[
            ("CODEX_API_KEY", "sk-placeholder-for-api-proxy"),
            ("GEMINI_CLI_TRUST_WORKSPACE", "true"),
            ("HOME", "/home/ada"),
            ("LOGNAME", "ada"),
            ("NO_PROXY", "localhost,127.0.0.1,::1,172.30.0.30"),
            ("OPENAI_API_KEY", "sk-placeholder-for-api-proxy"),
            ("OPENAI_BASE_URL", "http://172.30.0.30:10000"),
            ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
            ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
            ("PATH", "/bin"),
            ("USER", "ada"),
            ("no_proxy", "localhost,127.0.0.1,::1,172.30.0.30"),
        ]);
        assert_eq!(environment.variables(), &expected);
    }
}

#[test]
fn the_real_key_under_another_name_stops_the_run() {
    let host = [("MY_KEY", REAL), ("HEADER", &format!("Bearer {REAL}"))];
    let faults = prepare(&host, &ALL).unwrap_err();
    let fault = |name: &str| PreflightError::CredentialInVariable {
        name: name.into(),
        provider: "openai".to_owned(),
    };
    assert_eq!(faults, [fault("HEADER"), fault("MY_KEY")]);
    assert!(!format!("{faults:?}").contains(REAL));
    // What is not passed does no harm.
    assert!(prepare(&host, &Requested::default()).is_ok());
}

/// A hole elsewhere: where variables are withheld by their names alone, whatever they hold, the command finds the key.
#[test]
fn the_real_key_under_another_name_passes_elsewhere() {
    let finds_the_key = |variables: &Variables| {
        let mut values = variables.values();
        values.any(|it| it.to_string_lossy().contains(REAL))
    };
    let providers = Providers::builtin();
    for (name, value) in [
        ("MY_KEY", REAL),
        ("HEADER", &format!("Bearer {REAL}")),
        ("CONFIG", &format!("{{\"key\":\"{REAL}\"}}")),
    ] {
        let host = [(name, value)];
        // The peer's rule is the half of ours that knows names.
        assert!(finds_the_key(&passed_from(
            &variables(&host),
            &ALL,
            &providers
        )));
        assert!(prepare(&host, &ALL).is_err(), "{name}");
    }
    // Neither passes what is known by its name.
    let host = [("OPENAI_API_KEY", REAL)];
    assert!(!finds_the_key(&passed_from(
        &variables(&host),
        &ALL,
        &providers
    )));
    assert!(!finds_the_key(prepare(&host, &ALL).unwrap().variables()));
}

#[test]
fn the_real_key_as_an_argument_stops_the_run() {
    let faults = prepare_command(&[], &ALL, &["curl", "-H", &format!("x: {REAL}")]).unwrap_err();
    assert_eq!(
        faults,
        [PreflightError::CredentialInArgument {
            position: 2,
            provider: "openai".to_owned()
        }]
    );
}

#[test]
fn only_the_placeholder_may_be_given_for_a_configured_provider() {
    assert!(
        prepare(
            &[],
            &explicit("OPENAI_API_KEY", "sk-placeholder-for-api-proxy")
        )
        .is_ok()
    );
    let faults = prepare(&[], &explicit("OPENAI_API_KEY", "sk-other")).unwrap_err();
    let name = "OPENAI_API_KEY".to_owned();
    assert_eq!(
        faults,
        [PreflightError::ForeignCredential {
            name,
            provider: "openai".to_owned()
        }]
    );
}

#[test]
fn what_is_withheld_stays_out_and_is_named() {
    for name in [
        "GITHUB_TOKEN",
        "GH_TOKEN",
        "GITHUB_API_TOKEN",
        "GITHUB_PAT",
        "GH_ACCESS_TOKEN",
        "GITHUB_PERSONAL_ACCESS_TOKEN",
        "ACTIONS_RUNTIME_TOKEN",
        "ACTIONS_RESULTS_URL",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        "ACTIONS_ID_TOKEN_REQUEST_URL",
        "SUDO_COMMAND",
        "SUDO_USER",
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
        "AWS_BEARER_TOKEN_BEDROCK",
        "CLAUDE_CODE_OAUTH_TOKEN",
        "COPILOT_GITHUB_TOKEN",
        "COPILOT_PROVIDER_API_KEY",
        "COPILOT_TOKEN",
        "GEMINI_API_KEY",
        "GOOGLE_API_KEY",
        "ALL_PROXY",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "http_proxy",
        "https_proxy",
        "SSH_AUTH_SOCK",
    ] {
        let environment = prepare(&[(name, "secret")], &ALL).unwrap();
        assert!(
            !environment.variables().contains_key(OsStr::new(name)),
            "{name}"
        );
        let environment = prepare(&[], &explicit(name, "secret")).unwrap();
        assert!(
            !environment.variables().contains_key(OsStr::new(name)),
            "{name}"
        );
        assert!(
            environment.notes()[0].contains(name),
            "{:?}",
            environment.notes()
        );
    }
}

#[test]
fn flags_decide_the_rest() {
    let host = [("FOO", "1"), ("LC_ALL", "C"), ("TERM", "xterm")];
    let environment = prepare(&host, &Requested::default()).unwrap();
    assert!(!environment.variables().contains_key(OsStr::new("FOO")));
    assert_eq!(environment.variables()[OsStr::new("LC_ALL")], "C");

    let exclude = vec!["TERM".into()];
    let requested = Requested {
        holes: Vec::new(),
        explicit_proxy: ExplicitProxy::Untold,
        one_shot: OneShot::NONE,
        all: true,
        exclude,
        explicit: vec![("FOO".into(), "2".into())],
    };
    let environment = prepare(&host, &requested).unwrap();
    assert_eq!(environment.variables()[OsStr::new("FOO")], "2");
    assert!(!environment.variables().contains_key(OsStr::new("TERM")));

    let environment = prepare(
        &host,
        &explicit("OPENAI_BASE_URL", "http://172.30.0.30:10000/v1"),
    )
    .unwrap();
    assert_eq!(
        environment.variables()[OsStr::new("OPENAI_BASE_URL")],
        "http://172.30.0.30:10000/v1"
    );
}

#[test]
fn clients_are_told_what_they_need() {
    let switches = |of: &[&str], by_name: bool| {
        let (providers, credentials) = (Providers::builtin(), credentials_of(of));
        let switches = clients::switches(&providers, &credentials, by_name);
        switches.map(|it| it.0).collect::<Vec<_>>()
    };
    let vertex = "GOOGLE_GENAI_USE_VERTEXAI";
    assert!(switches(&[], false).is_empty());
    assert!(switches(&["vertex"], false).contains(&vertex));
    // Which of the two is the user's to say.
    assert!(!switches(&["vertex", "gemini"], false).contains(&vertex));
    let by_name = switches(&[], true);
    assert!(by_name.iter().all(|it| it.starts_with("npm_")) && !by_name.is_empty());

    let set = [("OPENCODE_DISABLE_AUTOUPDATE", "0")];
    let environment = prepare(&set, &ALL).unwrap();
    let name = OsStr::new("OPENCODE_DISABLE_AUTOUPDATE");
    assert_eq!(environment.variables()[name], "0");
}

#[test]
fn clients_are_told_of_the_proxy_only_when_asked_for() {
    let providers = Providers::builtin();
    let told = |doors, explicit_proxy| {
        let endpoints = endpoints::for_run(endpoints::DEFAULT_ADDRESS, doors, &providers);
        let of_gateway = of_gateway(&endpoints, &providers, &credentials(), explicit_proxy);
        let proxy = |name: &str| of_gateway.get(OsStr::new(name)).cloned();
        // Whatever is told, requests to the gateway take no way round.
        for name in ["NO_PROXY", "no_proxy"] {
            let expected = "localhost,127.0.0.1,::1,172.30.0.30";
            assert_eq!(proxy(name).unwrap(), expected);
        }
        assert_eq!(proxy("http_proxy"), None);
        ["HTTPS_PROXY", "HTTP_PROXY", "https_proxy"].map(proxy)
    };
    let open = endpoints::Doors::Open;
    let url = Some(OsString::from("http://172.30.0.30:3128"));
    assert_eq!(
        told(open, ExplicitProxy::Told),
        [url.clone(), url.clone(), url]
    );
    assert_eq!(told(open, ExplicitProxy::Untold), [None, None, None]);
    let closed = endpoints::Doors::Closed;
    assert_eq!(told(closed, ExplicitProxy::Told), [None, None, None]);
}
