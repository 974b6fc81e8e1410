// SPDX-License-Identifier: GPL-3.0-or-later
//! `keyward run`: the privilege timeline.
//!
//! Top to bottom, each step says why it stands where it does. Anything that fails stops the run before the command
//! exists; whatever was made by then is torn down in the reverse order, as it is at the end of every run.

use std::mem;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use keyward_proxy::control::{Door, Role};
use keyward_proxy::settings::RawSettings;
use nix::unistd::Pid;

use crate::audit::Audit;
use crate::beside::Beside;
use crate::cgroup::{self, Cgroup, Hierarchies, Limits, Reached};
use crate::confine::Confinement;
use crate::drift::Drift;
use crate::features::{Feature, Lacking};
use crate::logs::{self, Logs};
use crate::network::Network;
use crate::posture::{Parts, Posture};
use crate::proxy_process::ProxyProcess;
use crate::reload::Reload;
use crate::rotation::Rotation;
use crate::runs::{self, Introduction, Run};
use crate::sandbox::landlock::Restrictions;
use crate::sandbox::{files, seccomp};
use crate::settings::RunSettings;
use crate::sightings::Sightings;
use crate::stdio;
use crate::supervise::{Outcome, Signals, Watch, exit_status, watch};
use crate::timings::Timings;
use crate::workload::{self, CoreLimit, Enforced, Plan};
use crate::{ebpf, network};

/// What a run came to.
#[derive(Debug)]
pub struct Finished {
    /// How the command ended.
    pub outcome: Outcome,
    /// What was denied.
    pub audit: Audit,
    /// Denials that came faster than they could be written down. They are in no log.
    pub lost: u64,
    /// Packets that only nftables stopped.
    pub packets_stopped: u64,
    /// What of it was limited.
    pub limits: Limits,
    /// What the limits did.
    pub reached: Reached,
    /// What the command made that programs outside take orders from.
    pub planted: Vec<PathBuf>,
    /// Where the logs are.
    pub log_directory: PathBuf,
    /// What could not be torn down.
    pub leftovers: Vec<anyhow::Error>,
}

/// Carries a run out. `proxy` comes up already; `timings` runs. The command gets `core_limit` and `oom_score` back, which
/// this process gave up for itself.
pub fn run(
    mut settings: RunSettings,
    proxy: ProxyProcess,
    core_limit: CoreLimit,
    oom_score: i32,
    mut timings: Timings,
) -> Result<Finished> {
    // Before any thread, which would inherit what is not blocked; and before anything that must be torn down.
    let signals = Signals::block()?;
    // On a thread of its own, beside the next steps: it shares nothing with them, and nobody sees what it makes.
    let building = network::build(settings.endpoints, settings.providers.clone());
    // Pure, so it comes before anything is made that others see: most mistakes show up here.
    let mut files = files::for_run(
        Path::new("/etc"),
        &settings.endpoints,
        &settings.providers,
        &settings.credentials,
    )?;
    files.extend(settings.one_shot.take_library());
    settings.view.lay_over_etc(files);
    let confinement = &settings.confinement;
    let filter = seccomp::compile(confinement.user_namespaces)?;
    let landlock = Restrictions::for_run(
        confinement.user_namespaces,
        settings.view.writable(),
        &confinement.allow_degraded,
    )?;
    // From here on the supervisor has no credential: what it clones must not.
    proxy.entrust(&mem::take(&mut settings.credentials))?;
    let hierarchies = Hierarchies::find()?;
    let limits = limits_for_run(confinement, &hierarchies)?;
    runs::ensure_bpffs()?;
    // Before this run makes anything, so that it finds what is not its own.
    for failure in runs::sweep(&hierarchies).failures {
        tracing::warn!("cannot clear away what a killed run left: {failure}");
    }
    // The lock comes before everything that it guards.
    let run = Run::claim()?;
    timings.lap("prepare");
    let (log_dir, timings_file) = (settings.log_dir.clone(), settings.timings.clone());
    let prepared = Prepared {
        settings,
        core_limit,
        filter,
        landlock,
        limits,
        oom_score,
        signals,
        proxy,
        building,
    };
    let result = guarded(prepared, &run, &hierarchies, &mut timings);
    let mut finished = match result {
        Ok(finished) => finished,
        Err(error) => {
            // The run never came to its own end: what it made is found as another run's leftovers would be.
            drop(run);
            runs::sweep(&hierarchies);
            return Err(error);
        }
    };
    collect(&mut finished.leftovers, run.release());
    collect(&mut finished.leftovers, logs::prune(&log_dir));
    timings.lap("teardown");
    if let Some(file) = timings_file {
        collect(&mut finished.leftovers, timings.append_to(&file));
    }
    Ok(finished)
}

