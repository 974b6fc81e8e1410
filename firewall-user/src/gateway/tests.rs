// SPDX-License-Identifier: GPL-3.0-or-later

use clap::Parser as _;
use keyward_policy::{Builder, Input, NoCommands, Sources};
use keyward_proxy::settings::Settings;
use std::path::Path;

use super::*;
use crate::cli::{self, Cli, Commands};

fn sections(toml: &str) -> Sections {
    let environment = BTreeMap::new();
    let mut builder = Builder::new(Sources {
        root: Path::new("/nonexistent"),
        home: None,
        directory: Path::new("/nonexistent"),
        environment: &environment,
        commands: &NoCommands,
    });
    builder.config(&Input::Text {
        name: "k.toml".to_owned(),
        text: toml.to_owned(),
    });
    builder.finish().unwrap().gateway
}

fn flags(arguments: &[&str]) -> ProviderArgs {
    run_args(arguments).providers
}

fn run_args(arguments: &[&str]) -> cli::RunArgs {
    let all = ["keyward", "run"].iter().chain(arguments);
    let cli = Cli::parse_from(all.chain(&["--", "true"]));
    let Commands::Run(run) = cli.command else {
        unreachable!()
    };
    *run
}

/// The checked providers, or every fault.
fn providers(
    toml: &str,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Result<Providers, String> {
    let sections = sections(toml);
    let mut asked = Asked::new(&sections);
    asked.targets(&flags(arguments), |name| {
        let found = variables.iter().find(|it| it.0 == name);
        found.map(|it| it.1.to_owned())
    });
    let mut faults = Vec::new();
    let mut raw = asked.settings(&mut faults);
    crate::credentials::references(&mut raw, |_| None, &mut faults);
    match Settings::try_from(raw) {
        Ok(settings) if faults.is_empty() => return Ok(settings.providers),
        Ok(_) => {}
        Err(found) => faults.extend(found.0.iter().map(|it| asked.place_fault(it))),
    }
    Err(faults.join("\n"))
}

const MINE: &str = "[[provider]]\nname = 'my.own'\nlike = 'openai'\nport = 10010\ntarget = 'a.test/v2'\n\
    credential = 'env:MY_KEY'\ntarget-variable = 'MY_TARGET'\n";

#[test]
fn a_provider_of_a_file_is_served() {
    let table = providers(MINE, &[], &[]).unwrap();
    let mine = table.get("my.own").unwrap();
    assert_eq!((mine.port, mine.base_path.as_str()), (10010, "/v2"));
    let mut environment: Vec<_> = mine
        .workload_environment("192.0.2.1".parse().unwrap())
        .collect();
    environment.sort();
    let placeholder = "my.own-placeholder-for-credential-isolation".to_owned();
    let address = "http://192.0.2.1:10010".to_owned();
    assert_eq!(
        environment,
        [("MY_KEY", placeholder), ("MY_OWN_BASE_URL", address)]
    );
    let table = providers(MINE, &[], &[("MY_TARGET", "b.test")]).unwrap();
    let mine = table.get("my.own").unwrap();
    assert_eq!(
        (mine.target.host.as_str(), mine.base_path.as_str()),
        ("b.test", "")
    );
}

#[test]
fn a_flag_counts_more_than_a_file() {
    let toml =
        "[provider.openai]\ntarget = 'a.test'\nbase-path = '/a'\nrequire-placeholder = false\n";
    let found = |arguments: &[&str]| {
        let table = providers(toml, arguments, &[]).unwrap();
        let it = table.get("openai").unwrap();
        assert!(!it.require_placeholder);
        format!("{}{}", it.target.host, it.base_path)
    };
    assert_eq!(found(&[]), "a.test/a");
    assert_eq!(found(&["--openai-api-target", "b.test"]), "b.test");
    assert_eq!(found(&["--openai-api-base-path", "/b"]), "a.test/b");
    assert_eq!(found(&["--openai-api-base-path", ""]), "a.test");
}

#[test]
fn limits_of_flags_count_and_lists_add_up() {
    let sections = sections("[spend]\ntokens = 5\nruns = 7\n[models]\nallow = ['a']\n");
    let all = "--max-tokens 9 --rate-limit-rpm 1 --rate-limit-rph 2 --rate-limit-bytes-pm 3 --max-concurrent 4 \
        --max-cost 2.5 --allow-model b,c* --deny-model d --scan block";
    let all: Vec<_> = all.split_whitespace().collect();
    let mut asked = Asked::new(&sections);
    asked.limits(&run_args(&all).limits);
    let expected = json!({
        "spend": {
            "tokens": 9, "runs": 7, "requests-per-minute": 1, "requests-per-hour": 2,
            "bytes-per-minute": 3, "concurrent-requests": 4, "dollars": 2.5,
        },
        "models": {"allow": ["a", "b", "c*"], "deny": ["d"]},
        "scan": {"mode": "block"},
    });
    assert_eq!(Value::Object(asked.values.clone()), expected);
    let fault = asked.place_fault("spend.tokens: too many");
    assert_eq!(fault, "--max-tokens: too many");
    let none = LimitArgs::default();
    assert_eq!(run_args(&[]).limits, none);
}

#[test]
fn a_region_of_a_file_counts_more_than_a_variable() {
    let found = |toml: &str, name: &str, variables: &[(&str, &str)]| {
        let table = providers(toml, &[], variables).unwrap();
        table.get(name).unwrap().target.host.clone()
    };
    let (own, usual) = (
        ("AWS_REGION", "eu-west-1"),
        ("AWS_DEFAULT_REGION", "ap-south-1"),
    );
    let at = |region: &str| format!("bedrock-runtime.{region}.amazonaws.com");
    let written = "[provider.bedrock]\nregion = 'sa-east-1'";
    assert_eq!(found("", "bedrock", &[]), at("us-east-1"));
    assert_eq!(found("", "bedrock", &[usual]), at("ap-south-1"));
    assert_eq!(found("", "bedrock", &[usual, own]), at("eu-west-1"));
    assert_eq!(found(written, "bedrock", &[usual, own]), at("sa-east-1"));
    let second = "[[provider]]\nname = 'b'\nlike = 'bedrock'\nport = 10010\n\
                  target = 'bedrock-runtime.{region}.amazonaws.com'\ncredential = 'env:K'";
    assert_eq!(found(second, "b", &[own]), at("eu-west-1"));
    let faults = providers("", &[], &[("AWS_REGION", "a b")]).unwrap_err();
    assert!(faults.contains("AWS_REGION: it is not"), "{faults}");
}

#[test]
fn an_access_key_of_a_file_is_withheld_in_its_parts() {
    let toml = "[provider.bedrock]\ncredential = { access-key-id = 'env:MY_ID', secret-access-key = 'env:MY_SECRET' }";
    let table = providers(toml, &[], &[]).unwrap();
    let withheld: Vec<_> = table.get("bedrock").unwrap().secret_variables().collect();
    for name in [
        "MY_ID",
        "MY_SECRET",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_SECURITY_TOKEN",
    ] {
        assert!(withheld.contains(&name), "{name}: {withheld:?}");
    }
}

#[test]
fn a_contradiction_names_both_places() {
    let said = |toml: &str, arguments: &[&str], variables: &[(&str, &str)], holder| {
        let sections = sections(toml);
        let mut asked = Asked::new(&sections);
        asked.targets(&flags(arguments), |name| {
            let found = variables.iter().find(|it| it.0 == name);
            found.map(|it| it.1.to_owned())
        });
        let fault = Unbound {
            provider: "copilot".to_owned(),
            what: "why".to_owned(),
        };
        asked.contradiction(&fault, holder)
    };
    let file = "[provider.copilot]\ncredential = 'file:/k'\ntarget = 'gw.test'";
    let holder = Some("COPILOT_GITHUB_TOKEN");
    let flag = ["--copilot-api-target", "gw.test"];
    let server = [("GITHUB_SERVER_URL", "https://git.test")];
    for (toml, arguments, variables, holder, credential, target) in [
        (file, &[][..], &[][..], None, "k.toml:2:15", "k.toml:3:11"),
        (
            file,
            &flag,
            &[],
            None,
            "k.toml:2:15",
            "--copilot-api-target",
        ),
        (
            "",
            &flag,
            &[],
            holder,
            "COPILOT_GITHUB_TOKEN",
            "--copilot-api-target",
        ),
        (
            "",
            &[],
            &server,
            holder,
            "COPILOT_GITHUB_TOKEN",
            "GITHUB_SERVER_URL",
        ),
        (
            "",
            &[],
            &[],
            holder,
            "COPILOT_GITHUB_TOKEN",
            "keyward's own table",
        ),
    ] {
        assert_eq!(
            said(toml, arguments, variables, holder),
            format!("{credential}: why\n  the target of copilot is set by {target}")
        );
    }
}

#[test]
fn copilot_is_where_the_code_host_is() {
    for (server, arguments, target) in [
        ("", &[][..], "api.githubcopilot.com"),
        ("https://github.com", &[], "api.githubcopilot.com"),
        ("https://x.ghe.com/", &[], "copilot-api.x.ghe.com"),
        (
            "https://git.corp.test:8443",
            &[],
            "api.enterprise.githubcopilot.com",
        ),
        (
            "https://x.ghe.com",
            &["--copilot-api-target", "c.test"],
            "c.test",
        ),
    ] {
        let table = providers("", arguments, &[("GITHUB_SERVER_URL", server)]).unwrap();
        assert_eq!(
            table.get("copilot").unwrap().target.host,
            target,
            "{server}"
        );
    }
}

#[test]
fn every_fault_has_its_place() {
    let toml = "[provider.groq]\nport = 'sk-secret'\ntargte = 'sk-secret'\nlike = 'nobody'\n\
        [provider.other]\nlike = 'openai'\nport = 5\n\
        inject = [{ header = 'x-key', shceme = 'sk-secret' }]\n\
        [limits]\nbody = 'much'\nhead = 5.5\n[limits.more]\nx = 1\n";
    let faults = providers(toml, &[], &[]).unwrap_err();
    for words in [
        "k.toml:2:9: invalid type: string, expected u16",
        "k.toml:3:1: this key is not known",
        "k.toml:8:31: this key is not known",
        "k.toml:10:9: invalid type: string, expected u64",
        "10 | body = 'much'",
        "k.toml:11:8: invalid type",
        "k.toml:12:9: this key is not known",
    ] {
        assert!(faults.contains(words), "{words}: {faults}");
    }
    assert!(!faults.contains("secret"), "{faults}");
    assert_eq!(faults.matches("k.toml:").count(), 6, "{faults}");
}

#[test]
fn what_does_not_hold_has_its_place() {
    let toml = "[provider.groq]\nlike = 'nobody'\nport = 5\n[limits]\nconnect-seconds = 0.0\n";
    let faults = providers(toml, &["--gemini-api-target", "ftp://x"], &[]).unwrap_err();
    for words in [
        "k.toml:2:9: \"nobody\" is not one of anthropic",
        "k.toml:3:8: a number from 10000",
        // Not there: at the provider itself, and by name.
        "k.toml:1:11: target: it says where requests go",
        "k.toml:5:19: 0 is not between",
        "--gemini-api-target: ",
    ] {
        assert!(faults.contains(words), "{words}: {faults}");
    }
}

#[test]
fn a_section_that_nobody_knows_has_a_place() {
    let sections = sections("[retry]\nx = 1\n");
    let mut asked = Asked::new(&sections);
    asked.values.insert("nonsense".to_owned(), json!({}));
    let mut faults = Vec::new();
    asked.settings(&mut faults);
    assert!(
        faults
            .iter()
            .any(|it| it.starts_with("nonsense: this key is not known")),
        "{faults:?}"
    );
    assert!(
        faults.iter().any(|it| it.starts_with("k.toml:")),
        "{faults:?}"
    );
}
