// SPDX-License-Identifier: GPL-3.0-or-later
//! What a run is to be, worked out from the command line and the environment, with every fault at once.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use firewall_common::Endpoints;
use keyward_policy::{DnsSettings, Loaded, RawPolicy};
use keyward_proxy::credential::Credentials;
use keyward_proxy::provider::Providers;
use keyward_proxy::settings::{
    RawDns, RawLog, RawProvider, RawSettings, RawUpstream, RawUpstreamProxy, Settings,
};
use zeroize::Zeroizing;

use crate::cli::{EgressArgs, RunArgs};
use crate::endpoints::{self, Doors};
use crate::environment::{self, Environment, ExplicitProxy, Requested, Variables};
use crate::policy;
use crate::sys;
use crate::user::Identity;

/// A run, ready to be carried out.
#[derive(Debug)]
pub struct RunSettings {
    /// Program and arguments.
    pub command: Vec<OsString>,
    /// Who it runs as.
    pub identity: Identity,
    /// Where it starts.
    pub directory: PathBuf,
    /// Its environment, checked.
    pub environment: Environment,
    /// Whether it gets a terminal of its own.
    pub tty: bool,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// Where it finds the proxy.
    pub endpoints: Endpoints,
    /// Whom the gateway serves.
    pub providers: Providers,
    /// What the proxy injects.
    pub credentials: Credentials,
    /// Everything else that the proxy is told.
    pub proxy: RawSettings,
    /// What may be reached besides the providers; the proxy has it, too.
    pub policy: RawPolicy,
    /// What people should know of the policy although nothing is wrong with it.
    pub notes: Vec<String>,
    /// Where to read the policy anew; `None` if the doors are closed for good.
    pub policy_source: Option<policy::Source>,
    /// Where the logs go.
    pub log_dir: PathBuf,
    /// Where to add how long each step took, if anybody asked.
    pub timings: Option<PathBuf>,
}

