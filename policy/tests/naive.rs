// SPDX-License-Identifier: MIT OR Apache-2.0
//! The matcher against one that is too simple to be wrong: every rule is looked at, labels are compared one by one, and
//! stars are tried at every length.

use keyward_policy::{Asked, Entry, Host, Policy, RawPolicy, Scheme};
use proptest::prelude::*;

/// A rule as it is made, not read.
#[derive(Clone, Debug)]
struct Made {
    labels: Vec<String>,
    scheme: Option<Scheme>,
    ports: Option<(u16, u16)>,
}

impl Made {
    fn text(&self) -> String {
        let scheme = match self.scheme {
            Some(Scheme::Http) => "http://",
            Some(Scheme::Tls) => "https://",
            Some(Scheme::Tcp) => "tcp://",
            None => "",
        };
        let ports = match self.ports {
            Some((first, last)) if first == last => format!(":{first}"),
            Some((first, last)) => format!(":{first}-{last}"),
            None => String::new(),
        };
        format!("{scheme}{}{ports}", self.labels.join("."))
    }

    fn is_about(&self, host: &[&str]) -> bool {
        let rule: Vec<&str> = self.labels.iter().map(String::as_str).collect();
        let pattern = rule.iter().any(|it| it.contains('*'));
        match rule.as_slice() {
            // Any labels, one at least, and then the rest.
            ["*", rest @ ..] => (1..=host.len()).any(|skip| same(rest, &host[skip..])),
            _ if pattern || rule.len() == 1 => same(&rule, host),
            _ => (0..=host.len()).any(|skip| same(&rule, &host[skip..])),
        }
    }

    /// In an allow list.
    fn allows(&self, port: u16, scheme: Scheme) -> bool {
        match (self.scheme, self.ports) {
            (None, None) => {
                (port, scheme) == (80, Scheme::Http) || (port, scheme) == (443, Scheme::Tls)
            }
            (Some(Scheme::Http), None) => (port, scheme) == (80, Scheme::Http),
            (Some(_), None) => (port, scheme) == (443, Scheme::Tls),
            (None | Some(Scheme::Tcp), Some((first, last))) => first <= port && port <= last,
            (Some(own), Some((first, last))) => own == scheme && first <= port && port <= last,
        }
    }

    /// Whether what it blocks could be what nobody looks at.
    fn unseen(&self, port: u16, scheme: Scheme) -> bool {
        let usual = match self.scheme {
            Some(Scheme::Http) => 80,
            _ => 443,
        };
        scheme == Scheme::Tcp && (self.ports.is_some() || port == usual)
    }

    /// In a block list.
    fn blocks(&self, port: u16, scheme: Scheme) -> bool {
        let scheme = self
            .scheme
            .is_none_or(|own| own == Scheme::Tcp || own == scheme || self.unseen(port, scheme));
        scheme
            && self
                .ports
                .is_none_or(|(first, last)| first <= port && port <= last)
    }
}

fn same(rule: &[&str], host: &[&str]) -> bool {
    rule.len() == host.len()
        && rule
            .iter()
            .zip(host)
            .all(|(one, other)| fits(one.as_bytes(), other.as_bytes()))
}

fn fits(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', rest @ ..] => (0..=text.len()).any(|skip| fits(rest, &text[skip..])),
        [first, rest @ ..] => text.first() == Some(first) && fits(rest, &text[1..]),
    }
}

fn label() -> impl Strategy<Value = String> {
    "[ab]{1,2}|a-?b"
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![Just(80), Just(443), 21u16..25]
}

fn rule() -> impl Strategy<Value = Made> {
    let front = prop_oneof![
        3 => label(),
        2 => Just("*".to_owned()),
        2 => "a\\*|\\*b|a\\*b|\\*a\\*",
    ];
    let end = prop_oneof![
        Just(vec!["ab", "test"]),
        Just(vec!["b", "test"]),
        Just(vec!["a", "b", "test"])
    ];
    let labels = prop_oneof![
        1 => label().prop_map(|it| vec![it]),
        9 => (proptest::collection::vec(front, 0..3), end).prop_map(|(mut labels, end)| {
            labels.extend(end.into_iter().map(str::to_owned));
            labels
        }),
    ];
    let scheme = prop_oneof![
        Just(None),
        Just(Some(Scheme::Http)),
        Just(Some(Scheme::Tls)),
        Just(Some(Scheme::Tcp))
    ];
    let ports = proptest::option::of(
        (port(), port()).prop_map(|(one, other)| (one.min(other), one.max(other))),
    );
    (labels, scheme, ports).prop_map(|(labels, scheme, ports)| Made {
        labels,
        scheme: scheme.filter(|it| *it != Scheme::Tcp || ports.is_some()),
        ports,
    })
}

fn host() -> impl Strategy<Value = Vec<String>> {
    prop_oneof![
        label().prop_map(|it| vec![it]),
        (proptest::collection::vec(label(), 0..4), "test|tests").prop_map(|(mut labels, end)| {
            labels.push(end);
            labels
        }),
    ]
}

fn entries(rules: &[Made]) -> Vec<Entry> {
    let entry = |it: &Made| Entry {
        rule: it.text(),
        ..Entry::default()
    };
    rules.iter().map(entry).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_matcher_is_the_naive_one(
        allow in proptest::collection::vec(rule(), 0..6),
        block in proptest::collection::vec(rule(), 0..3),
        host in host(),
        port in port(),
        scheme in prop_oneof![Just(Scheme::Http), Just(Scheme::Tls), Just(Scheme::Tcp)],
    ) {
        let raw = RawPolicy { allow: entries(&allow), block: entries(&block), ..RawPolicy::default() };
        let policy = Policy::new(&raw).unwrap();
        let labels: Vec<&str> = host.iter().map(String::as_str).collect();
        let name: Host = labels.join(".").to_ascii_uppercase().parse().unwrap();
        let asked = Asked { host: &name, port, scheme, request: None };

        let blocked = block.iter().any(|it| it.is_about(&labels) && it.blocks(port, scheme));
        let allowed = allow.iter().any(|it| it.is_about(&labels) && it.allows(port, scheme));
        let decision = policy.decide(&asked);
        prop_assert_eq!(decision.outcome.is_ok(), allowed && !blocked);

        let about = allow.iter().any(|it| it.is_about(&labels));
        let reason = decision.outcome.err().map(|it| it.name());
        prop_assert_eq!(reason == Some("host_blocked"), blocked);
        prop_assert_eq!(reason == Some("host_not_allowed"), !blocked && !about);

        // What allows it is a rule that allows it, and says so alone.
        if let (Ok(()), Some(rule)) = (decision.outcome, decision.rule) {
            let texts: Vec<_> = allow.iter().filter(|it| it.is_about(&labels) && it.allows(port, scheme)).map(Made::text).collect();
            prop_assert!(texts.iter().any(|it| it == rule.text()), "{}", rule.text());
        }

        // The remedy allows exactly what was asked for.
        let remedy = Policy::remedy(&asked).unwrap();
        let raw = RawPolicy { allow: vec![Entry { rule: remedy, ..Entry::default() }], ..RawPolicy::default() };
        prop_assert!(Policy::new(&raw).unwrap().decide(&asked).outcome.is_ok());
    }
}
