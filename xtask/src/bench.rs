// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask bench`: keyward next to its peers, on this machine, in one run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use crate::build;
use crate::command::Cmd;
use crate::packages::{self, BENCH};
use crate::workspace::Workspace;

/// Measure keyward next to its peers; writes target/bench/results.json and results.md
///
/// Builds first. The benchmarks run as root, through sudo where needed.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these benchmarks [default: all]
    #[arg(value_enum)]
    benchmarks: Vec<Benchmark>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Benchmark {
    /// `keyward run -- true` against bwrap and plain `true`
    Startup,
    /// connect() through the redirect against connect() outside
    Connect,
    /// The gateway against nginx and HAProxy
    Gateway,
    /// The doors for egress by host name against HAProxy, Squid and no proxy
    Doors,
    /// The DNS door against dnsmasq and unbound
    Dns,
}

const ALL: [Benchmark; 5] = [
    Benchmark::Startup,
    Benchmark::Connect,
    Benchmark::Gateway,
    Benchmark::Doors,
    Benchmark::Dns,
];

pub(crate) fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    packages::ensure_tools(BENCH, workspace)?;
    build::ebpf(workspace)?;
    build::binaries(&["keyward-bench"], workspace)?;
    let directory = workspace.target().join("bench");
    workspace.make_directory(&directory)?;
    let chosen = if args.benchmarks.is_empty() {
        &ALL[..]
    } else {
        &args.benchmarks
    };
    for benchmark in chosen {
        measure(*benchmark, &directory, workspace)?;
    }
    merge(&directory, workspace)
}

/// Runs one benchmark; its results go to two files of its own.
fn measure(benchmark: Benchmark, directory: &Path, workspace: &Workspace) -> Result<()> {
    let bench = Cmd::new(workspace.release_binary("keyward-bench")).arg(benchmark.name());
    let bench = match benchmark {
        Benchmark::Startup | Benchmark::Connect | Benchmark::Doors | Benchmark::Dns => bench
            .arg("--keyward")
            .arg(workspace.release_binary("keyward")),
        Benchmark::Gateway => bench
            .arg("--proxy")
            .arg(workspace.release_binary("keyward-proxy")),
    };
    bench
        .arg("--json")
        .arg(benchmark.file(directory, "json"))
        .arg("--markdown")
        .arg(benchmark.file(directory, "md"))
        .with_root()
        .run(workspace)
}

/// Puts together what this run and earlier ones measured, and prints it.
fn merge(directory: &Path, workspace: &Workspace) -> Result<()> {
    let mut results = Map::new();
    let mut markdown = String::new();
    for benchmark in ALL {
        let json = benchmark.file(directory, "json");
        if !json.exists() {
            continue;
        }
        let text = read(&json)?;
        let result: Value =
            serde_json::from_str(&text).with_context(|| format!("reading {}", json.display()))?;
        results.insert(benchmark.name().to_owned(), result);
        markdown.push_str(&read(&benchmark.file(directory, "md"))?);
        markdown.push('\n');
    }
    let json = serde_json::to_string_pretty(&Value::Object(results)).context("the results")?;
    workspace.write(&directory.join("results.json"), json + "\n")?;
    workspace.write(&directory.join("results.md"), &markdown)?;
    println!("\n{markdown}");
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

impl Benchmark {
    fn name(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Connect => "connect",
            Self::Gateway => "gateway",
            Self::Doors => "doors",
            Self::Dns => "dns",
        }
    }

    fn file(self, directory: &Path, extension: &str) -> PathBuf {
        directory.join(self.name()).with_extension(extension)
    }
}
