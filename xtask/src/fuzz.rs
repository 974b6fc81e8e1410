// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask fuzz`: every parser that reads what the workload sent, fed with what nobody would send.

use anyhow::{Context, Result, ensure};

use crate::command::{Cmd, find_program};
use crate::workspace::Workspace;

/// The fuzz targets, a workspace of its own inside the crate that it fuzzes.
const DIRECTORY: &str = "proxy/fuzz";

/// Run the fuzz targets of the proxy's parsers, each for a while
///
/// Needs rustup's nightly toolchain; cargo-fuzz is installed where it is missing.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long each target runs
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    seconds: u64,

    /// Only these targets [default: all]
    targets: Vec<String>,
}

pub(crate) fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    let path = search_path(workspace)?;
    let built = workspace.target().join("fuzz");
    let fuzz = |subcommand: &str| {
        Cmd::new("rustup")
            .args([
                "run",
                "nightly",
                "cargo",
                "fuzz",
                subcommand,
                "--fuzz-dir",
                DIRECTORY,
            ])
            .env("PATH", &path)
            .env("CARGO_TARGET_DIR", &built)
    };
    let targets = if args.targets.is_empty() {
        fuzz("list")
            .read(workspace)?
            .lines()
            .map(str::to_owned)
            .collect()
    } else {
        args.targets.clone()
    };
    ensure!(!targets.is_empty(), "{DIRECTORY} has no fuzz targets");
    for target in targets {
        // What is found worth keeping goes to the first directory; the others are only read.
        let corpus = built.join("corpus").join(&target);
        workspace.make_directory(&corpus)?;
        let seeds = workspace.root().join(DIRECTORY).join("seeds").join(&target);
        let directories = [corpus, seeds]
            .into_iter()
            .filter(|directory| directory.exists());
        fuzz("run")
            .arg(&target)
            .args(directories)
            .arg("--")
            .arg(format!("-max_total_time={}", args.seconds))
            .run(workspace)
            .with_context(|| format!("fuzzing {target}: the input is in {DIRECTORY}/artifacts"))?;
    }
    Ok(())
}

/// The search path on which nightly's cargo finds cargo-fuzz; installs it where it is missing.
fn search_path(workspace: &Workspace) -> Result<std::ffi::OsString> {
    Cmd::new("rustup")
        .args(["run", "nightly", "rustc", "--version"])
        .env("RUSTUP_AUTO_INSTALL", "0")
        .quiet()
        .read(workspace)
        .context("fuzzing needs the nightly toolchain: run `rustup toolchain install nightly`")?;
    let own = workspace.tools().join("bin");
    if find_program("cargo-fuzz").is_none() && !own.join("cargo-fuzz").exists() {
        println!("Compiling cargo-fuzz: once, about a minute");
        Cmd::cargo("install")
            .args(["cargo-fuzz", "--locked", "--quiet"])
            .arg("--root")
            .arg(workspace.tools())
            .run(workspace)?;
    }
    let mut path = own.into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    Ok(path)
}
