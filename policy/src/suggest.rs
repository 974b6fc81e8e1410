// SPDX-License-Identifier: MIT OR Apache-2.0
//! The smallest policy that would have allowed what was asked for.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::{Entry, Host, Name, Scheme, host, remedy, rule};

/// What to allow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Suggestion {
    /// Rules, by host.
    pub rules: Vec<String>,
    /// Ports of the host itself, for `host-ports` and `--allow-host-service-ports`: first and last.
    pub host_ports: Vec<(u16, u16)>,
    /// Hosts that no rule can allow.
    pub left_out: Vec<Host>,
}

/// What was asked for at one host, or what is allowed there.
#[derive(Clone, Default)]
struct Ports {
    /// Plain HTTP at 80.
    http: bool,
    /// TLS at 443.
    tls: bool,
    /// Anything else, by port.
    others: BTreeSet<u16>,
}

impl Ports {
    fn insert(&mut self, port: u16, scheme: Scheme) {
        match (port, scheme) {
            (80, Scheme::Http) => self.http = true,
            (443, Scheme::Tls) => self.tls = true,
            _ => {
                self.others.insert(port);
            }
        }
    }

    /// Whether the rule without a port is needed: where all of these hold already, it is not.
    fn needs_web(&self, all: &[&Self]) -> bool {
        let has = |port: u16| all.iter().any(|it| it.others.contains(&port));
        let http = all.iter().any(|it| it.http) || has(80);
        let tls = all.iter().any(|it| it.tls) || has(443);
        self.http && !http || self.tls && !tls
    }
}

/// The fewest rules that allow these hosts and no others but names below them: nothing is widened to a domain or a
/// pattern that was not asked for itself.
#[must_use]
pub fn suggest(asked: impl IntoIterator<Item = (Host, u16, Scheme)>) -> Suggestion {
    // Names above others come first.
    let depth = |name: &Name| name.as_str().split('.').count();
    let mut names: BTreeMap<(usize, Name), Ports> = BTreeMap::new();
    let mut addresses: BTreeMap<IpAddr, Ports> = BTreeMap::new();
    let mut host_ports = BTreeSet::new();
    for (host, port, scheme) in asked {
        let found = match host {
            Host::Name(name) if host::is_host_service(&name) => {
                host_ports.insert(port);
                continue;
            }
            Host::Name(name) => names.entry((depth(&name), name)).or_default(),
            Host::Address(address) => addresses.entry(address.to_canonical()).or_default(),
        };
        found.insert(port, scheme);
    }
    let mut suggestion = Suggestion {
        host_ports: ranges(&host_ports),
        ..Suggestion::default()
    };
    let mut allowed: BTreeMap<Name, Ports> = BTreeMap::new();
    for ((_, name), asked) in names {
        let above: Vec<&Ports> = above(&name, &allowed).collect();
        let mut own = Ports::default();
        let is_new = |port: &&u16| !above.iter().any(|it| it.others.contains(port));
        own.others = asked.others.iter().filter(is_new).copied().collect();
        let all: Vec<&Ports> = above.iter().copied().chain([&own]).collect();
        let web = asked.needs_web(&all);
        (own.http, own.tls) = (web, web);
        if suggestion.add(&Host::Name(name.clone()), &own) {
            allowed.insert(name, own);
        }
    }
    suggestion.rules.sort();
    for (address, mut asked) in addresses {
        let others = Ports {
            others: asked.others.clone(),
            ..Ports::default()
        };
        let web = asked.needs_web(&[&others]);
        (asked.http, asked.tls) = (web, web);
        suggestion.add(&Host::Address(address), &asked);
    }
    suggestion
}

impl Suggestion {
    /// Adds rules for a host. `false`, if no rule can be about it.
    fn add(&mut self, host: &Host, ports: &Ports) -> bool {
        let web = ports.http.then(|| host.to_string());
        let others = ranges(&ports.others)
            .into_iter()
            .map(|range| remedy::with_ports(host, range));
        for rule in web.into_iter().chain(others) {
            let entry = Entry {
                rule,
                ..Entry::default()
            };
            if rule::parse(&entry, rule::List::Allow).is_err() {
                self.left_out.push(host.clone());
                return false;
            }
            self.rules.push(entry.rule);
        }
        true
    }
}

