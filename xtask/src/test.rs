// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask test`: everything that CI runs, in order, until the first failure.
//!
//! The order is the one in which a mistake costs least: what takes seconds and fails often comes first; what needs
//! root, and everything built, comes last.

mod deny;
pub(crate) mod kernel;

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::build;
use crate::command::Cmd;
use crate::packages;
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;

/// Run everything that CI runs: formatting, lints, tests, documentation, dependencies
///
/// The kernel and end-to-end tests run as root, through sudo where needed; all else runs as the calling user.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these steps, in this order [default: all]
    #[arg(value_enum, conflicts_with = "fast")]
    steps: Vec<Step>,

    /// Only the steps that need neither root nor a release build
    #[arg(long)]
    fast: bool,

    /// Only those kernel and end-to-end tests whose name contains this
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
}

/// One thing that CI runs.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Step {
    /// Formatting
    Format,
    /// Build the eBPF object
    Ebpf,
    /// Lints of everything that runs on the host
    Lint,
    /// Unit, property and snapshot tests
    Unit,
    /// Lints of the eBPF programs
    LintEbpf,
    /// Documentation
    Doc,
    /// Licences, bans, sources and advisories of the dependencies
    Deny,
    /// Kernel and end-to-end tests
    Kernel,
    /// Build the release binaries
    Release,
}

/// What a developer runs before each commit.
const FAST: &[Step] = &[Step::Format, Step::Ebpf, Step::Lint, Step::Unit];

/// What CI runs.
const ALL: &[Step] = &[
    Step::Format,
    Step::Ebpf,
    Step::Lint,
    Step::Unit,
    Step::LintEbpf,
    Step::Doc,
    Step::Deny,
    Step::Kernel,
    Step::Release,
];

pub(crate) fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    let steps = match (args.fast, &args.steps[..]) {
        (true, _) => FAST,
        (false, []) => ALL,
        (false, steps) => steps,
    };
    let mut done: Vec<(Step, Duration)> = Vec::new();
    for (index, &step) in steps.iter().enumerate() {
        println!("\n== {step} ==");
        let start = Instant::now();
        let result = step.run(args, workspace);
        let elapsed = start.elapsed();
        if let Err(error) = result {
            summary(&done);
            println!("  FAILED  {:>6.1} s  {step}", elapsed.as_secs_f64());
            for left in steps.iter().skip(index + 1) {
                println!("  not run           {left}");
            }
            return Err(error.context(step.to_string()));
        }
        done.push((step, elapsed));
    }
    summary(&done);
    let total: Duration = done.iter().map(|(_, elapsed)| *elapsed).sum();
    println!("  all passed in {:.1} s", total.as_secs_f64());
    Ok(())
}

fn summary(done: &[(Step, Duration)]) {
    println!("\n== summary ==");
    for (step, elapsed) in done {
        println!("  ok      {:>6.1} s  {step}", elapsed.as_secs_f64());
    }
}

impl Step {
    fn run(self, args: &Args, workspace: &Workspace) -> Result<()> {
        match self {
            Self::Format => format(workspace),
            Self::Ebpf => ebpf(workspace),
            Self::Lint => lint(workspace),
            Self::Unit => unit(workspace),
            Self::LintEbpf => lint_ebpf(workspace),
            Self::Doc => doc(workspace),
            Self::Deny => deny::run(workspace),
            Self::Release => build::binaries(&[], workspace),
            Self::Kernel => kernel::run(args.filter.as_deref(), workspace),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Format => "formatting",
            Self::Ebpf => "eBPF object",
            Self::Lint => "lints, host",
            Self::Unit => "unit, property and snapshot tests",
            Self::LintEbpf => "lints, eBPF",
            Self::Doc => "documentation",
            Self::Deny => "dependencies",
            Self::Release => "release binaries",
            Self::Kernel => "kernel and end-to-end tests",
        })
    }
}

fn format(workspace: &Workspace) -> Result<()> {
    Cmd::cargo("fmt").args(["--all", "--check"]).run(workspace)
}

/// `keyward`'s build script embeds the object: nothing of it compiles without.
fn ebpf(workspace: &Workspace) -> Result<()> {
    packages::ensure_libclang(workspace)?;
    build::ebpf(workspace)
}

/// Apart from the eBPF crate: one run over both would unify their features, and bring `std` into the kernel.
fn lint(workspace: &Workspace) -> Result<()> {
    Cmd::cargo("clippy")
        .args(["--locked", "--all-targets", "--", "-D", "warnings"])
        .run(workspace)
}

fn lint_ebpf(workspace: &Workspace) -> Result<()> {
    Toolchain::find_or_install(workspace)?
        .clippy(workspace)?
        .run(workspace)
}

fn unit(workspace: &Workspace) -> Result<()> {
    packages::ensure_tools(packages::UNIT, workspace)?;
    Cmd::cargo("test")
        .args([
            "--locked",
            "--workspace",
            "--exclude",
            "firewall-ebpf",
            "--exclude",
            kernel::PACKAGE,
        ])
        // Nearly all frames are the asynchronous runtime's: they would bury what failed.
        .env("RUST_BACKTRACE", "0")
        .run(workspace)
}

fn doc(workspace: &Workspace) -> Result<()> {
    Cmd::cargo("doc")
        .args([
            "--locked",
            "--no-deps",
            "--workspace",
            "--exclude",
            "firewall-ebpf",
        ])
        .env("RUSTDOCFLAGS", "-D warnings")
        .run(workspace)
}
