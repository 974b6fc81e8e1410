// SPDX-License-Identifier: GPL-3.0-or-later
//! `keyward`.

use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use firewall_user::cli::{Cli, Commands, PolicyCommand};
use firewall_user::commands;
use firewall_user::settings::HostEnvironment;
use firewall_user::sys;
use firewall_user::workload::CoreLimit;
use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing_subscriber::EnvFilter;

/// keyward's own fault or wrong usage, in `run`: the command's own statuses are below.
const FAILED: u8 = 125;

fn main() -> ExitCode {
    // Before anything else: no descriptor and no credential may reach what is started later, and the credentials are
    // wiped from where others could read them.
    let core_limit = match harden() {
        Ok(limit) => limit,
        Err(error) => return fail(&error, FAILED),
    };
    let host = HostEnvironment::take();
    let begun = commands::run::Begun::early();
    let arguments = match Cli::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let status = if error.use_stderr() { FAILED } else { 0 };
            drop(error.print());
            return ExitCode::from(status);
        }
    };
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .without_time()
        .with_target(false)
        // Where it cannot be written that is nothing to panic for.
        .log_internal_errors(false)
        .with_env_filter(
            EnvFilter::try_from_env("KEYWARD_LOG").unwrap_or_else(|_| EnvFilter::new("warn")),
        )
        .init();
    match arguments.command {
        Commands::Run(args) => match commands::run::run(*args, host, core_limit, begun) {
            Ok(status) => ExitCode::from(status),
            Err(error) => fail(&format!("{error:#}"), FAILED),
        },
        Commands::Logs(args) => done(commands::logs::run(&args)),
        Commands::Report(args) => done(commands::report::run(&args)),
        Commands::Top(args) => done(commands::top::run(&args)),
        Commands::Status(args) => match commands::status::run(&args) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => fail(&format!("{error:#}"), 2),
        },
        Commands::Explain(args) => match commands::explain::run(&args, &host) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => fail(&format!("{error:#}"), 2),
        },
        Commands::Schema => done(commands::policy::schema()),
        Commands::Policy(args) => match args.command {
            PolicyCommand::Check(args) => done(commands::policy::check(&args, &host)),
            PolicyCommand::Groups(args) => done(commands::policy::groups(&args, &host)),
            PolicyCommand::Suggest(args) => done(commands::suggest::run(&args)),
        },
        Commands::Doctor(args) => match commands::doctor::run(&args) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => fail(&format!("{error:#}"), 2),
        },
        Commands::Selftest(args) => match commands::selftest::run(&args) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => fail(&format!("{error:#}"), 2),
        },
        Commands::Reload(args) => done(commands::reload::run(&args)),
        Commands::Version => done(commands::version::run().map_err(Into::into)),
    }
}

/// The status of a command that says what it has to say by itself.
fn done(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}"), 2),
    }
}

/// Returns the limit on the size of core dumps as it was, for the command.
fn harden() -> io::Result<CoreLimit> {
    sys::descriptors::withhold_inherited()?;
    // No core dump, and no debugger of the same user, sees the credentials.
    set_dumpable(false)?;
    let (soft, hard) = getrlimit(Resource::RLIMIT_CORE)?;
    setrlimit(Resource::RLIMIT_CORE, 0, hard)?;
    Ok(CoreLimit { soft, hard })
}

fn fail(error: &impl fmt::Display, status: u8) -> ExitCode {
    // Nobody is left to tell if standard error is closed.
    for line in error.to_string().lines().filter(|line| !line.is_empty()) {
        // A line of a file that is shown begins with its number.
        let is_shown = line
            .trim_start_matches(|it: char| it.is_ascii_digit())
            .starts_with(" |");
        let prefix = if line.starts_with(' ') || is_shown {
            ""
        } else {
            "keyward: "
        };
        drop(writeln!(io::stderr(), "{prefix}{line}"));
    }
    ExitCode::from(status)
}