/// What is allowed at the names above one. Rules for names of one label do not hold below them.
fn above<'a>(name: &Name, allowed: &'a BTreeMap<Name, Ports>) -> impl Iterator<Item = &'a Ports> {
    let parents =
        std::iter::successors(Some(name.as_str()), |it| it.split_once('.').map(|it| it.1));
    let parents = parents.skip(1).filter(|it| it.contains('.'));
    parents
        .filter_map(|it| it.parse::<Name>().ok())
        .filter_map(|it| allowed.get(&it))
}

/// Ports that follow each other, together.
fn ranges(ports: &BTreeSet<u16>) -> Vec<(u16, u16)> {
    let mut found: Vec<(u16, u16)> = Vec::new();
    for port in ports {
        match found.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*port) => *last = *port,
            _ => found.push((*port, *port)),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Asked, Policy, RawPolicy};

    fn run(asked: &[(&str, u16, Scheme)]) -> Suggestion {
        suggest(
            asked
                .iter()
                .map(|(host, port, scheme)| (host.parse().unwrap(), *port, *scheme)),
        )
    }

    #[test]
    fn it_is_as_small_as_it_can_be() {
        use Scheme::{Http, Tcp, Tls};
        let found = run(&[
            ("www.example.com", 443, Tls),
            ("example.com", 443, Tls),
            ("example.com", 80, Http),
            ("github.com", 22, Tcp),
            ("db.lan", 5432, Tcp),
            ("db.lan", 5433, Tls),
            ("db.lan", 5435, Tcp),
            ("notexample.com", 443, Tls),
            ("redis", 443, Tls),
            ("10.0.0.5", 5432, Tcp),
            ("2001:db8::1", 443, Tls),
            ("2001:db8::1", 8443, Tls),
            ("plain.test", 443, Http),
            ("host.docker.internal", 6379, Tcp),
            ("host.keyward.internal", 6380, Tcp),
            ("co.uk", 443, Tls),
        ]);
        assert_eq!(
            found.rules,
            [
                "db.lan:5432-5433",
                "db.lan:5435",
                "example.com",
                "github.com:22",
                "notexample.com",
                "plain.test:443",
                "redis",
                "10.0.0.5:5432",
                "2001:db8::1",
                "[2001:db8::1]:8443",
            ]
        );
        assert_eq!(found.host_ports, [(6379, 6380)]);
        assert_eq!(found.left_out, ["co.uk".parse().unwrap()]);
    }

    fn connection() -> impl Strategy<Value = (Host, u16, Scheme)> {
        let host = prop_oneof![
            "(a\\.|b\\.|c-)?(x|y)\\.(test|example)",
            "[xy]",
            "10\\.0\\.0\\.[12]",
            Just("2001:db8::1".to_owned()),
        ];
        let port = prop_oneof![Just(80), Just(443), 20u16..26];
        let scheme = prop_oneof![Just(Scheme::Tls), Just(Scheme::Http), Just(Scheme::Tcp)];
        (host.prop_map(|it| it.parse().unwrap()), port, scheme)
    }

    proptest! {
        #[test]
        fn it_allows_all_of_it_and_no_rule_is_needless(asked in proptest::collection::vec(connection(), 0..12)) {
            let found = suggest(asked.clone());
            let policy = |rules: &[String]| {
                let entry = |rule: &String| Entry { rule: rule.clone(), ..Entry::default() };
                let allow = rules.iter().map(entry).collect();
                Policy::new(&RawPolicy { allow, ..RawPolicy::default() }).unwrap()
            };
            let all = |policy: &Policy| asked.iter().all(|(host, port, scheme)| {
                let asked = Asked { host, port: *port, scheme: *scheme, request: None };
                policy.decide(&asked).outcome.is_ok()
            });
            prop_assert!(all(&policy(&found.rules)));
            for left_out in 0..found.rules.len() {
                let mut fewer = found.rules.clone();
                fewer.remove(left_out);
                prop_assert!(!all(&policy(&fewer)), "{:?}", found.rules[left_out]);
            }
        }
    }
}
