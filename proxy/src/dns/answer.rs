// SPDX-License-Identifier: MIT OR Apache-2.0
//! What to answer: the policy's word, and the addresses that stand for a name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use firewall_common::Reason;
use hickory_proto::{
    op::ResponseCode,
    rr::{self, RecordType},
};
use keyward_policy::{Asked, Decision, Host, Mode, Name, Policy, Scheme};

use super::{TTL, message::Question};
use keyward_policy::Answers;

use crate::egress::{Behind, Names};

/// "Blocked": by whoever runs the server (RFC 8914, section 4.16).
const BLOCKED: u16 = 15;

/// "Other" (RFC 8914, section 4.1).
const OTHER: u16 = 0;

/// What goes into a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) code: ResponseCode,
    pub(super) records: Records,
    /// For those who asked with EDNS.
    pub(super) error: Option<ExtendedError>,
}

/// Records of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Records {
    None,
    /// And for how many seconds.
    Addresses(Vec<IpAddr>, u32),
    Pointer(rr::Name),
}

/// Why, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExtendedError {
    pub(super) code: u16,
    pub(super) text: String,
}

/// What was decided about a question.
pub(super) struct Judged<'p> {
    pub(super) outcome: Outcome,
    /// What is written down. `None`: nothing was decided about a host.
    pub(super) verdict: Option<Verdict<'p>>,
}

/// What to do.
pub(super) enum Outcome {
    Answer(Answer),
    /// Look this name up and answer with its addresses of the family that was asked for.
    LookUp(Name),
}

/// For the log.
pub(super) struct Verdict<'p> {
    /// The host that it is about, if the name is one.
    pub(super) name: Option<Name>,
    pub(super) decision: Decision<'p>,
    /// Whether it was denied.
    pub(super) denied: bool,
}

/// Kinds of questions.
enum Kind {
    Address,
    /// Asked for by ordinary programs beside addresses: answered with nothing, and no denial. For services the name has
    /// labels in front that begin with `_`, and the host is behind them.
    Beside {
        service: bool,
    },
    Pointer,
    /// Nobody who only wants to connect asks for it.
    Other,
}

impl Kind {
    fn of(kind: RecordType) -> Self {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the list is the library's, and whatever it adds is not asked for by ordinary programs"
        )]
        match kind {
            RecordType::A | RecordType::AAAA => Self::Address,
            RecordType::HTTPS | RecordType::SVCB | RecordType::SRV => {
                Self::Beside { service: true }
            }
            RecordType::CNAME
            | RecordType::NS
            | RecordType::SOA
            | RecordType::CAA
            | RecordType::DS
            | RecordType::DNSKEY => Self::Beside { service: false },
            RecordType::PTR => Self::Pointer,
            _ => Self::Other,
        }
    }
}

impl Answer {
    fn of(code: ResponseCode) -> Self {
        Self {
            code,
            records: Records::None,
            error: None,
        }
    }

    /// The name is there, what was asked for is not.
    pub(super) fn empty() -> Self {
        Self::of(ResponseCode::NoError)
    }

    /// Whether it is what was asked for.
    pub(super) fn is_good(&self) -> bool {
        matches!(self.records, Records::Addresses(..))
    }

    /// There is no such name.
    pub(super) fn no_such_name() -> Self {
        Self::of(ResponseCode::NXDomain)
    }

    /// It cannot be answered now.
    pub(super) fn failed() -> Self {
        Self::of(ResponseCode::ServFail)
    }

    /// Addresses, or nothing if there are none.
    pub(super) fn addresses(addresses: Vec<IpAddr>, ttl: u32) -> Self {
        Self {
            records: Records::Addresses(addresses, ttl),
            ..Self::empty()
        }
    }

    pub(super) fn denied(reason: Reason, name: Option<&Name>) -> Self {
        let remedy = name.filter(|_| reason == Reason::HostNotAllowed);
        let remedy = remedy.and_then(remedy_for);
        let text = match remedy {
            Some(rule) => format!("keyward: {} Add: {rule}", reason.sentence()),
            None => format!("keyward: {}", reason.sentence()),
        };
        let code = BLOCKED;
        Self {
            error: Some(ExtendedError { code, text }),
            ..Self::no_such_name()
        }
    }
}

/// The rule that would let a name be answered. What is going to be done with it is not known yet; most of it is TLS.
pub(super) fn remedy_for(name: &Name) -> Option<String> {
    Policy::remedy(&Asked {
        host: &Host::Name(name.clone()),
        port: 443,
        scheme: Scheme::Tls,
        request: None,
    })
}