/// What is worked out before anything is made.
struct Prepared {
    settings: RunSettings,
    core_limit: CoreLimit,
    filter: seccomp::Filter,
    landlock: Restrictions,
    limits: Limits,
    oom_score: i32,
    signals: Signals,
    proxy: ProxyProcess,
    building: Beside<Network>,
}

/// Everything between claiming the run's name and giving it back.
fn guarded(
    prepared: Prepared,
    run: &Run,
    hierarchies: &Hierarchies,
    timings: &mut Timings,
) -> Result<Finished> {
    let Prepared {
        settings,
        core_limit,
        filter,
        landlock,
        limits,
        oom_score,
        signals,
        mut proxy,
        building,
    } = prepared;
    // A file on disk can take as long as everything else here.
    let is_kept = settings.view.is_written_to();
    let written = {
        let (log_dir, id) = (settings.log_dir.clone(), run.id().to_owned());
        Beside::begin(move || {
            let logs = Logs::create(&log_dir, &id)?;
            let state = is_kept.then(|| runs::make_state(&id));
            Ok((logs, state.transpose()?))
        })
    };
    // Programs are attached to the cgroup before anything is in it.
    let cgroup = Cgroup::create(hierarchies.unified(), run.id())?;
    let limited = cgroup::apply(hierarchies, &cgroup, run.id(), limits)?;
    timings.lap("cgroup");
    let mut programs = ebpf::spare::take_or_load(&settings.endpoints, &run.pins())
        .and_then(|loaded| loaded.attach(cgroup.as_fd(), &run.pins()))?;
    timings.lap("ebpf");
    let (logs, state) = written.finish()?;
    // It gets ready with them while the network is waited for.
    let sightings = prepare_proxy(&proxy, settings.proxy, run, &programs, &logs)?;
    timings.lap("proxy_settings");
    let network = building.finish()?;
    timings.note("network_beside", network.took);
    timings.lap("network");
    let (command_stdio, mut attended) = stdio::prepare(settings.tty, &settings.identity)?;
    let posture = Posture::new(&Parts {
        hooks: programs.hooks(),
        filter: &filter,
        landlock: &landlock,
        confinement: &settings.confinement,
        limits,
        identity: &settings.identity,
        policy: &settings.policy,
        exposed: &settings.view.exposures,
    });
    let gateway: Vec<_> = settings.providers.iter().map(|it| it.port).collect();
    let mut introduction = Introduction {
        pid: Pid::this().as_raw(),
        init: 0,
        started: jiff::Timestamp::now().to_string(),
        program: program_name(&settings.command),
        logs: logs.directory().to_owned(),
        reloadable: settings.policy_source.is_some(),
        endpoints: settings.endpoints.to_bytes(),
        gateway: gateway.clone(),
        limits,
        posture,
    };
    let (followed, identity) = (settings.followed, settings.identity.clone());
    let mut planted = settings.view.missing.clone();
    let plan = Plan {
        command: settings.command,
        environment: settings.environment,
        identity: settings.identity,
        directory: settings.directory,
        view: settings.view,
        state,
        seccomp: filter,
        landlock,
        allow_degraded: settings.confinement.allow_degraded,
        oom_score,
        stdio: command_stdio,
        core_limit,
    };
    let enforced = Enforced {
        cgroup: &cgroup,
        limited: &limited,
        programs: &programs,
        namespace: &network.namespace,
        rules: &network.rules,
    };
    // Cloned while there is one thread, and only with the proof that both layers are in force. Init sets the sandbox up
    // beside the next steps; the command waits.
    let held = workload::spawn(plan, enforced)?;
    introduction.init = held.pid().as_raw();
    timings.lap("spawn_workload");
    open_doors(&proxy, run, &network)?;
    let asked = network.questions.ask()?;
    proxy.wait_until_ready()?;
    timings.lap("proxy");
    // The last question before the command: is the way that it is given there?
    let answered = asked.answers()?;
    timings.lap("preflight");
    let workload = held.start(answered);
    // After the clone: it starts threads.
    let copying = attended.begin();
    let rotation = Rotation::begin(followed, identity, settings.providers)
        .context("cannot follow credentials that change")?;
    let mut audit = Audit::new(run.id(), logs.audit.try_clone()?)?;
    audit.started(&introduction, settings.policy.mode);
    audit.gave(settings.one_shot.names());
    let drift = Drift {
        hooks: programs.hooks().clone(),
        cgroup: &cgroup,
        limited: &limited,
        namespace: &network.namespace,
        ruleset: network.ruleset,
        changes: network.changes,
        next: Instant::now(),
    };
    let (events, log) = programs.told();
    let watching = Watch {
        signals: &signals,
        attended: &mut attended,
        workload: &workload,
        proxy: &mut proxy,
        events,
        log,
        audit: &mut audit,
        run,
        introduction,
        timings: &mut *timings,
        drift,
        sightings: Some(sightings),
        rotation,
        reload: Reload::new(settings.policy_source),
    };
    let outcome = watch(watching, settings.timeout);
    timings.lap("command");

    // Teardown goes through to the end, whatever fails. First the processes: as long as one of them lives, what
    // confines it stays.
    let mut leftovers = Vec::new();
    drop(workload);
    collect(&mut leftovers, cgroup::kill_all(&cgroup));
    // Nobody is left to serve; it writes its logs while the rest is torn down.
    proxy.drain();
    collect(&mut leftovers, cgroup::wait_until_empty(&cgroup));
    copying.finish();
    attended.restore();
    timings.lap("kill");
    let reached = limited.reached();
    let packets_stopped = network.reader.denied_packets();
    let removing = is_kept.then(|| {
        let id = run.id().to_owned();
        Beside::begin(move || runs::remove_state(&id))
    });
    // What was denied in the command's last moments.
    programs.events().drain(|event| audit.record(event));
    let lost = collect(&mut leftovers, programs.counters().lost()).unwrap_or_default();
    let spare = collect(&mut leftovers, programs.detach());
    collect(&mut leftovers, hierarchies.remove(run.id()));
    if let Some(removing) = removing {
        collect(&mut leftovers, removing.finish());
    }
    let packets_stopped = match &outcome {
        // The rules may be what was lost.
        Ok(Outcome::Abandoned(_)) => packets_stopped.unwrap_or_default(),
        Ok(_) | Err(_) => collect(&mut leftovers, packets_stopped).unwrap_or_default(),
    };
    drop((network.namespace, network.listeners));
    timings.lap("detach");
    collect(
        &mut leftovers,
        proxy.stop().context("cannot stop keyward-proxy"),
    );
    timings.lap("proxy_end");
    // The proxy reads one of the maps: not before it has gone.
    if let Some(spare) = spare {
        collect(&mut leftovers, spare.keep());
    }
    planted.retain(|it| it.symlink_metadata().is_ok());
    planted.iter().for_each(|it| audit.planted(it));
    if let Ok(outcome) = &outcome {
        audit.ended(exit_status(outcome));
    }
    Ok(Finished {
        outcome: outcome?,
        audit,
        lost,
        packets_stopped,
        limits,
        reached,
        planted,
        log_directory: logs.directory().to_owned(),
        leftovers,
    })
}

