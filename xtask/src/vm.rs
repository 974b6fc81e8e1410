// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask vm`: the kernels that Debian packages, each booted with systemd as pid 1 in a machine without a network
//! device, and the suites run there.

mod archive;
mod docs;
mod image;
mod machine;
mod payload;
mod power;
mod results;
mod suite;

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::build;
use crate::packages::{self, VM};
use crate::test::kernel as tests;
use crate::workspace::Workspace;
use image::{Image, Kernel};
use machine::Machine;
use payload::{Mode, Payload};
use results::{Outcome, Results};
use suite::Suite;

/// Boot other kernels with systemd as pid 1, and run the suites there
///
/// Kernels and system are Debian's, through this machine's own apt configuration; the system is made once, in
/// target/vm. Guests run under KVM where the processor has it, else in software, ten times as slow.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only the kernels of this series [default: 6.1, 6.12, and the newest that Debian has]
    #[arg(long, value_name = "SERIES")]
    kernel: Vec<String>,

    /// Only these suites [default: all]
    #[arg(long, value_enum)]
    suite: Vec<Suite>,

    /// Only those tests whose name contains this, and of the escape suite the attempt that is called so (N01)
    #[arg(long, value_name = "NAME", conflicts_with = "write_docs")]
    filter: Option<String>,

    /// How often the power goes in the suite `power`
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    resets: u32,

    /// A shell in the guest of the newest kernel asked for, in place of any suite
    #[arg(long, conflicts_with_all = ["suite", "filter", "write_docs"])]
    shell: bool,

    /// Make the guests' system anew, with the kernels that Debian has by now
    #[arg(long)]
    fresh: bool,

    /// Write what is known of each kernel to docs/kernels.md
    #[arg(long)]
    write_docs: bool,
}

/// Longest that a guest may take for its suites under KVM.
const PATIENCE: Duration = Duration::from_mins(30);

pub(crate) fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    packages::ensure_tools(VM, workspace)?;
    let image = Image::find_or_make(args.fresh, workspace)?;
    let kernels = image.choose(&args.kernel)?;
    build::ebpf(workspace)?;
    build::binaries(&[], workspace)?;
    let binaries = suite::in_guests(tests::compile(workspace)?)?;
    let payload = Payload::new(binaries, workspace);
    if args.shell {
        return shell(&kernels, &image, &payload, workspace);
    }
    let suites = match &args.suite[..] {
        [] => Suite::ALL,
        some => some,
    };
    let mut results = Results::read(workspace)?;
    let mut failed = Vec::new();
    for kernel in kernels {
        println!("\n== Linux {} ==", kernel.release);
        let outcomes = on(kernel, suites, args, &image, &payload, workspace)?;
        if args.filter.is_none() {
            // Another kernel may have been at work meanwhile, in another terminal.
            results = Results::read(workspace)?;
        }
        for outcome in outcomes {
            if !outcome.passed() {
                failed.push(format!("{} on {}", outcome.suite, kernel.release));
            }
            results.put(&kernel.release, outcome);
        }
        // After each kernel: a guest takes long, and the next may be interrupted.
        if args.filter.is_none() {
            results.write(workspace)?;
        }
    }
    println!("\n{}", results.table());
    if args.write_docs {
        docs::write(&results, workspace)?;
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// Everything that is asked for, on one kernel: one guest for all suites of tests, and one that loses its power.
fn on(
    kernel: &Kernel,
    suites: &[Suite],
    args: &Args,
    image: &Image,
    payload: &Payload<'_>,
    workspace: &Workspace,
) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    let tests: Vec<Suite> = suites
        .iter()
        .copied()
        .filter(|it| *it != Suite::Power)
        .collect();
    if !tests.is_empty() {
        let disk = payload.make(kernel, Mode::Suites, &tests, args.filter.as_deref())?;
        let mut machine = Machine::start(kernel, image, &disk, workspace)?;
        let said = machine.output(PATIENCE)?;
        outcomes.extend(results::of_suites(&tests, &said, machine.is_in_software()));
    }
    if suites.contains(&Suite::Power) {
        let mode = Mode::Power {
            resets: args.resets,
        };
        let disk = payload.make(kernel, mode, &[Suite::Power], None)?;
        let machine = Machine::start(kernel, image, &disk, workspace)?;
        outcomes.push(power::run(machine, args.resets)?);
    }
    Ok(outcomes)
}

fn shell(
    kernels: &[&Kernel],
    image: &Image,
    payload: &Payload<'_>,
    workspace: &Workspace,
) -> Result<()> {
    let [.., newest] = kernels else {
        return Ok(());
    };
    let disk = payload.make(newest, Mode::Shell, Suite::ALL, None)?;
    Machine::talk(newest, image, &disk, workspace)
}
