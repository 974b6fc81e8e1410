// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask fuzz`: every parser that reads what the workload sent, fed with what nobody would send.

use std::{ffi::OsString, fs, path::PathBuf};

use anyhow::{Context, Result, ensure};

use crate::command::{Cmd, find_program};
use crate::workspace::Workspace;

/// The fuzz targets, a workspace of its own inside the crate that it fuzzes.
const DIRECTORY: &str = "proxy/fuzz";

/// Run the fuzz targets of the parsers, each for a while
///
/// Each starts from its seeds, its corpus, and what earlier runs found. Needs rustup's nightly toolchain; cargo-fuzz is
/// installed where it is missing.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long each target runs
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 60,
        conflicts_with = "executions"
    )]
    seconds: u64,

    /// How many executions each target makes, however long they take
    #[arg(long, value_name = "COUNT")]
    executions: Option<u64>,

    /// What watches memory: without it, fuzzing is twice as fast
    #[arg(long, value_name = "NAME", default_value = "address", value_parser = ["address", "none"])]
    sanitizer: String,

    /// Afterwards, reduce what there is to the least that reaches as much, as the corpus that is kept
    #[arg(long)]
    keep: bool,

    /// Only these targets [default: all]
    targets: Vec<String>,
}

pub(crate) fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    let fuzz = Fuzz {
        path: search_path(workspace)?,
        built: workspace.target().join("fuzz"),
        sanitizer: &args.sanitizer,
        workspace,
    };
    let targets = if args.targets.is_empty() {
        let list = fuzz.command("list").read(workspace)?;
        list.lines().map(str::to_owned).collect()
    } else {
        args.targets.clone()
    };
    ensure!(!targets.is_empty(), "{DIRECTORY} has no fuzz targets");
    for target in &targets {
        let length = args.executions.map_or_else(
            || format!("-max_total_time={}", args.seconds),
            |count| format!("-runs={count}"),
        );
        // What is found worth keeping goes to the first directory; the others are only read.
        let found = fuzz.found(target);
        workspace.make_directory(&found)?;
        fuzz.target(target, &[found, fuzz.seeds(target), fuzz.corpus(target)])
            .args([length.as_str(), "-print_final_stats=1"])
            .run(workspace)
            .with_context(|| format!("fuzzing {target}: the input is in {DIRECTORY}/artifacts"))?;
        if args.keep {
            fuzz.keep(target)?;
        }
    }
    Ok(())
}

/// How targets are run, and from what.
struct Fuzz<'a> {
    path: OsString,
    built: PathBuf,
    sanitizer: &'a str,
    workspace: &'a Workspace,
}

impl Fuzz<'_> {
    fn command(&self, subcommand: &str) -> Cmd {
        Cmd::new("rustup")
            .args(["run", "nightly", "cargo", "fuzz", subcommand])
            .args(["--fuzz-dir", DIRECTORY])
            .env("PATH", &self.path)
            .env("CARGO_TARGET_DIR", &self.built)
    }

    /// A target with those of its directories that are there. What follows is for libFuzzer.
    fn target(&self, target: &str, directories: &[PathBuf]) -> Cmd {
        self.command("run")
            .args(["--sanitizer", self.sanitizer, target])
            .args(directories.iter().filter(|it| it.exists()))
            .arg("--")
    }

    /// Inputs that people wrote.
    fn seeds(&self, target: &str) -> PathBuf {
        self.place("seeds").join(target)
    }

    /// Inputs that were found and are kept with the code, which `proxy/tests/corpus.rs` replays.
    fn corpus(&self, target: &str) -> PathBuf {
        self.place("corpus").join(target)
    }

    /// Inputs that were found on this machine.
    fn found(&self, target: &str) -> PathBuf {
        self.built.join("corpus").join(target)
    }

    fn place(&self, name: &str) -> PathBuf {
        self.workspace.root().join(DIRECTORY).join(name)
    }

    /// Makes a target's corpus anew: of all inputs, few and short ones that reach every place which any of them reaches.
    fn keep(&self, target: &str) -> Result<()> {
        let corpus = self.corpus(target);
        let new = self.built.join("corpus-new").join(target);
        if new.exists() {
            fs::remove_dir_all(&new).with_context(|| format!("removing {}", new.display()))?;
        }
        self.workspace.make_directory(&new)?;
        let found = self.found(target);
        self.target(
            target,
            &[new.clone(), found, self.seeds(target), corpus.clone()],
        )
        .args(["-set_cover_merge=1", "-use_counters=0"])
        .run(self.workspace)
        .with_context(|| format!("reducing the corpus of {target}"))?;
        if corpus.exists() {
            fs::remove_dir_all(&corpus)
                .with_context(|| format!("removing {}", corpus.display()))?;
        }
        for file in fs::read_dir(&new).with_context(|| format!("reading {}", new.display()))? {
            let file = file?;
            let bytes = fs::read(file.path())?;
            self.workspace
                .write(&corpus.join(file.file_name()), bytes)?;
        }
        Ok(())
    }
}

/// The search path on which nightly's cargo finds cargo-fuzz; installs it where it is missing.
fn search_path(workspace: &Workspace) -> Result<OsString> {
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
