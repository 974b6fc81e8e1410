// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one question that every door asks.

use std::sync::Arc;

use firewall_common::Reason;
use keyward_policy::{Asked, Host, Mode, Policy, Rule, Scheme};

use super::Egress;
use crate::peers::Peer;

/// Where a connection came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Dns,
    Transparent,
    Explicit,
}

impl Door {
    /// As the log has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Transparent => "transparent",
            Self::Explicit => "explicit",
        }
    }
}

/// Whom a connection is for, as far as its door found out.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) door: Door,
    pub(crate) host: Host,
    pub(crate) port: u16,
    pub(crate) scheme: Scheme,
    /// Plain HTTP: method, and path with its query.
    pub(crate) request: Option<(String, String)>,
    /// Who asks.
    pub(crate) peer: Option<Peer>,
}

impl Question {
    /// As the policy is asked.
    pub(crate) fn asked(&self) -> Asked<'_> {
        Asked {
            host: &self.host,
            port: self.port,
            scheme: self.scheme,
            request: self
                .request
                .as_ref()
                .map(|(method, path)| (method.as_str(), path.as_str())),
        }
    }
}

/// The right to dial: there is no other way to one than [`Egress::judge`].
#[derive(Clone, Debug)]
pub(crate) struct Permit {
    pub(super) question: Question,
    pub(super) policy: Arc<Policy>,
    pub(super) rule: Option<Rule>,
    /// Why it would have been denied, were denials carried out.
    pub(super) audited: Option<Reason>,
}

/// A denial, with what is written down about it.
#[derive(Clone, Debug)]
pub(crate) struct Denial {
    pub(crate) question: Question,
    pub(crate) reason: Reason,
    pub(crate) rule: Option<Rule>,
    /// The rule that would allow it, if there is one.
    pub(crate) remedy: Option<String>,
}

impl Permit {
    pub(crate) fn question(&self) -> &Question {
        &self.question
    }

    /// A secret in the path is not written down. A policy that allows only some paths ends what it judges again.
    pub(crate) fn forget_path(&mut self) {
        if let Some((_, path)) = &mut self.question.request {
            "/**".clone_into(path);
        }
    }

    /// By which rule.
    pub(crate) fn rule(&self) -> Option<&Rule> {
        self.rule.as_ref()
    }

    /// Whether this policy gave it.
    pub(super) fn is_of(&self, policy: &Arc<Policy>) -> bool {
        Arc::ptr_eq(&self.policy, policy)
    }

    /// Whether what was dialled for `other` may carry this, too: the same host by the same rule of the same policy.
    pub(crate) fn leads_as(&self, other: &Self) -> bool {
        let at = |it: &Self| (it.question.host.clone(), it.question.port);
        let rule = |it: &Self| {
            it.rule
                .as_ref()
                .map(|it| (it.text().to_owned(), it.origin().clone()))
        };
        self.is_of(&other.policy) && at(self) == at(other) && rule(self) == rule(other)
    }
}

/// Whether what is denied to a host is let through all the same, to be written down. Names are, in audit mode: neither
/// addresses nor the ports of this host.
pub(crate) fn lets_through(policy: &Policy, host: &Host) -> bool {
    let name = matches!(host, Host::Name(_)) && !policy.is_host_service(host);
    policy.mode() == Mode::Audit && name
}

impl Egress {
    /// Judges, and writes a denial down.
    pub(crate) fn judge(&self, question: Question) -> Result<Permit, Box<Denial>> {
        let policy = self.policy();
        let decision = policy.decide(&question.asked());
        let rule = decision.rule.cloned();
        let audited = match decision.outcome {
            Ok(()) => None,
            Err(reason) if lets_through(&policy, &question.host) => Some(reason),
            Err(reason) => return Err(self.deny(question, reason, rule)),
        };
        Ok(Permit {
            question,
            policy,
            rule,
            audited,
        })
    }

    /// Denies for a reason that is not the policy's, or that came up later, and writes it down.
    pub(crate) fn deny(
        &self,
        question: Question,
        reason: Reason,
        rule: Option<Rule>,
    ) -> Box<Denial> {
        let helps = matches!(
            reason,
            Reason::HostNotAllowed
                | Reason::PortNotAllowed
                | Reason::SchemeNotAllowed
                | Reason::RequestNotAllowed
                | Reason::AddressNotAllowed
                | Reason::PrivateAddress
        );
        let remedy = if helps {
            Policy::remedy(&question.asked())
        } else {
            // No rule would help.
            None
        };
        self.deny_with(question, reason, rule, remedy)
    }

    /// The same, with the rule that would allow it.
    pub(crate) fn deny_with(
        &self,
        question: Question,
        reason: Reason,
        rule: Option<Rule>,
        remedy: Option<String>,
    ) -> Box<Denial> {
        let denial = Box::new(Denial {
            question,
            reason,
            rule,
            remedy,
        });
        self.write_denial(&denial);
        denial
    }
}