fn prepare_proxy(
    proxy: &ProxyProcess,
    mut settings: RawSettings,
    run: &Run,
    programs: &ebpf::Attached,
    logs: &Logs,
) -> Result<Sightings> {
    let (sightings, reports) = Sightings::pipe()?;
    settings.run = Some(run.id().to_owned());
    proxy.prepare(
        &settings,
        &[
            (Role::Sightings, reports.as_fd()),
            (Role::AuditLog, logs.audit.as_fd()),
            (Role::RequestLog, logs.requests.as_fd()),
            (Role::TokenLog, logs.tokens.as_fd()),
            (Role::DiagnosticLog, logs.proxy.as_fd()),
            (Role::FlowMap, programs.flows_fd()),
        ],
    )?;
    Ok(sightings)
}

fn open_doors(proxy: &ProxyProcess, run: &Run, network: &Network) -> Result<()> {
    let mut doors: Vec<_> = network
        .listeners
        .iter()
        .map(|(door, listener)| (door.clone(), listener.as_fd()))
        .collect();
    let status = run.listen_for_status()?;
    doors.push((Door::Status, status.as_fd()));
    proxy.open(&doors)
}

/// The limits, as far as this host has what it takes; the rest is refused, or was allowed to be lacking.
fn limits_for_run(confinement: &Confinement, hierarchies: &Hierarchies) -> Result<Limits> {
    let missing = confinement.limits.missing(hierarchies);
    if missing.is_empty() || confinement.allow_degraded.contains(&Feature::CgroupLimits) {
        return Ok(confinement.limits.without(&missing));
    }
    let names: Vec<_> = missing.iter().map(ToString::to_string).collect();
    let detail = format!("no hierarchy has the controller {}", names.join(", "));
    Err(Lacking::new(Feature::CgroupLimits, &detail).into())
}

/// The program's name without its directory.
fn program_name(command: &[std::ffi::OsString]) -> String {
    let name = command.first().map(Path::new).and_then(Path::file_name);
    name.unwrap_or_default().to_string_lossy().into_owned()
}

fn collect<T, E: Into<anyhow::Error>>(
    leftovers: &mut Vec<anyhow::Error>,
    result: Result<T, E>,
) -> Option<T> {
    result.map_err(|error| leftovers.push(error.into())).ok()
}
