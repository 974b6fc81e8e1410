// SPDX-License-Identifier: MIT OR Apache-2.0
//! What rules decide, from a table that people can read: `data/decisions.txt`.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "it is how a test says that it failed"
)]

use keyward_policy::{Asked, Entry, Host, Policy, RawPolicy, Scheme};

#[derive(Default)]
struct Section {
    raw: RawPolicy,
    policy: Option<Policy>,
}

#[test]
fn decisions_are_as_in_the_table() {
    let mut cases = 0;
    let mut wrong = Vec::new();
    let mut section = Section::default();
    for (number, line) in include_str!("data/decisions.txt").lines().enumerate() {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => section = Section::default(),
            ["#", ..] => {}
            ["allow", rule @ ..] => section.raw.allow.push(entry(rule)),
            ["block", rule @ ..] => section.raw.block.push(entry(rule)),
            ["host-ports", ports] => {
                let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
                let range = (first.parse().unwrap(), last.parse().unwrap());
                section.raw.host_ports.push(range);
            }
            [outcome, rest @ ..] => {
                let raw = &section.raw;
                let policy = section
                    .policy
                    .get_or_insert_with(|| Policy::new(raw).unwrap());
                for (case, found) in decide(policy, rest) {
                    cases += 1;
                    if found != *outcome {
                        wrong.push(format!(
                            "line {}: {case}: {found}, not {outcome}",
                            number + 1
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases >= 300, "only {cases} cases");
}

/// `RULE`, or `METHOD,METHOD RULE`.
fn entry(words: &[&str]) -> Entry {
    let (methods, rule) = match words {
        [rule] => ("", rule),
        [methods, rule] => (*methods, rule),
        other => panic!("{other:?}"),
    };
    Entry {
        rule: (*rule).to_owned(),
        methods: methods
            .split(',')
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect(),
        ..Entry::default()
    }
}

/// Every combination of `HOST … @ PORT/SCHEME … [+ METHOD PATH]…`.
fn decide(policy: &Policy, words: &[&str]) -> Vec<(String, &'static str)> {
    let mut parts = words.split(|it| *it == "@");
    let (hosts, rest) = (parts.next().unwrap(), parts.next().unwrap());
    let mut parts = rest.split(|it| *it == "+");
    let ports = parts.next().unwrap();
    let mut requests: Vec<_> = parts.map(|it| Some((it[0], it[1]))).collect();
    if requests.is_empty() {
        requests.push(None);
    }
    let mut found = Vec::new();
    for host in hosts {
        let host: Host = host.parse().unwrap_or_else(|why| panic!("{host}: {why}"));
        for at in ports {
            let (port, scheme) = at.split_once('/').unwrap();
            for request in &requests {
                let asked = Asked {
                    host: &host,
                    port: port.parse().unwrap(),
                    scheme: match scheme {
                        "tls" => Scheme::Tls,
                        "http" => Scheme::Http,
                        "tcp" => Scheme::Tcp,
                        other => panic!("{other}"),
                    },
                    request: *request,
                };
                let decision = policy.decide(&asked);
                let outcome = decision.outcome.map_or_else(|it| it.name(), |()| "ok");
                // Where something is allowed, so is its name; and the other way round, nothing else is.
                if let Host::Name(name) = &host {
                    let resolves = policy.resolves(name).outcome;
                    assert!(outcome != "ok" || resolves.is_ok(), "{host}");
                    assert!(outcome != "host_not_allowed" || resolves.is_err(), "{host}");
                }
                let request = request.map(|(method, path)| format!(" {method} {path}"));
                found.push((
                    format!("{host} {at}{}", request.unwrap_or_default()),
                    outcome,
                ));
            }
        }
    }
    found
}
