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
use keyward_policy::{DnsSettings, Loaded, RawPolicy, Sections};
use keyward_proxy::binding::unbound;
use keyward_proxy::credential::Credentials;
use keyward_proxy::credential::follow::Followed;
use keyward_proxy::provider::Providers;
use keyward_proxy::settings::{
    RawDns, RawLog, RawSettings, RawUpstream, RawUpstreamProxy, Settings,
};
use zeroize::Zeroizing;

use crate::cli::{ConfineArgs, EgressArgs, FileArgs, RunArgs};
use crate::confine::Confinement;
use crate::credentials;
use crate::endpoints::{self, Doors};
use crate::environment::{self, Environment, ExplicitProxy, Requested, Variables};
use crate::files::Files;
use crate::gateway::Asked;
use crate::one_shot::{self, OneShot};
use crate::policy;
use crate::sandbox::view::View;
use crate::sys;
use crate::user::Identity;

mod files;

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
    /// What it sees of the host's files.
    pub view: View,
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
    /// Where credentials are that may change while it runs.
    pub followed: Vec<Followed>,
    /// What the command really gets.
    pub one_shot: OneShot,
    /// Everything else that the proxy is told.
    pub proxy: RawSettings,
    /// What may be reached besides the providers; the proxy has it, too.
    pub policy: RawPolicy,
    /// What people should know of the policy although nothing is wrong with it.
    pub notes: Vec<String>,
    /// Where to read the policy anew; `None` if the doors are closed for good.
    pub policy_source: Option<policy::Source>,
    /// What its sandbox is to be like.
    pub confinement: Confinement,
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
    secrets: Secrets,
}

/// What was taken out, by the variable's name. Wiped when it is dropped, and shown to nobody.
#[derive(Default)]
struct Secrets(BTreeMap<String, Zeroizing<Vec<u8>>>);

impl fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

impl HostEnvironment {
    /// Takes the credentials out of the process's environment and wipes them there, where `/proc/<pid>/environ`
    /// shows them. Call it once, before any other thread is started.
    pub fn take() -> Self {
        let providers = Providers::builtin();
        let mut host = Self {
            variables: std::env::vars_os().collect(),
            secrets: Secrets::default(),
        };
        let names: Vec<&str> = providers.secret_variables().collect();
        host.withhold(&names);
        host
    }

    /// Takes further variables out, as long as there is one thread.
    fn withhold(&mut self, names: &[&str]) {
        for name in names {
            if let Some(value) = self.variables.remove(OsStr::new(name)) {
                let value = Zeroizing::new(value.into_vec());
                self.secrets.0.insert((*name).to_owned(), value);
            }
        }
        sys::environ::scrub(names);
    }

