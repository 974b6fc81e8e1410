// SPDX-License-Identifier: GPL-3.0-or-later
//! The workload's environment: what passes from the host's, what never does, and what keyward puts in.
//!
//! In order, later wins: the host's variables (a few by default, all with `--env-all`), `--env-file`, `--env`; then
//! keyward's own. What is withheld is taken out of all of them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use firewall_common::Endpoints;
use keyward_proxy::credential::Credentials;
use keyward_proxy::provider::{Provider, Providers};

use crate::one_shot::OneShot;
use crate::user::Identity;

mod clients;
mod file;
mod lists;

pub(crate) use file::check_name;
pub use file::{EnvFileError, parse as parse_file};

/// Names and values, in the order of the names.
pub type Variables = BTreeMap<OsString, OsString>;

/// What the user asked to pass.
#[derive(Debug, Default)]
pub struct Requested {
    /// `--env-all`.
    pub all: bool,
    /// `--exclude-env`: left out of all but what `--env` and `--env-file` name, keyward's own included.
    pub exclude: Vec<OsString>,
    /// From `--env-file` and then `--env`, in that order.
    pub explicit: Vec<(OsString, OsString)>,
    /// How programs find the sockets that flags of their own open (`--ssh-agent`).
    pub holes: Vec<(OsString, OsString)>,
    /// Whether clients are told of the explicit proxy.
    pub explicit_proxy: ExplicitProxy,
    /// `--one-shot`.
    pub one_shot: OneShot,
}

/// Whether `HTTP_PROXY` and its kin are set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExplicitProxy {
    /// They are not: the kernel redirects what needs redirecting.
    #[default]
    Untold,
    /// They are.
    Told,
}

/// An environment that passed the preflight check: the only kind that a workload can be started with.
#[derive(Debug)]
pub struct Environment {
    variables: Variables,
    notes: Vec<String>,
}

/// Why the command does not start. Names variables and arguments, never their values.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PreflightError {
    /// A variable that is to hold a placeholder holds something else.
    #[error(
        "{name} would hold something other than the placeholder of {provider}\n  \
         hint: leave {name} out; keyward sets it, and puts the real key in on the way to {provider}"
    )]
    ForeignCredential {
        /// The variable.
        name: String,
        /// Whose credential it is for.
        provider: String,
    },
    /// A real credential under some other name.
    #[error(
        "{name} holds the real key of {provider}, which must not reach the command\n  \
         hint: unset {name}, or leave it out: --exclude-env {name}"
    )]
    CredentialInVariable {
        /// The variable.
        name: String,
        /// Whose key it is.
        provider: String,
    },
    /// A real credential on the command line.
    #[error(
        "argument {position} of the command holds the real key of {provider}, which must not reach it\n  \
         hint: leave the key out; the placeholder in the command's environment does"
    )]
    CredentialInArgument {
        /// Counted from 0, the command's name.
        position: usize,
        /// Whose key it is.
        provider: String,
    },
}