/// Everything that is wrong, one entry a fault.
#[derive(Debug, Default)]
pub struct Faults(Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Faults {}

impl Faults {
    fn add(&mut self, fault: impl fmt::Display) {
        self.0.push(fault.to_string());
    }

    /// The value, or a note of why there is none.
    fn take<T>(&mut self, result: std::result::Result<T, impl fmt::Display>) -> Option<T> {
        result.map_err(|fault| self.add(fault)).ok()
    }
}

/// keyward's own environment, with the credentials taken out of it.
#[derive(Debug)]
pub struct HostEnvironment {
    variables: Variables,
    credentials: std::result::Result<Credentials, Vec<String>>,
}

impl HostEnvironment {
    /// Takes the credentials out of the process's environment and wipes them there, where `/proc/<pid>/environ`
    /// shows them. Call it once, before any other thread is started.
    pub fn take() -> Self {
        let providers = Providers::builtin();
        let credentials = Credentials::from_variables(&providers, |name| {
            std::env::var_os(name).map(|value| Zeroizing::new(value.into_vec()))
        });
        let credentials = credentials.map_err(|faults| {
            faults
                .iter()
                .map(|(name, fault)| format!("{name}: {fault}"))
                .collect()
        });
        let secret: Vec<&str> = providers.secret_variables().collect();
        let is_secret = |name: &OsStr| secret.iter().any(|it| name == *it);
        let variables = std::env::vars_os()
            .filter(|(name, _)| !is_secret(name))
            .collect();
        sys::environ::scrub(&secret);
        Self {
            variables,
            credentials,
        }
    }

    /// Where a policy comes from, for whoever called keyward.
    ///
    /// # Errors
    ///
    /// When that cannot be found out.
    pub fn policy_source(&self, flags: &EgressArgs) -> Result<policy::Source> {
        let sudo = self.text("SUDO_UID").zip(self.text("SUDO_GID"));
        let caller = sudo
            .map(|ids| Identity::resolve(None, Some(ids)))
            .transpose()?;
        Ok(policy::Source::new(flags, caller.as_ref(), &self.variables))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.variables
            .get(OsStr::new(name))
            .and_then(|value| value.to_str())
    }
}

/// Works a run out.
pub fn resolve(args: RunArgs, host: HostEnvironment) -> std::result::Result<RunSettings, Faults> {
    let mut faults = Faults::default();
    let sudo = host.text("SUDO_UID").zip(host.text("SUDO_GID"));
    let identity = faults
        .take(Identity::resolve(args.user.as_deref(), sudo).map_err(|error| format!("{error:#}")));
    let directory = faults.take(
        std::env::current_dir()
            .map_err(|error| format!("cannot tell the working directory: {error}")),
    );
    let source = policy::Source::new(&args.egress, identity.as_ref(), &host.variables);
    let egress = faults.take(source.read());
    let doors = egress.as_ref().map_or(Doors::Closed, |it| source.doors(it));
    let (proxy, providers) = proxy_settings(&args, egress.as_ref(), &mut faults);
    let requested = requested(&args, &host.variables, &mut faults);
    let endpoints = endpoints::for_run(args.proxy_ip, doors, &providers);
    if args.proxy_ip.is_loopback() || args.proxy_ip.is_unspecified() || args.proxy_ip.is_multicast()
    {
        faults.add(format!(
            "--proxy-ip {}: a loopback, unspecified or multicast address will not do",
            args.proxy_ip
        ));
    }
    let credentials = match host.credentials {
        Ok(credentials) => credentials,
        Err(found) => {
            found.iter().for_each(|fault| faults.add(fault));
            Credentials::new()
        }
    };
    let environment = identity.as_ref().and_then(|identity| {
        let prepared = Environment::prepare(
            &host.variables,
            &requested,
            identity,
            &endpoints,
            &providers,
            &credentials,
            &args.command,
        );
        prepared
            .map_err(|found| found.iter().for_each(|fault| faults.add(fault)))
            .ok()
    });
    match (identity, directory, environment, egress) {
        (Some(identity), Some(directory), Some(environment), Some(egress))
            if faults.0.is_empty() =>
        {
            Ok(RunSettings {
                command: args.command,
                identity,
                directory,
                environment,
                tty: args.tty,
                timeout: args.timeout,
                endpoints,
                providers,
                credentials,
                proxy,
                policy: egress.policy,
                notes: egress.notes,
                policy_source: source.for_reload(doors),
                log_dir: args.log_dir,
                timings: host
                    .variables
                    .get(OsStr::new("KEYWARD_TIMINGS"))
                    .map(PathBuf::from),
            })
        }
        _ => Err(faults),
    }
}

fn requested(args: &RunArgs, host: &Variables, faults: &mut Faults) -> Requested {
    let mut explicit = Vec::new();
    for path in &args.env_file {
        let named = |fault: &dyn fmt::Display| format!("--env-file {}: {fault}", path.display());
        let text = fs::read(path).map_err(|error| named(&error));
        let entries = text
            .and_then(|text| environment::parse_file(&text, host).map_err(|error| named(&error)));
        explicit.extend(faults.take(entries).unwrap_or_default());
    }
    for argument in &args.env {
        // An argument of the command line is one line of such a file.
        let entries = environment::parse_file(argument.as_bytes(), host)
            .map_err(|error| format!("--env: {}", error.reason));
        explicit.extend(faults.take(entries).unwrap_or_default());
    }
    Requested {
        all: args.env_all,
        exclude: args.exclude_env.clone(),
        explicit,
        explicit_proxy: if args.egress.proxy_env {
            ExplicitProxy::Told
        } else {
            ExplicitProxy::Untold
        },
    }
}

fn dns(settings: &DnsSettings) -> RawDns {
    RawDns {
        answers: settings.answers,
        servers: settings.servers.iter().map(ToString::to_string).collect(),
    }
}

fn proxy_settings(
    args: &RunArgs,
    egress: Option<&Loaded>,
    faults: &mut Faults,
) -> (RawSettings, Providers) {
    let mut ca_pem = Vec::new();
    for path in &args.upstream_ca {
        let text = fs::read_to_string(path)
            .map_err(|error| format!("--upstream-ca {}: {error}", path.display()));
        ca_pem.extend(faults.take(text));
    }
    let provider = |target: &Option<String>, base_path: &Option<String>| RawProvider {
        target: target.clone(),
        base_path: base_path.clone(),
        ..RawProvider::default()
    };
    let settings = RawSettings {
        providers: BTreeMap::from([
            (
                "openai".to_owned(),
                provider(&args.openai_api_target, &args.openai_api_base_path),
            ),
            (
                "anthropic".to_owned(),
                provider(&args.anthropic_api_target, &args.anthropic_api_base_path),
            ),
        ]),
        upstream: RawUpstream {
            ca_pem,
            resolve: args.resolve.clone(),
            ..RawUpstream::default()
        },
        policy: egress.map(|it| it.policy.clone()).unwrap_or_default(),
        dns: egress.map(|it| dns(&it.dns)).unwrap_or_default(),
        upstream_proxy: egress.and_then(|it| it.upstream_proxy.as_ref()).map(|it| {
            RawUpstreamProxy {
                url: it.url.clone(),
                no_proxy: it.no_proxy.clone(),
            }
        }),
        log: RawLog {
            level: Some(args.log_level.clone()),
            ..RawLog::default()
        },
        ..RawSettings::default()
    };
    // The proxy will check them again; found out here, nothing has been set up yet.
    let providers = match Settings::try_from(settings.clone()) {
        Ok(checked) => checked.providers,
        Err(found) => {
            found.0.iter().for_each(|fault| faults.add(fault));
            Providers::builtin()
        }
    };
    (settings, providers)
}
