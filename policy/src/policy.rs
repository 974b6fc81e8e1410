// SPDX-License-Identifier: MIT OR Apache-2.0
//! The decision.

use std::net::IpAddr;

use firewall_common::Reason;

use crate::{Host, Mode, Name, Origin, RawPolicy};

/// What a connection was seen to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// TLS: a ClientHello was read.
    Tls,
    /// Plain HTTP.
    Http,
    /// Anything else over TCP.
    Tcp,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Whom it is for.
    pub host: &'a Host,
    /// At which port.
    pub port: u16,
    /// How.
    pub scheme: Scheme,
    /// Plain HTTP: method, and path with its query. `None` before the first request is read, when a rule for some
    /// methods or paths counts as allowing.
    pub request: Option<(&'a str, &'a str)>,
}

/// One rule of a policy.
#[derive(Clone, Debug)]
pub struct Rule {
    text: String,
    origin: Origin,
}

impl Rule {
    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where it stands.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }
}

/// The answer, the same in both modes.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'p> {
    /// `Ok`: allowed.
    pub outcome: Result<(), Reason>,
    /// The rule that decided; `None` if none did.
    pub rule: Option<&'p Rule>,
}

/// Every fault of a policy, each with its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(|(origin, why)| format!("{origin}: {why}")).collect::<Vec<_>>().join("\n"))]
pub struct PolicyError(pub Vec<(Origin, String)>);

/// A policy, checked and ready to be asked.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    mode: Mode,
}

impl Policy {
    /// Checks every rule.
    ///
    /// # Errors
    ///
    /// All faults at once.
    pub fn new(raw: &RawPolicy) -> Result<Self, PolicyError> {
        Ok(Self { mode: raw.mode })
    }

    /// Whether denials are carried out.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether a connection is allowed.
    #[must_use]
    pub fn decide(&self, _asked: &Asked<'_>) -> Decision<'_> {
        Decision {
            outcome: Err(Reason::InternalError),
            rule: None,
        }
    }

    /// Whether some connection to this name could be allowed, so that its name may be answered.
    #[must_use]
    pub fn resolves(&self, _name: &Name) -> Decision<'_> {
        Decision {
            outcome: Err(Reason::InternalError),
            rule: None,
        }
    }

    /// Whether an address that a name resolved to may be dialled. `rule` is the one that allowed the name.
    ///
    /// # Errors
    ///
    /// [`Reason::PrivateAddress`] for private, loopback, link-local and other special addresses, unless the rule is
    /// trusted with them or an allow rule lists the network, and for every address that a block rule lists.
    pub fn may_dial(
        &self,
        _rule: Option<&Rule>,
        _address: IpAddr,
        _port: u16,
    ) -> Result<(), Reason> {
        Err(Reason::InternalError)
    }

    /// Whether this is a name of the host itself (`host.docker.internal`, `host.keyward.internal`).
    #[must_use]
    pub fn is_host_service(&self, _host: &Host) -> bool {
        false
    }

    /// The rule that would allow this, to be added to a policy or given to `--allow-domains`; `None` if none would.
    #[must_use]
    pub fn remedy(_asked: &Asked<'_>) -> Option<String> {
        None
    }
}