impl Environment {
    /// Puts the environment together and checks it. All faults are returned, not the first.
    pub fn prepare(
        host: &Variables,
        requested: &Requested,
        identity: &Identity,
        endpoints: &Endpoints,
        providers: &Providers,
        credentials: &Credentials,
        command: &[OsString],
    ) -> Result<Self, Vec<PreflightError>> {
        let mut notes = Vec::new();
        let mut variables = passed_from(host, requested, providers);
        variables.extend(of_identity(identity));
        let own = of_gateway(endpoints, providers, credentials, requested.explicit_proxy);
        let excluded = |name: &OsString| requested.exclude.contains(name);
        variables.extend(
            own.iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
        let by_name = endpoints.transparent != 0;
        for (name, value) in clients::switches(providers, credentials, by_name) {
            let name = OsString::from(name);
            variables.entry(name).or_insert_with(|| value.into());
        }
        variables.retain(|name, _| !excluded(name));
        for (name, value) in &requested.explicit {
            if is_withheld(name, providers) && !own.contains_key(name) {
                notes.push(format!(
                    "{} is never passed to the command; left out",
                    name.display()
                ));
            } else {
                variables.insert(name.clone(), value.clone());
            }
        }
        requested.one_shot.add_to(&mut variables);
        notes.extend(requested.one_shot.note());
        variables.extend(requested.holes.iter().cloned());
        let faults = preflight(&variables, providers, credentials, command);
        if faults.is_empty() {
            Ok(Self { variables, notes })
        } else {
            Err(faults)
        }
    }

    /// The variables.
    pub fn variables(&self) -> &Variables {
        &self.variables
    }

    /// `HOME`, as the command has it.
    pub fn home(&self) -> Option<&Path> {
        self.variables.get(OsStr::new("HOME")).map(Path::new)
    }

    /// What was left out although it was asked for, in plain words.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

fn passed_from(host: &Variables, requested: &Requested, providers: &Providers) -> Variables {
    let passes = |name: &OsStr| {
        (requested.all || lists::passes_by_default(name)) && !is_withheld(name, providers)
    };
    host.iter()
        .filter(|(name, _)| passes(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn is_withheld(name: &OsStr, providers: &Providers) -> bool {
    let of_a_provider = || providers.secret_variables().any(|secret| name == secret);
    lists::is_withheld(name) || of_a_provider()
}

fn of_identity(identity: &Identity) -> Variables {
    let mut variables = Variables::new();
    variables.insert("HOME".into(), identity.home.clone().into());
    if let Some(name) = &identity.name {
        variables.insert("USER".into(), name.clone());
        variables.insert("LOGNAME".into(), name.clone());
    }
    if let Some(shell) = &identity.shell {
        variables.insert("SHELL".into(), shell.clone().into());
    }
    variables
}

/// Placeholders, base URLs, and what keeps clients from going round the gateway.
fn of_gateway(
    endpoints: &Endpoints,
    providers: &Providers,
    credentials: &Credentials,
    explicit_proxy: ExplicitProxy,
) -> Variables {
    let address = Ipv4Addr::from(endpoints.v4);
    let mut variables = Variables::new();
    for provider in configured(providers, credentials) {
        for (name, value) in provider.workload_environment(IpAddr::V4(address)) {
            variables.insert(name.into(), value.into());
        }
    }
    if endpoints.explicit != 0 && explicit_proxy == ExplicitProxy::Told {
        let url = format!("http://{address}:{}", endpoints.explicit);
        // Not `http_proxy`: those who read it alone (curl, wget, apt) do so since a server's `HTTP_PROXY` may be whatever
        // a request's `Proxy` header says (httpoxy). Their plain HTTP goes through the transparent door, as without this.
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "https_proxy"] {
            variables.insert(name.into(), url.clone().into());
        }
        // Node's own client asks for this besides.
        variables.insert("NODE_USE_ENV_PROXY".into(), "1".into());
    }
    // A client that finds a proxy variable sends even the gateway's requests to that proxy, unless told not to.
    let no_proxy = format!("localhost,127.0.0.1,::1,{address}");
    variables.insert("NO_PROXY".into(), no_proxy.clone().into());
    variables.insert("no_proxy".into(), no_proxy.into());
    variables
}

/// The providers that can be served.
fn configured<'a>(
    providers: &'a Providers,
    credentials: &'a Credentials,
) -> impl Iterator<Item = &'a Provider> {
    let there = |it: &&Provider| credentials.serve(it);
    providers.iter().map(AsRef::as_ref).filter(there)
}

fn preflight(
    variables: &Variables,
    providers: &Providers,
    credentials: &Credentials,
    command: &[OsString],
) -> Vec<PreflightError> {
    let mut faults = Vec::new();
    for (name, value) in variables {
        let holder = configured(providers, credentials)
            .find(|provider| provider.secret_variables().any(|secret| name == secret));
        let display = || name.to_string_lossy().into_owned();
        match (holder, credentials.found_in(value.as_bytes())) {
            (Some(provider), _) if *value != *provider.placeholder => {
                faults.push(PreflightError::ForeignCredential {
                    name: display(),
                    provider: provider.name.clone(),
                });
            }
            (_, Some(provider)) => {
                let (name, provider) = (display(), provider.to_owned());
                faults.push(PreflightError::CredentialInVariable { name, provider });
            }
            (_, None) => {}
        }
    }
    for (position, argument) in command.iter().enumerate() {
        if let Some(provider) = credentials.found_in(argument.as_bytes()) {
            let provider = provider.to_owned();
            faults.push(PreflightError::CredentialInArgument { position, provider });
        }
    }
    faults
}

#[cfg(test)]
mod tests;