    /// A variable, whether it was taken out or not.
    fn lookup(&self, name: &str) -> Option<Zeroizing<Vec<u8>>> {
        let plain = || {
            let value = self.variables.get(OsStr::new(name))?;
            Some(Zeroizing::new(value.as_bytes().to_vec()))
        };
        self.secrets.0.get(name).cloned().or_else(plain)
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
pub fn resolve(
    args: RunArgs,
    mut host: HostEnvironment,
) -> std::result::Result<RunSettings, Faults> {
    let mut faults = Faults::default();
    let sudo = host.text("SUDO_UID").zip(host.text("SUDO_GID"));
    let identity = faults
        .take(Identity::resolve(args.user.as_deref(), sudo).map_err(|error| format!("{error:#}")));
    let directory = faults.take(
        std::env::current_dir()
            .map_err(|error| format!("cannot tell the working directory: {error}")),
    );
    let mut source = policy::Source::new(&args.egress, identity.as_ref(), &host.variables);
    let sections = source.gateway();
    let confinement = Confinement::resolve(&args.confine, &sections, &mut faults.0);
    let own = identity.as_ref().map(|it| it.home.as_path());
    let files = Files::resolve(&args.files, &sections, own, &mut faults.0);
    let mut asked = Asked::new(&sections);
    asked.targets(&args.providers, |name| host.text(name).map(str::to_owned));
    asked.limits(&args.limits);
    let mut gateway = asked.settings(&mut faults.0);
    let mut wrong = Vec::new();
    let mut references =
        credentials::references(&mut gateway, |name| host.lookup(name), &mut wrong);
    let wrong = wrong.iter().map(|it| asked.place_fault(it));
    faults.0.extend(wrong);
    let providers = checked_providers(&gateway, &asked, &mut faults);
    let once = args.one_shot.iter();
    let once: Vec<_> = once
        .filter_map(|it| faults.take(one_shot::Asked::parse(it, &|name| host.lookup(name))))
        .collect();
    // Before anything is run to read the policy: package managers are.
    let secret: Vec<&str> = providers
        .secret_variables()
        .chain(once.iter().flat_map(one_shot::Asked::variables))
        .chain(references.iter().flat_map(|it| it.reference.variables()))
        .collect();
    host.withhold(&secret);
    source.forget(&secret);
    let egress = faults.take(source.read());
    let doors = egress.as_ref().map_or(Doors::Closed, |it| source.doors(it));
    let proxy = proxy_settings(&args, gateway, egress.as_ref(), &mut faults);
    let mut requested = requested(&args, &host.variables, &mut faults);
    let holes = files::holes(&files, &host.variables, &mut faults.0);
    requested.holes = holes.variables;
    let endpoints = endpoints::for_run(args.proxy_ip, doors, &providers);
    if args.proxy_ip.is_loopback() || args.proxy_ip.is_unspecified() || args.proxy_ip.is_multicast()
    {
        faults.add(format!(
            "--proxy-ip {}: a loopback, unspecified or multicast address will not do",
            args.proxy_ip
        ));
    }
    let lookup = |name: &str| host.lookup(name);
    let credentials = identity.as_ref().map_or_else(Credentials::new, |identity| {
        let read = credentials::read(&mut references, &providers, identity, lookup);
        read.unwrap_or_else(|found| {
            let found = found.iter().map(|fault| asked.place_fault(fault));
            found.for_each(|fault| faults.add(fault));
            Credentials::new()
        })
    });
    if let Some(identity) = &identity {
        match OneShot::read(&once, identity, &lookup) {
            Ok(read) => requested.one_shot = read,
            Err(found) => faults.0.extend(found),
        }
    }
    for fault in unbound(&providers, &credentials) {
        let provider = providers.get(&fault.provider);
        let holder = provider.and_then(|it| credentials::holder(it, &references, lookup));
        faults.add(asked.contradiction(&fault, holder));
    }
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
    let view = identity.as_ref().zip(directory.as_ref()).and_then(|whose| {
        let home = environment.as_ref().and_then(Environment::home);
        files::view(files, whose, home, holes.sockets)
            .map_err(|found| faults.0.extend(found))
            .ok()
    });
    match (identity, directory, environment, egress, view) {
        (Some(identity), Some(directory), Some(environment), Some(egress), Some(view))
            if faults.0.is_empty() =>
        {
            Ok(RunSettings {
                command: args.command,
                identity,
                directory,
                environment,
                view,
                tty: args.tty,
                timeout: args.timeout,
                endpoints,
                providers,
                credentials,
                followed: references,
                one_shot: requested.one_shot,
                proxy,
                policy: egress.policy,
                notes: egress.notes,
                policy_source: source.for_reload(doors),
                confinement,
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
        holes: Vec::new(),
        explicit_proxy: if args.egress.proxy_env {
            ExplicitProxy::Told
        } else {
            ExplicitProxy::Untold
        },
        one_shot: OneShot::default(),
    }
}

fn dns(settings: &DnsSettings) -> RawDns {
    RawDns {
        answers: settings.answers,
        servers: settings.servers.iter().map(ToString::to_string).collect(),
    }
}

/// Checks what policy files say of the gateway and of the sandbox, as a run would.
///
/// # Errors
///
/// Every fault, with its place.
pub fn check_gateway(sections: &Sections) -> std::result::Result<(), Faults> {
    let mut faults = Faults::default();
    Confinement::resolve(&ConfineArgs::default(), sections, &mut faults.0);
    Files::resolve(&FileArgs::default(), sections, None, &mut faults.0);
    let asked = Asked::new(sections);
    let mut gateway = asked.settings(&mut faults.0);
    let mut wrong = Vec::new();
    // Where a job's identity is asked for is known in a run alone.
    credentials::references(&mut gateway, |_| None, &mut wrong);
    faults
        .0
        .extend(wrong.iter().map(|it| asked.place_fault(it)));
    checked_providers(&gateway, &asked, &mut faults);
    if faults.0.is_empty() {
        Ok(())
    } else {
        Err(faults)
    }
}

/// Whom the gateway serves, and every fault of its settings. The proxy will check them again; found out here, nothing
/// has been set up yet.
fn checked_providers(gateway: &RawSettings, asked: &Asked<'_>, faults: &mut Faults) -> Providers {
    match Settings::try_from(gateway.clone()) {
        Ok(checked) => checked.providers,
        Err(found) => {
            let found = found.0.iter().map(|it| asked.place_fault(it));
            faults.0.extend(found);
            Providers::builtin()
        }
    }
}

/// What the proxy is told: the gateway's settings, and what else it needs.
fn proxy_settings(
    args: &RunArgs,
    gateway: RawSettings,
    egress: Option<&Loaded>,
    faults: &mut Faults,
) -> RawSettings {
    let mut ca_pem = Vec::new();
    for path in &args.upstream_ca {
        let text = fs::read_to_string(path)
            .map_err(|error| format!("--upstream-ca {}: {error}", path.display()));
        ca_pem.extend(faults.take(text));
    }
    let beside = RawSettings {
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
    // The gateway's part has been checked, and its faults were told with their places.
    if let Err(found) = Settings::try_from(beside.clone()) {
        faults.0.extend(found.0);
    }
    RawSettings {
        upstream: beside.upstream,
        policy: beside.policy,
        dns: beside.dns,
        upstream_proxy: beside.upstream_proxy,
        log: beside.log,
        ..gateway
    }
}
