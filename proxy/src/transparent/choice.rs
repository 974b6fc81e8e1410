// SPDX-License-Identifier: MIT OR Apache-2.0
//! What could be allowed, and which of several hosts a connection is for. Pure.

use firewall_common::Reason;
use keyward_policy::{Asked, Host, Name, Policy, Scheme};

use super::first::Spoken;
use crate::{client_hello::Fault, egress::lets_through};

/// The hosts that a connection may be for, at a port, under a policy.
pub(super) struct Choice<'a> {
    policy: &'a Policy,
    hosts: &'a [Host],
    port: u16,
}

/// What to do with a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    /// Judge it as this, and carry it.
    Carry(&'a Host, Scheme),
    /// Judge it request by request.
    Http,
    /// It cannot be allowed, whatever the policy says.
    Deny(&'a Host, Scheme, Reason),
}

impl<'a> Choice<'a> {
    pub(super) const fn new(policy: &'a Policy, hosts: &'a [Host], port: u16) -> Self {
        Self {
            policy,
            hosts,
            port,
        }
    }

    fn allows(&self, host: &Host, scheme: Scheme) -> bool {
        let asked = Asked {
            host,
            port: self.port,
            scheme,
            request: None,
        };
        self.policy.decide(&asked).outcome.is_ok() || lets_through(self.policy, host)
    }

    /// The first host that is allowed this.
    pub(super) fn allowed(&self, scheme: Scheme) -> Option<&'a Host> {
        self.hosts.iter().find(|host| self.allows(host, scheme))
    }

    /// The first that is allowed this, or else the first, for the denial.
    pub(super) fn first(&self, scheme: Scheme) -> Option<&'a Host> {
        self.allowed(scheme).or_else(|| self.hosts.first())
    }

    /// Whether it may be TLS or plain HTTP.
    pub(super) fn allows_web(&self) -> bool {
        self.allowed(Scheme::Tls).is_some() || self.allowed(Scheme::Http).is_some()
    }

    /// What a connection that says nothing would most likely speak, for the denial.
    pub(super) const fn likely(&self) -> Scheme {
        match self.port {
            80 | 8080 => Scheme::Http,
            443 | 8443 => Scheme::Tls,
            _ => Scheme::Tcp,
        }
    }

    /// What to do with a connection that speaks this. `None`: it was for nobody.
    pub(super) fn verdict(&self, spoken: &Spoken) -> Option<Verdict<'a>> {
        // What was recognised is judged as what it is, also where anything may be spoken: a rule that allows anything
        // allows it too, and one that blocks it is not to be passed by.
        match spoken {
            Spoken::Tls(hello) => self.tls(hello.server_name.as_ref()),
            Spoken::BadTls(Fault::Encrypted) => {
                self.denied(Scheme::Tls, Reason::EncryptedClientHello)
            }
            Spoken::BadTls(_) => self.denied(Scheme::Tls, Reason::BadClientHello),
            // Denied there with an answer that says why, if it is.
            Spoken::Http => Some(Verdict::Http),
            Spoken::Http2 => self.denied(Scheme::Http, Reason::Http2Plaintext),
            Spoken::Other => Some(Verdict::Carry(self.first(Scheme::Tcp)?, Scheme::Tcp)),
            Spoken::Nothing => Some(Verdict::Carry(self.allowed(Scheme::Tcp)?, Scheme::Tcp)),
        }
    }

    /// A denial that no rule decides.
    pub(super) fn denied(&self, scheme: Scheme, reason: Reason) -> Option<Verdict<'a>> {
        Some(Verdict::Deny(self.first(scheme)?, scheme, reason))
    }

    /// Whom a ClientHello is for. What it says must be one of the names; what it says to an address is not asked, only
    /// where that is.
    fn tls(&self, server_name: Option<&Name>) -> Option<Verdict<'a>> {
        let only_address = matches!(self.hosts, [Host::Address(_)]);
        let host = match server_name {
            Some(_) if only_address => self.hosts.first(),
            Some(server_name) => {
                let named = |host: &&Host| matches!(host, Host::Name(name) if name == server_name);
                let listed = |host: &&Host| {
                    matches!(host, Host::Address(_)) && self.allows(host, Scheme::Tls)
                };
                let mut hosts = self.hosts.iter();
                hosts.find(named).or_else(|| self.hosts.iter().find(listed))
            }
            None => self.first(Scheme::Tls),
        };
        let Some(host) = host else {
            return self.denied(Scheme::Tls, Reason::NameMismatch);
        };
        Some(Verdict::Carry(host, Scheme::Tls))
    }
}
