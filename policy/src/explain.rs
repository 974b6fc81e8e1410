// SPDX-License-Identifier: MIT OR Apache-2.0
//! A decision with what led to it, for people: the same code decides.

use std::fmt;

use crate::{
    Asked, Decision, Host, Policy, Rule, Scheme,
    policy::Miss,
    rule::{List, Spec},
};

/// What would happen, and why.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation<'p> {
    /// Whether the name is answered; `None` for an address.
    pub resolves: Option<Decision<'p>>,
    /// One for each port and protocol that was asked about.
    pub verdicts: Vec<Verdict<'p>>,
    /// Every rule that is about the host, at whatever port: block rules first, then those that say more of the name.
    pub considered: Vec<Considered<'p>>,
}

/// What would happen at one port.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Verdict<'p> {
    /// The port.
    pub port: u16,
    /// What is spoken there.
    pub scheme: Scheme,
    /// The decision.
    pub decision: Decision<'p>,
    /// The rule that would allow it, if it is denied and a rule would.
    pub remedy: Option<String>,
}

/// A rule that is about the host.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Considered<'p> {
    /// The rule.
    pub rule: &'p Rule,
    /// Whether it stands in a block list.
    pub blocks: bool,
    /// What it does for the first of the verdicts that it does something for.
    pub effect: Effect,
}

/// What a rule does for what is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It allows it, or blocks it.
    Applies,
    /// It is about other ports.
    OtherPort,
    /// It is about something else than is spoken.
    OtherScheme,
    /// It is about other methods or paths.
    OtherRequest,
}

impl fmt::Display for Effect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Applies => "applies",
            Self::OtherPort => "is about other ports",
            Self::OtherScheme => "is about another protocol",
            Self::OtherRequest => "is about other requests",
        })
    }
}

impl Policy {
    /// What would happen to a connection.
    #[must_use]
    pub fn explain(&self, asked: &Asked<'_>) -> Explanation<'_> {
        self.explain_all(asked.host, &[*asked])
    }

    /// What would happen to connections to a host: at a port whatever is spoken; without one, plain HTTP at 80 and TLS
    /// at 443.
    #[must_use]
    pub fn explain_host(&self, host: &Host, port: Option<u16>) -> Explanation<'_> {
        let one = |port, scheme| Asked {
            host,
            port,
            scheme,
            request: None,
        };
        match port {
            Some(port) => {
                let schemes = [Scheme::Tls, Scheme::Http, Scheme::Tcp];
                self.explain_all(host, &schemes.map(|scheme| one(port, scheme)))
            }
            None => self.explain_all(host, &[one(443, Scheme::Tls), one(80, Scheme::Http)]),
        }
    }

    fn explain_all(&self, host: &Host, all: &[Asked<'_>]) -> Explanation<'_> {
        let verdict = |asked: &Asked<'_>| {
            let decision = self.decide(asked);
            // No allow rule helps against a block rule.
            let helps = decision
                .outcome
                .is_err_and(|it| it != firewall_common::Reason::HostBlocked);
            Verdict {
                port: asked.port,
                scheme: asked.scheme,
                decision,
                remedy: if helps { Self::remedy(asked) } else { None },
            }
        };
        let about = |list| {
            let effect = move |spec: &Spec| {
                let misses = all.iter().map(|asked| Miss::of(asked, spec, list));
                // Applying is less than any miss by being none at all.
                let nearest = misses.reduce(|one, other| match (one, other) {
                    (None, _) | (_, None) => None,
                    (Some(one), Some(other)) => Some(one.max(other)),
                });
                match nearest.flatten() {
                    None => Effect::Applies,
                    Some(Miss::Port) => Effect::OtherPort,
                    Some(Miss::Scheme) => Effect::OtherScheme,
                    Some(Miss::Request) => Effect::OtherRequest,
                }
            };
            self.about(host, list).map(move |(rule, spec)| Considered {
                rule,
                blocks: list == List::Block,
                effect: effect(spec),
            })
        };
        Explanation {
            resolves: match host {
                Host::Name(name) => Some(self.resolves(name)),
                Host::Address(_) => None,
            },
            verdicts: all.iter().map(verdict).collect(),
            considered: about(List::Block).chain(about(List::Allow)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Entry, RawPolicy};

    #[test]
    fn every_rule_about_the_host_is_named() {
        let entries = |rules: &[&str]| -> Vec<Entry> {
            let entry = |rule: &&str| Entry {
                rule: (*rule).to_owned(),
                ..Entry::default()
            };
            rules.iter().map(entry).collect()
        };
        let policy = Policy::new(&RawPolicy {
            allow: entries(&[
                "example.com",
                "tcp://www.example.com:22",
                "other.test",
                "http://*.example.com:8080",
            ]),
            block: entries(&["www.example.com:25"]),
            ..RawPolicy::default()
        })
        .unwrap();
        let shown = |host: &str, port| {
            let host = host.parse().unwrap();
            let it = policy.explain_host(&host, port);
            let rules = it.considered.iter();
            let rules: Vec<_> = rules
                .map(|it| format!("{} {}", it.rule.text(), it.effect))
                .collect();
            let verdicts = it.verdicts.iter().map(|it| {
                let outcome = it
                    .decision
                    .outcome
                    .map_or_else(|it| it.name(), |()| "allowed");
                format!("{} {:?}: {outcome} {:?}", it.port, it.scheme, it.remedy)
            });
            format!(
                "{}\n{}",
                rules.join("\n"),
                verdicts.collect::<Vec<_>>().join("\n")
            )
        };
        insta::assert_snapshot!(shown("www.example.com", None), @r#"
        www.example.com:25 is about other ports
        tcp://www.example.com:22 is about other ports
        example.com applies
        http://*.example.com:8080 is about other ports
        443 Tls: allowed None
        80 Http: allowed None
        "#);
        insta::assert_snapshot!(shown("www.example.com", Some(25)), @r#"
        www.example.com:25 applies
        tcp://www.example.com:22 is about other ports
        example.com is about other ports
        http://*.example.com:8080 is about other ports
        25 Tls: host_blocked None
        25 Http: host_blocked None
        25 Tcp: host_blocked None
        "#);
        insta::assert_snapshot!(shown("www.example.com", Some(8080)), @r#"
        www.example.com:25 is about other ports
        tcp://www.example.com:22 is about other ports
        example.com is about other ports
        http://*.example.com:8080 applies
        8080 Tls: scheme_not_allowed Some("www.example.com:8080")
        8080 Http: allowed None
        8080 Tcp: scheme_not_allowed Some("www.example.com:8080")
        "#);
        insta::assert_snapshot!(shown("192.0.2.1", None), @r#"

        443 Tls: address_not_allowed Some("192.0.2.1")
        80 Http: address_not_allowed Some("192.0.2.1")
        "#);
    }
}