/// Decides.
pub(super) fn judge<'p>(policy: &'p Policy, names: &Names, question: &Question) -> Judged<'p> {
    let kind = Kind::of(question.kind());
    let name = host(question.name(), &kind);
    if let Some(name) = &name
        && is_localhost(name)
    {
        return Judged {
            outcome: Outcome::Answer(loopback(question.kind())),
            verdict: None,
        };
    }
    if let Kind::Pointer = kind {
        return pointer(names, question);
    }
    let Some(name) = name else {
        return deny(Reason::HostNotAllowed, None);
    };
    let decision = policy.resolves(&name);
    match (decision.outcome, policy.mode()) {
        (Ok(()), _) | (Err(_), Mode::Audit) => {}
        (Err(reason), Mode::Enforce) => {
            return Judged {
                outcome: Outcome::Answer(Answer::denied(reason, Some(&name))),
                verdict: Some(Verdict {
                    name: Some(name),
                    decision,
                    denied: true,
                }),
            };
        }
    }
    let outcome = match kind {
        Kind::Address => address(policy, names, &name, question.kind()),
        Kind::Beside { .. } => {
            return Judged {
                outcome: Outcome::Answer(Answer::empty()),
                verdict: None,
            };
        }
        Kind::Pointer | Kind::Other => {
            return Judged {
                outcome: Outcome::Answer(Answer::empty()),
                ..deny(Reason::QueryNotAnswered, Some(name))
            };
        }
    };
    Judged {
        outcome,
        verdict: Some(Verdict {
            name: Some(name),
            decision,
            denied: false,
        }),
    }
}

fn deny<'p>(reason: Reason, name: Option<Name>) -> Judged<'p> {
    Judged {
        outcome: Outcome::Answer(Answer::denied(reason, None)),
        verdict: Some(Verdict {
            name,
            decision: Decision {
                outcome: Err(reason),
                rule: None,
            },
            denied: true,
        }),
    }
}

/// The address of an allowed name.
fn address(policy: &Policy, names: &Names, name: &Name, kind: RecordType) -> Outcome {
    // The host's own services have no address that the workload could use: the pool stands for them in any case.
    let real = names.answers() == Answers::Real;
    if real && !policy.is_host_service(&Host::Name(name.clone())) {
        return Outcome::LookUp(name.clone());
    }
    let Some((v4, v6)) = names.give(name) else {
        tracing::warn!(%name, "no address left to stand for this name");
        let mut answer = Answer::failed();
        answer.error = Some(ExtendedError {
            code: OTHER,
            text: "keyward: no address is left to stand for this name".to_owned(),
        });
        return Outcome::Answer(answer);
    };
    let address = if kind == RecordType::A {
        IpAddr::V4(v4)
    } else {
        IpAddr::V6(v6)
    };
    Outcome::Answer(Answer::addresses(vec![address], TTL))
}

/// Whom an address belongs to.
fn pointer<'p>(names: &Names, question: &Question) -> Judged<'p> {
    let net = question.name().parse_arpa_name().ok();
    let address = net
        .filter(|it| it.prefix_len() == it.max_prefix_len())
        .map(|it| it.addr().to_canonical());
    let Some(address) = address else {
        return deny(Reason::QueryNotAnswered, None);
    };
    let known = if address.is_loopback() {
        Some("localhost".to_owned())
    } else {
        match names.behind(address) {
            Behind::Name(name) => Some(name.to_string()),
            Behind::Names(names) => names.first().map(ToString::to_string),
            Behind::Nothing if !is_local(address) => {
                return deny(Reason::QueryNotAnswered, None);
            }
            Behind::Stale | Behind::Nothing => None,
        }
    };
    let target = known.and_then(|it| rr::Name::from_ascii(format!("{it}.")).ok());
    let answer = match target {
        Some(target) => Answer {
            records: Records::Pointer(target),
            ..Answer::empty()
        },
        None => Answer::no_such_name(),
    };
    Judged {
        outcome: Outcome::Answer(answer),
        verdict: None,
    }
}

/// Whether an address is of a network that names nobody outside: every resolver says so by itself (RFC 6303), and the
/// proxy's own address, which programs look up that see it, is one.
fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(it) => {
            it.is_private() || it.is_link_local() || it.is_unspecified() || it.is_broadcast()
        }
        IpAddr::V6(it) => it.is_unique_local() || it.is_unicast_link_local() || it.is_unspecified(),
    }
}

fn loopback(kind: RecordType) -> Answer {
    if kind == RecordType::A {
        Answer::addresses(vec![Ipv4Addr::LOCALHOST.into()], TTL)
    } else if kind == RecordType::AAAA {
        Answer::addresses(vec![Ipv6Addr::LOCALHOST.into()], TTL)
    } else {
        Answer::empty()
    }
}

/// RFC 6761, section 6.3.
fn is_localhost(name: &Name) -> bool {
    let name = name.as_str();
    name == "localhost" || name.ends_with(".localhost")
}

/// The host that a question is about. A name in a message can hold any byte, dots inside labels among them: only what
/// is written as a host name is one.
fn host(name: &rr::Name, kind: &Kind) -> Option<Name> {
    let service = matches!(kind, Kind::Beside { service: true });
    let mut text = String::with_capacity(name.len());
    for label in name.iter() {
        if service && text.is_empty() && label.first() == Some(&b'_') {
            continue;
        }
        let plain = |it: &u8| it.is_ascii_alphanumeric() || b"-_".contains(it);
        if !label.iter().all(plain) {
            return None;
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.extend(label.iter().map(|it| char::from(it.to_ascii_lowercase())));
    }
    text.parse().ok()
}
