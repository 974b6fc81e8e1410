// SPDX-License-Identifier: MIT OR Apache-2.0
//! A policy in any format, or a list of rules: whatever is read can be asked, and every fault has a place.
#![no_main]

use std::{collections::BTreeMap, path::Path};

use keyward_policy::{
    Asked, Builder, Host, Input, Loaded, NoCommands, Policy, RawPolicy, Scheme, Sources,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // The first line that asks, the rest that answers.
    let (host, text) = text.split_once('\n').unwrap_or(("www.example.com", text));
    let host = host.parse().unwrap_or_else(|_| "www.example.com".parse::<Host>().unwrap());

    let file = Input::Text { name: "<stdin>".to_owned(), text: text.to_owned() };
    for loaded in [load(|it| it.config(&file)), load(|it| it.allow_domains(text))] {
        let Some(loaded) = loaded else { continue };
        ask(&loaded.checked, &host);
        for entry in &loaded.policy.allow {
            itself(entry.rule.as_str(), &loaded);
        }
    }
});

fn load(step: impl FnOnce(&mut Builder<'_>)) -> Option<Loaded> {
    let environment = BTreeMap::new();
    let nowhere = Path::new("/nonexistent");
    let mut builder = Builder::new(Sources {
        root: nowhere,
        home: None,
        directory: nowhere,
        environment: &environment,
        commands: &NoCommands,
    });
    step(&mut builder);
    match builder.finish() {
        Ok(loaded) => Some(loaded),
        Err(faults) => {
            assert!(!faults.0.is_empty());
            assert!(faults.0.iter().all(|it| !it.origin.source.is_empty() && !it.what.is_empty()));
            let shown = faults.to_string();
            assert!(shown.chars().all(|it| it == '\n' || it == '\t' || !it.is_control()));
            None
        }
    }
}

fn ask(policy: &Policy, host: &Host) {
    for scheme in [Scheme::Tls, Scheme::Http, Scheme::Tcp] {
        for port in [0, 22, 80, 443, 65535] {
            let request = (scheme == Scheme::Http).then_some(("GET", "/a/../b?c"));
            let asked = Asked { host, port, scheme, request };
            let decision = policy.decide(&asked);
            // What is allowed for a request is allowed before it.
            let before = policy.decide(&Asked { request: None, ..asked });
            assert!(decision.outcome.is_err() || before.outcome.is_ok());
            assert_eq!(policy.explain(&asked).verdicts[0].decision.outcome, decision.outcome);
            if let (Ok(()), Host::Name(name)) = (decision.outcome, host) {
                assert!(policy.resolves(name).outcome.is_ok());
            }
        }
    }
}

/// A rule that was taken is taken alone, and a plain name allows itself unless something blocks it.
fn itself(rule: &str, loaded: &Loaded) {
    let Ok(host) = rule.parse::<Host>() else { return };
    let allow = loaded.policy.allow.iter().filter(|it| it.rule == rule).cloned().collect();
    let policy = Policy::new(&RawPolicy { allow, ..RawPolicy::default() }).unwrap();
    let asked = Asked { host: &host, port: 443, scheme: Scheme::Tls, request: None };
    assert!(policy.decide(&asked).outcome.is_ok(), "{rule}");
    assert_eq!(Policy::remedy(&asked), Some(host.to_string()));
}
