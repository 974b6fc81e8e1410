// SPDX-License-Identifier: MIT OR Apache-2.0
//! The process: arguments, hardening, runtime, end.
//!
//! `keyward-proxy --supervised` takes everything from its standard input, a socket (see `control`).
//! `keyward-proxy --config FILE` takes it from a file. Both harden themselves before a credential is
//! read.

use std::{
    error::Error, ffi::OsString, fs::File, io, os::unix::ffi::OsStringExt as _, path::PathBuf,
    process::ExitCode, sync::Arc, time::Duration,
};

use keyward_policy::Policy;
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
};
use tracing_subscriber::{filter::LevelFilter, fmt::writer::BoxMakeWriter};
use zeroize::Zeroizing;

use crate::{
    control::{self, Door, Order, Role},
    credential::runner::{self, Runner},
    harden,
    peers::Peers,
    request_log::RequestLog,
    server::{Logs, Server},
    settings::Settings,
    standalone,
};

const USAGE: &str = "\
keyward-proxy: a gateway that puts credentials into requests to model providers

Usage: keyward-proxy --config FILE
       keyward-proxy --supervised
       keyward-proxy --version

  --config FILE   serve as FILE says; credentials come from OPENAI_API_KEY,
                  ANTHROPIC_API_KEY, or where FILE says
  --supervised    be told everything over standard input, a socket (keyward does this)
  --version       print the version
";

/// How long an end waits for the last lines of the request log.
const LAST_LINES: Duration = Duration::from_millis(500);

/// Runs the process.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.collect();
    let text: Vec<_> = arguments.iter().map(|it| it.to_string_lossy()).collect();
    let result = match text
        .iter()
        .map(AsRef::as_ref)
        .collect::<Vec<&str>>()
        .as_slice()
    {
        ["--supervised"] => supervised(),
        [runner::ARGUMENT] => harden::hide()
            .map_err(Into::into)
            .and_then(|()| runner::serve().map_err(Into::into)),
        ["--config", _] => standalone(arguments.get(1).map(PathBuf::from).unwrap_or_default()),
        ["--version"] => {
            return say(
                io::stdout(),
                concat!("keyward-proxy ", env!("CARGO_PKG_VERSION"), "\n"),
                0,
            );
        }
        ["--help"] => return say(io::stdout(), USAGE, 0),
        _ => return say(io::stderr(), USAGE, 2),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => say(
            io::stderr(),
            &format!("keyward-proxy: {}\n", sentence(&*error)),
            1,
        ),
    }
}

fn standalone(path: PathBuf) -> Result<(), Box<dyn Error>> {
    let runner = match std::fs::read_to_string(&path).map(Zeroizing::new) {
        // Only a guess, and a process more than needed if it is wrong. A file that cannot be read is told of below.
        Ok(text) if text.contains("cmd:") || text.contains("command") => {
            Some(Arc::new(Runner::start()?))
        }
        Ok(_) | Err(_) => None,
    };
    harden::harden()?;
    let variable = |name: &str| std::env::var_os(name).map(|it| Zeroizing::new(it.into_vec()));
    let start = standalone::start(&path, runner.as_deref(), variable)?;
    diagnostics(start.level.as_deref(), None)?;
    let log = RequestLog::to(start.requests);
    let tokens = log_to(start.tokens);
    let runtime = runtime(&start.settings)?;
    runtime.block_on(async {
        let providers = start.settings.providers.clone();
        let mut server = Server::new(
            start.settings,
            start.credentials,
            Logs {
                requests: log.clone(),
                tokens: tokens.clone(),
                audit: RequestLog::none(),
            },
            Peers::unknown(),
        )?;
        for (provider, listener) in start.listeners {
            server.add_gateway(provider, listener)?;
        }
        server.load_roots()?;
        let rotation = server.rotation();
        for it in start.followed {
            let (runner, rotation) = (runner.clone(), rotation.clone());
            tokio::spawn(standalone::follow(it, runner, providers.clone(), rotation));
        }
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut terminated = signal(SignalKind::terminate())?;
        server
            .run(async {
                tokio::select! {
                    _signal = interrupted.recv() => {}
                    _signal = terminated.recv() => {}
                }
            })
            .await;
        Ok::<(), io::Error>(())
    })?;
    log.flush(LAST_LINES);
    tokens.flush(LAST_LINES);
    Ok(())
}

