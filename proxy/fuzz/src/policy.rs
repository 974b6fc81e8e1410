// SPDX-License-Identifier: MIT OR Apache-2.0
//! A policy file in any format: whatever is read can be asked, and every fault has a place.

use std::{collections::BTreeMap, path::Path};

use keyward_policy::{Asked, Builder, Host, Input, Loaded, NoCommands, Policy, Scheme, Sources};

/// One execution.
pub fn run(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    // What a file names by a whole path would be read; the rest is below a directory that is not there.
    if text.contains('/') && (text.contains("include") || text.contains("files")) {
        return;
    }
    let name = "<stdin>".to_owned();
    let text = text.to_owned();
    let input = Input::Text { name, text };
    let Some(loaded) = load(|it| it.config(&input)) else {
        return;
    };
    for rule in loaded.checked.allowed().chain(loaded.checked.blocked()) {
        assert!(!rule.text().is_empty() && !rule.origin().source.is_empty());
    }
    // Every host that it names in full, and one that nobody names.
    let named = loaded.policy.allow.iter().take(4);
    let hosts = named.filter_map(|it| it.rule.parse().ok());
    for host in hosts.chain("nobody.test".parse()) {
        ask(&loaded.checked, &host);
    }
}

/// Puts a policy together where nothing can be read; what is wrong is said so that it can be shown.
pub(crate) fn load(step: impl FnOnce(&mut Builder<'_>)) -> Option<Loaded> {
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
            for fault in &faults.0 {
                assert!(!fault.origin.source.is_empty() && !fault.what.is_empty());
            }
            let shown = faults.to_string();
            let fine = |it: char| it == '\n' || it == '\t' || !it.is_control();
            assert!(shown.chars().all(fine));
            None
        }
    }
}

/// Asks for a host in several ways, whose answers have to agree.
pub(crate) fn ask(policy: &Policy, host: &Host) {
    for (scheme, port) in [
        (Scheme::Tls, 443),
        (Scheme::Http, 80),
        (Scheme::Http, 65535),
        (Scheme::Tcp, 22),
        (Scheme::Tcp, 0),
    ] {
        let request = (scheme == Scheme::Http).then_some(("GET", "/a/../b?c"));
        let asked = Asked {
            host,
            port,
            scheme,
            request,
        };
        let decision = policy.decide(&asked);
        // What is allowed for a request is allowed before it.
        let before = policy.decide(&Asked {
            request: None,
            ..asked
        });
        assert!(decision.outcome.is_err() || before.outcome.is_ok());
        let explained = policy.explain(&asked);
        assert_eq!(explained.verdicts[0].decision.outcome, decision.outcome);
        if let (Ok(()), Host::Name(name)) = (decision.outcome, host) {
            assert!(policy.resolves(name).outcome.is_ok());
        }
    }
}
