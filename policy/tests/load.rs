// SPDX-License-Identifier: MIT OR Apache-2.0
//! Policies put together: files, includes, groups, flags.
#![expect(clippy::unwrap_used, reason = "it is how a test says that it failed")]

use std::{collections::BTreeMap, fs, path::Path};

use keyward_policy::{
    Answers, Builder, Commands, Faults, Input, Loaded, Mode, Sources, list_groups,
};
use tempfile::TempDir;

struct Npm;

impl Commands for Npm {
    fn run(&self, program: &str, _: &[&str]) -> Option<String> {
        (program == "npm").then(|| "https://npm.default.test/\n".to_owned())
    }
}

fn files(all: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (path, text) in all {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    directory
}

fn build(directory: &Path, steps: impl FnOnce(&mut Builder<'_>)) -> Result<Loaded, Faults> {
    let environment = BTreeMap::new();
    let mut builder = Builder::new(Sources {
        root: directory,
        home: None,
        directory,
        environment: &environment,
        commands: &Npm,
    });
    steps(&mut builder);
    builder.finish()
}

fn config(directory: &Path, path: &str) -> Result<Loaded, Faults> {
    build(directory, |it| it.config(&Input::Path(path.into())))
}

/// `RULE < ORIGIN`.
fn allowed(loaded: &Loaded) -> Vec<String> {
    let all = loaded.policy.allow.iter();
    all.map(|it| format!("{} < {}", it.rule, it.origin))
        .collect()
}

const TOML: &str = r#"
mode = "audit"
allow = ["example.com", { rule = "http://pkgs.example.com/pub/*", methods = ["GET", "HEAD"] }, "group:mine"]
block = ["bad.example.com"]
host-ports = [5432, "6379-6380"]

[groups]
mine = ["git.corp.example", "group:openai"]

[dns]
answers = "real"
servers = ["192.0.2.53", "https://dns.example/dns-query"]

[upstream-proxy]
url = "http://proxy.corp.example:3128"
no-proxy = ["*.corp.example", "10.0.0.0/8"]
"#;

const YAML: &str = r#"
mode: audit
allow:
  - example.com
  - rule: http://pkgs.example.com/pub/*
    methods: [GET, HEAD]
  - group:mine
block: [bad.example.com]
host-ports: [5432, 6379-6380]
groups:
  mine: [git.corp.example, "group:openai"]
dns:
  answers: real
  servers: [192.0.2.53, https://dns.example/dns-query]
upstream-proxy:
  url: http://proxy.corp.example:3128
  no-proxy: ["*.corp.example", 10.0.0.0/8]
"#;

const JSON: &str = r#"{
  "mode": "audit",
  "allow": ["example.com", {"rule": "http://pkgs.example.com/pub/*", "methods": ["GET", "HEAD"]}, "group:mine"],
  "block": ["bad.example.com"],
  "host-ports": [5432, "6379-6380"],
  "groups": {"mine": ["git.corp.example", "group:openai"]},
  "dns": {"answers": "real", "servers": ["192.0.2.53", "https://dns.example/dns-query"]},
  "upstream-proxy": {"url": "http://proxy.corp.example:3128", "no-proxy": ["*.corp.example", "10.0.0.0/8"]}
}"#;

#[test]
fn a_file_means_the_same_in_every_format() {
    let directory = files(&[
        ("a.toml", TOML),
        ("a.yaml", YAML),
        ("a.yml", YAML),
        ("a.json", JSON),
    ]);
    let toml = config(directory.path(), "a.toml").unwrap();
    assert_eq!(
        allowed(&toml),
        [
            "example.com < a.toml:3:11",
            "http://pkgs.example.com/pub/* < a.toml:3:35",
            "git.corp.example < a.toml:8:10 (group:mine)",
            "https://api.openai.com < a.toml:8:30 (group:openai)",
        ]
    );
    assert_eq!(toml.policy.mode, Mode::Audit);
    assert_eq!(toml.policy.allow[1].methods, ["GET", "HEAD"]);
    assert_eq!(toml.policy.host_ports, [(5432, 5432), (6379, 6380)]);
    assert_eq!(toml.dns.answers, Answers::Real);
    assert_eq!(toml.dns.servers.len(), 2);
    assert!(toml.upstream_proxy.is_some());
    assert!(toml.notes.is_empty());
    for path in ["a.yaml", "a.yml", "a.json"] {
        let mut other = config(directory.path(), path).unwrap();
        let rules = |it: &Loaded| {
            allowed(it)
                .into_iter()
                .map(|it| it.split(" < ").next().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(rules(&other), rules(&toml), "{path}");
        assert_eq!(
            (&other.dns, &other.upstream_proxy),
            (&toml.dns, &toml.upstream_proxy)
        );
        for (one, two) in other.policy.allow.iter_mut().zip(&toml.policy.allow) {
            one.origin = two.origin.clone();
        }
        other.policy.block[0].origin = toml.policy.block[0].origin.clone();
        assert_eq!(other.policy, toml.policy, "{path}");
    }
}

#[test]
fn standard_input_says_what_it_was_read_as() {
    let directory = files(&[("b.toml", "allow = [\"b.test\"]")]);
    for (text, format) in [
        (TOML, "TOML"),
        (YAML, "YAML"),
        (JSON, "JSON"),
        ("", "TOML"),
        ("include: b.toml", "YAML"),
    ] {
        let input = Input::Text {
            name: "<stdin>".to_owned(),
            text: format!("\u{feff}{text}"),
        };
        let loaded = build(directory.path(), |it| it.config(&input)).unwrap();
        assert_eq!(loaded.notes, [format!("<stdin> was read as {format}")]);
    }
}

#[test]
fn includes_come_first_and_count_less() {
    let directory = files(&[
        (
            "a.toml",
            "include = [\"sub/b.yaml\", \"sub/c.json\"]\nallow = [\"a.test\"]\n[dns]\nanswers = \"synthetic\"",
        ),
        (
            "sub/b.yaml",
            "include: [c.json]\nmode: audit\nallow: [b.test]\nallow-files: d.txt\ndns: {answers: real, servers: [192.0.2.1]}",
        ),
        (
            "sub/c.json",
            "{\"allow\": [\"c.test\"], \"host-ports\": [22]}",
        ),
        ("sub/d.txt", "d.test # all of it\n"),
    ]);
    let loaded = config(directory.path(), "a.toml").unwrap();
    assert_eq!(
        allowed(&loaded),
        [
            "c.test < sub/c.json:1:13",
            "b.test < sub/b.yaml:3:9",
            "d.test < sub/d.txt:1:1",
            "a.test < a.toml:2:11",
        ]
    );
    assert_eq!(loaded.policy.mode, Mode::Audit);
    assert_eq!(loaded.dns.answers, Answers::Synthetic);
    assert_eq!(loaded.dns.servers.len(), 1);
    // Read once, though it is included twice.
    assert_eq!(loaded.policy.host_ports, [(22, 22)]);
    assert_eq!(loaded.files.len(), 4);
}

#[test]
fn a_circle_of_includes_is_refused() {
    let directory = files(&[
        ("a.toml", "include = [\"b.toml\"]"),
        ("b.toml", "include = [\"x/../a.toml\"]"),
        ("x/y", ""),
    ]);
    let faults = config(directory.path(), "a.toml").unwrap_err().to_string();
    let shown = faults.replace(
        &directory
            .path()
            .canonicalize()
            .unwrap()
            .display()
            .to_string(),
        "",
    );
    insta::assert_snapshot!(shown, @r#"
    b.toml:1:13: the files include each other: /a.toml > /b.toml > /a.toml
      |
    1 | include = ["x/../a.toml"]
      |             ^
    "#);
}

#[test]
fn flags_add_to_lists_and_win_over_settings() {
    let directory = files(&[("a.toml", TOML), ("d.txt", "d.test"), ("e.txt", "e.test")]);
    let loaded = build(directory.path(), |it| {
        it.allow_domains("flag.test, group:anthropic,registry:npm");
        it.block_domains("bad.test");
        it.allow_domains_file(Path::new("d.txt"));
        it.block_domains_file(Path::new("e.txt"));
        it.host_ports("--allow-host-service-ports", "8080, 9000-9001");
        it.mode(Mode::Enforce);
        it.dns_answers(Answers::Synthetic);
        it.dns_servers("192.0.2.99");
        it.upstream_proxy("https://other.test");
        it.no_proxy("NO_PROXY", "localhost,.test");
        it.config(&Input::Path("a.toml".into()));
    })
    .unwrap();
    let rules = allowed(&loaded);
    assert_eq!(
        rules[4..],
        [
            "flag.test < --allow-domains",
            "https://api.anthropic.com < --allow-domains (group:anthropic)",
            "https://npm.default.test < `npm config get registry` (registry:npm)",
            "d.test < d.txt:1:1",
        ]
    );
    assert_eq!(loaded.policy.block.len(), 3);
    assert_eq!(
        loaded.policy.host_ports,
        [(5432, 5432), (6379, 6380), (8080, 8080), (9000, 9001)]
    );
    assert_eq!(loaded.policy.mode, Mode::Enforce);
    assert_eq!(loaded.dns.answers, Answers::Synthetic);
    assert_eq!(loaded.dns.servers.len(), 1);
    let proxy = loaded.upstream_proxy.unwrap();
    assert_eq!(
        (proxy.url.as_str(), proxy.no_proxy.len()),
        ("https://other.test", 2)
    );
}

#[test]
fn nothing_allows_nothing() {
    let directory = files(&[]);
    let loaded = build(directory.path(), |it| it.allow_domains("")).unwrap();
    assert_eq!(loaded.policy.allow, []);
    assert!(loaded.checked.allowed().next().is_none());
}

#[test]
fn a_package_manager_that_is_not_there_is_a_fault_with_its_place() {
    let directory = files(&[("a.toml", "allow = [\"registry:npm\", \"registry:maven\"]")]);
    let faults = config(directory.path(), "a.toml").unwrap_err().to_string();
    insta::assert_snapshot!(faults, @r#"
    a.toml:1:27: nothing on this host says where maven fetches from
      |
    1 | allow = ["registry:npm", "registry:maven"]
      |                           ^
      = hint: install or configure maven, or write the host in place of `registry:maven`
    "#);
}

#[test]
fn files_that_cannot_be_read_say_why() {
    let directory = files(&[("d/x", "")]);
    fs::write(directory.path().join("latin.txt"), b"a.test\n\xe9").unwrap();
    let faults = build(directory.path(), |it| {
        it.config(&Input::Path("missing.toml".into()));
        it.config(&Input::Path("d".into()));
        it.allow_domains_file(Path::new("latin.txt"));
    });
    insta::assert_snapshot!(faults.unwrap_err().to_string(), @r"
    d: cannot read `d`: it is a directory
    latin.txt: cannot read `latin.txt`: it is not UTF-8 (line 2)
    missing.toml: cannot read `missing.toml`: there is no such file
    ");
}

#[test]
fn groups_are_listed_with_what_they_stand_for() {
    let directory = files(&[("a.toml", TOML)]);
    let environment = BTreeMap::new();
    let mut builder = Builder::new(Sources {
        root: directory.path(),
        home: None,
        directory: directory.path(),
        environment: &environment,
        commands: &Npm,
    });
    builder.config(&Input::Path("a.toml".into()));
    let all = list_groups(&builder);
    let rules = |name: &str| {
        let group = all.iter().find(|it| it.name == name).unwrap();
        let rules = group.rules.as_ref().map_err(Clone::clone);
        rules.map(|all| all.iter().map(|it| it.rule.clone()).collect::<Vec<_>>())
    };
    assert!(
        rules("group:github")
            .unwrap()
            .contains(&"github.com".to_owned())
    );
    assert!(rules("group:model-apis").unwrap().len() > 10);
    assert_eq!(
        rules("group:mine").unwrap(),
        ["git.corp.example", "https://api.openai.com"]
    );
    assert_eq!(rules("registry:npm").unwrap(), ["https://npm.default.test"]);
    assert!(
        rules("registry:maven")
            .unwrap_err()
            .contains("nothing on this host")
    );
}

#[test]
fn a_long_list_is_read_at_once() {
    let list: String = (0..20_000)
        .map(|it| format!("host-{it}.example.com\n"))
        .collect();
    let directory = files(&[("d.txt", &list)]);
    let loaded = build(directory.path(), |it| {
        it.block_domains_file(Path::new("d.txt"))
    })
    .unwrap();
    assert_eq!(loaded.policy.block.len(), 20_000);
}

#[test]
fn no_file_takes_more_than_it_is_worth() {
    // Each group names the one before it twice: as many rules as two to that power.
    let doubled = |most: usize| {
        let groups = (1..most).map(|it| {
            format!(
                "g{it} = [\"group:g{0}\", \"group:g{0}\", \"h{it}.test\"]\n",
                it - 1
            )
        });
        let groups: String = groups.collect();
        format!(
            "allow = [\"group:g{}\"]\n[groups]\ng0 = [\"h0.test\"]\n{groups}",
            most - 1
        )
    };
    // Ten of everything, ten times over.
    let aliases = (1..10).map(|it| {
        let inner = vec![format!("*a{}", it - 1); 10].join(", ");
        format!("a{it}: &a{it} [{inner}]\n")
    });
    let aliases = format!(
        "a0: &a0 [x, x]\n{}allow: *a9\n",
        aliases.collect::<String>()
    );
    let wide: String = (0..20_000)
        .map(|it| format!("g{it} = [\"group:g{}\"]\n", it + 1))
        .collect();
    let deep = "[".repeat(100_000);
    let directory = files(&[
        ("fine.toml", &doubled(16)),
        ("doubled.toml", &doubled(64)),
        (
            "wide.toml",
            &format!("[groups]\n{wide}g20000 = [\"x.test\"]\n"),
        ),
        ("aliases.yaml", &aliases),
        ("deep.json", &format!("{{\"allow\": {deep}")),
        ("deep.toml", &format!("allow = {deep}")),
        ("deep.yaml", &format!("allow: {deep}")),
        ("twice.toml", "allow = [\"a.test\"]\nallow = [\"b.test\"]\n"),
        (
            "twice.json",
            "{\"allow\": [\"a.test\"], \"allow\": [\"b.test\"]}",
        ),
        ("twice.yaml", "allow: [a.test]\nallow: [b.test]\n"),
    ]);
    let fine = config(directory.path(), "fine.toml").unwrap();
    assert_eq!(fine.policy.allow.len(), 16);
    for (path, words) in [
        ("doubled.toml", "more than 16 times"),
        ("wide.toml", "more than 16 times"),
        ("aliases.yaml", "not valid YAML"),
        ("deep.json", ""),
        ("deep.toml", ""),
        ("deep.yaml", ""),
        ("twice.toml", "allow"),
        ("twice.json", "allow"),
        ("twice.yaml", "allow"),
    ] {
        let faults = config(directory.path(), path).unwrap_err().to_string();
        assert!(faults.contains(words), "{path}: {faults}");
        assert!(faults.len() < 10_000, "{path}: {} bytes", faults.len());
    }
}