fn supervised() -> Result<(), Box<dyn Error>> {
    let stream = control::from_standard_input()?;
    // Fit first, then the credentials. In this order: the filter refuses what the others need.
    let started = harden::be_supervised()
        .and_then(|()| harden::harden())
        .map_err(Into::into)
        .and_then(|()| control::accept(&stream).map_err(Into::into))
        .and_then(prepare)
        .and_then(|prepared| open(prepared, &stream));
    let (runtime, server, logs) = match started {
        Ok(started) => started,
        Err(error) => {
            let why = sentence(&*error);
            control::refuse(&stream, &why)?;
            return Err(error);
        }
    };
    stream.set_nonblocking(true)?;
    let ended = runtime.block_on(async {
        let mut stream = tokio::net::UnixStream::from_std(stream)?;
        let (drain, drained) = tokio::sync::oneshot::channel();
        let (egress, rotation) = (server.egress(), server.rotation());
        let running = server.run(async {
            // An error means that nothing more is going to be said, which is an end below.
            let _drain: Result<(), _> = drained.await;
        });
        let mut drain = Some(drain);
        tokio::pin!(running);
        loop {
            tokio::select! {
                () = &mut running => return Ok(()),
                order = control::next_order(&mut stream) => match order {
                    Order::Drain => drop(drain.take().map(|it| it.send(()))),
                    Order::Policy(raw) => {
                        let result = Policy::new(&raw).map(|policy| egress.replace_policy(policy));
                        let result = result.map_err(|faults| faults.to_string());
                        if control::answer_replaced(&mut stream, result).await.is_err() {
                            return Ok(());
                        }
                    }
                    Order::Credentials(credentials) => {
                        let result = rotation.replace_all(&credentials);
                        let result = result.map_err(|stray| stray.to_string());
                        if control::answer_replaced(&mut stream, result).await.is_err() {
                            return Ok(());
                        }
                    }
                    Order::End => return Ok::<(), io::Error>(()),
                }
            }
        }
    });
    logs.requests.flush(LAST_LINES);
    logs.tokens.flush(LAST_LINES);
    logs.audit.flush(LAST_LINES);
    // Without waiting for anything: there is no supervisor any more.
    runtime.shutdown_background();
    ended.map_err(Into::into)
}

type Prepared = (Runtime, Server, Logs);

/// Everything that needs no door.
fn prepare(start: control::Start) -> Result<Prepared, Box<dyn Error>> {
    let mut peers = Peers::unknown();
    let (mut requests, mut audit, mut diagnostics_file) = (None, None, None);
    let (mut tokens, mut sightings) = (None, None);
    for (role, descriptor) in start.descriptors {
        match role {
            Role::RequestLog => requests = Some(File::from(descriptor)),
            Role::TokenLog => tokens = Some(File::from(descriptor)),
            Role::Sightings => sightings = Some(File::from(descriptor)),
            Role::AuditLog => audit = Some(File::from(descriptor)),
            Role::DiagnosticLog => diagnostics_file = Some(File::from(descriptor)),
            Role::FlowMap => peers = Peers::from_map(descriptor)?,
        }
    }
    let level = start.settings.log.level.clone();
    diagnostics(level.as_deref(), diagnostics_file)?;
    let settings = Settings::try_from(start.settings)?;
    let logs = Logs {
        requests: log_to(requests),
        tokens: log_to(tokens),
        audit: log_to(audit),
    };
    if let Some(sightings) = sightings {
        peers = peers.reporting_to(sightings);
    }
    let runtime = runtime(&settings)?;
    let guard = runtime.enter();
    let server = Server::new(settings, start.credentials, logs.clone(), peers)?;
    drop(guard);
    Ok((runtime, server, logs))
}

/// Takes the doors, and says that the proxy serves.
fn open(
    (runtime, mut server, logs): Prepared,
    stream: &std::os::unix::net::UnixStream,
) -> Result<Prepared, Box<dyn Error>> {
    let guard = runtime.enter();
    for (door, descriptor) in control::accept_doors(stream)? {
        match door {
            Door::Gateway { provider } => {
                let provider = server.providers().get(&provider);
                let provider = provider.ok_or("a listener for an unknown provider")?;
                server.add_gateway(Arc::clone(provider), descriptor.into())?;
            }
            Door::Transparent => server.add_transparent(descriptor.into())?,
            Door::Explicit => server.add_explicit(descriptor.into())?,
            Door::Status => server.add_status(descriptor.into())?,
            Door::DnsUdp => server.add_dns_udp(descriptor.into())?,
            Door::DnsTcp => server.add_dns_tcp(descriptor.into())?,
        }
    }
    control::say_ready(stream)?;
    server.load_roots()?;
    drop(guard);
    Ok((runtime, server, logs))
}

fn log_to(file: Option<File>) -> RequestLog {
    file.map_or_else(RequestLog::none, RequestLog::to)
}

/// One thread unless the settings ask for more: one workload's requests are not worth the traffic
/// between cores.
fn runtime(settings: &Settings) -> io::Result<Runtime> {
    let mut builder = match settings.worker_threads {
        1 => Builder::new_current_thread(),
        threads => {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(threads);
            builder
        }
    };
    builder.enable_all().build()
}

/// Diagnostics as JSON lines. Only this crate's own: what libraries say at `trace` is not ours to
/// vouch for.
fn diagnostics(level: Option<&str>, file: Option<File>) -> Result<(), Box<dyn Error>> {
    let level: LevelFilter = level
        .unwrap_or("warn")
        .parse()
        .map_err(|_unknown| "log.level: not one of error, warn, info, debug, trace")?;
    let writer = match file {
        Some(file) => {
            // What a panic says belongs there, too.
            rustix::stdio::dup2_stderr(&file)?;
            BoxMakeWriter::new(std::sync::Mutex::new(file))
        }
        None => BoxMakeWriter::new(io::stderr),
    };
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        // It would say so on standard error, and panic if that is full, too.
        .log_internal_errors(false)
        .with_env_filter(
            tracing_subscriber::EnvFilter::default()
                .add_directive(format!("keyward_proxy={level}").parse()?),
        )
        .with_writer(writer)
        .finish();
    tracing::subscriber::set_global_default(subscriber)?;
    Ok(())
}

/// An error and what caused it, on one line.
fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text.trim_end().replace('\n', "; ")
}

fn say(mut to: impl io::Write, text: &str, code: u8) -> ExitCode {
    // A reader that went away is no failure.
    drop(to.write_all(text.as_bytes()));
    ExitCode::from(code)
}
