// SPDX-License-Identifier: MIT OR Apache-2.0
//! The project's chores. `cargo xtask build` and `cargo xtask test` are the only entry points: what CI runs, a
//! developer runs, by the same words.
//!
//! One file a task. Each task prints the commands that it runs, so that any of them can be repeated by hand; nothing
//! goes through a shell. Everything is built as the calling user; only what needs root asks for it, by sudo.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "xtask talks to a person at a terminal"
)]

mod bench;
mod build;
mod command;
mod demo;
mod escape;
mod fuzz;
mod identity;
mod packages;
mod soak;
mod test;
mod toolchain;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// keyward's chores
#[derive(Parser)]
#[command(name = "cargo xtask", disable_version_flag = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    Bench(bench::Args),
    Build(build::Args),
    Demo(demo::Args),
    Escape(escape::Args),
    Fuzz(fuzz::Args),
    Soak(soak::Args),
    Test(test::Args),
    Vm(vm::Args),
}

fn main() -> ExitCode {
    match run(&Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> anyhow::Result<()> {
    let workspace = Workspace::find()?;
    match task {
        Task::Bench(args) => bench::run(args, &workspace),
        Task::Build(args) => build::run(args, &workspace),
        Task::Demo(args) => demo::run(args, &workspace),
        Task::Escape(args) => escape::run(args, &workspace),
        Task::Fuzz(args) => fuzz::run(args, &workspace),
        Task::Soak(args) => soak::run(args, &workspace),
        Task::Test(args) => test::run(args, &workspace),
        Task::Vm(args) => vm::run(args, &workspace),
    }
}
