// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules with commas between them, as a flag has them: whatever is taken can be asked, each is taken alone too, and a
//! plain name allows itself.

use keyward_policy::{Asked, Host, Loaded, Policy, RawPolicy, Scheme};

use super::policy::{ask, load};

/// One execution.
pub fn run(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    // The first line that asks, the second that answers, the third that denies.
    let mut lines = text.splitn(3, '\n');
    let asked = lines.next().and_then(|it| it.parse().ok());
    let allow = lines.next().unwrap_or_default();
    let block = lines.next().unwrap_or_default();
    let Some(loaded) = load(|it| {
        it.allow_domains(allow);
        it.block_domains(block);
    }) else {
        return;
    };
    let unasked: fn() -> Host = || Host::Address([192, 0, 2, 1].into());
    ask(&loaded.checked, &asked.unwrap_or_else(unasked));
    if loaded.policy.allow.len() < 8 {
        for entry in &loaded.policy.allow {
            alone(&entry.rule, &loaded);
        }
    }
}

fn alone(rule: &str, loaded: &Loaded) {
    let same = loaded.policy.allow.iter().filter(|it| it.rule == rule);
    let raw = RawPolicy {
        allow: same.cloned().collect(),
        ..RawPolicy::default()
    };
    let policy = Policy::new(&raw).unwrap();
    let Ok(host) = rule.parse::<Host>() else {
        return;
    };
    let asked = Asked {
        host: &host,
        port: 443,
        scheme: Scheme::Tls,
        request: None,
    };
    assert!(policy.decide(&asked).outcome.is_ok(), "{rule}");
    assert_eq!(Policy::remedy(&asked), Some(host.to_string()));
    // Block wins, whatever else is there.
    let blocked = RawPolicy {
        block: raw.allow.clone(),
        ..loaded.policy.clone()
    };
    let blocked = Policy::new(&blocked).unwrap();
    assert!(blocked.decide(&asked).outcome.is_err(), "{rule}");
}
