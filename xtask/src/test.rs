// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask test`: everything that CI runs, in order, until the first failure.
//!
//! The order is the one in which a mistake costs least: what takes seconds and fails often comes first; what needs
//! root, and everything built, comes last.

mod deny;
mod kernel;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::build;
use crate::command::Cmd;
use crate::packages::{self, TEST};
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;

/// Run everything that CI runs: formatting, lints, tests, documentation, dependencies
///
/// The kernel and end-to-end tests run as root, through sudo where needed; all else runs as the calling user.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Stop after formatting, the host's lints and the tests that need no root
    #[arg(long)]
    fast: bool,

    /// Only those kernel and end-to-end tests whose name contains this
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
}

/// One thing that CI runs.
struct Step {
    name: &'static str,
    run: fn(&Args, &Workspace) -> Result<()>,
}

/// What a developer runs before each commit.
const FAST: &[Step] = &[
    Step {
        name: "formatting",
        run: formatting,
    },
    Step {
        name: "eBPF object",
        run: ebpf_object,
    },
    Step {
        name: "lints, host",
        run: lints_of_the_host,
    },
    Step {
        name: "unit, property and snapshot tests",
        run: unit_tests,
    },
];

/// What CI runs besides.
const FULL: &[Step] = &[
    Step {
        name: "lints, eBPF",
        run: lints_of_the_ebpf_crate,
    },
    Step {
        name: "documentation",
        run: documentation,
    },
    Step {
        name: "dependencies",
        run: deny::run,
    },
    Step {
        name: "release binaries",
        run: release_binaries,
    },
    Step {
        name: "kernel and end-to-end tests",
        run: kernel::run,
    },
];

pub(crate) fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    let steps: Vec<&Step> = if args.fast {
        FAST.iter().collect()
    } else {
        FAST.iter().chain(FULL).collect()
    };
    if !args.fast {
        packages::ensure_tools(TEST, workspace)?;
    }
    let mut done: Vec<(&str, Duration)> = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        println!("\n== {} ==", step.name);
        let start = Instant::now();
        let result = (step.run)(args, workspace);
        let elapsed = start.elapsed();
        if let Err(error) = result {
            let left: Vec<&str> = steps.iter().skip(index + 1).map(|step| step.name).collect();
            summary(&done);
            println!("  FAILED  {:>6.1} s  {}", elapsed.as_secs_f64(), step.name);
            for name in left {
                println!("  not run           {name}");
            }
            return Err(error).context(step.name);
        }
        done.push((step.name, elapsed));
    }
    summary(&done);
    let total: Duration = done.iter().map(|(_, elapsed)| *elapsed).sum();
    println!("  all passed in {:.1} s", total.as_secs_f64());
    Ok(())
}

fn summary(done: &[(&str, Duration)]) {
    println!("\n== summary ==");
    for (name, elapsed) in done {
        println!("  ok      {:>6.1} s  {name}", elapsed.as_secs_f64());
    }
}

fn formatting(_: &Args, workspace: &Workspace) -> Result<()> {
    Cmd::cargo("fmt").args(["--all", "--check"]).run(workspace)
}

/// `keyward`'s build script embeds the object: nothing of it compiles without.
fn ebpf_object(_: &Args, workspace: &Workspace) -> Result<()> {
    packages::ensure_libclang(workspace)?;
    build::ebpf(workspace)
}

/// Apart from the eBPF crate: one run over both would unify their features, and bring `std` into the kernel.
fn lints_of_the_host(_: &Args, workspace: &Workspace) -> Result<()> {
    Cmd::cargo("clippy")
        .args(["--locked", "--all-targets", "--", "-D", "warnings"])
        .run(workspace)
}

fn lints_of_the_ebpf_crate(_: &Args, workspace: &Workspace) -> Result<()> {
    Toolchain::find_or_install(workspace)?
        .clippy(workspace)?
        .run(workspace)
}

fn unit_tests(_: &Args, workspace: &Workspace) -> Result<()> {
    Cmd::cargo("test")
        .args([
            "--locked",
            "--workspace",
            "--exclude",
            "firewall-ebpf",
            "--exclude",
            kernel::PACKAGE,
        ])
        .run(workspace)
}

fn documentation(_: &Args, workspace: &Workspace) -> Result<()> {
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

fn release_binaries(_: &Args, workspace: &Workspace) -> Result<()> {
    build::binaries(workspace)
}
