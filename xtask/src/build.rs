// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask build`: the eBPF object, then the binaries that embed it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::command::Cmd;
use crate::packages;
use crate::toolchain::{TARGET, Toolchain, strip};
use crate::workspace::Workspace;

/// Build `target/release/keyward`, `keyward-proxy` and `libone_shot_token.so`
///
/// The eBPF toolchain is found, or installed: Debian's packages, or rustup's nightly with rust-src.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Build the eBPF object only
    #[arg(long)]
    ebpf: bool,
}

pub(crate) fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    ebpf(workspace)?;
    if args.ebpf {
        Ok(())
    } else {
        binaries(&[], workspace)
    }
}

/// Compiles the eBPF programs and puts the object where `keyward`'s build script expects it.
pub(crate) fn ebpf(workspace: &Workspace) -> Result<()> {
    Cmd::new("mkdir")
        .arg("-p")
        .args([workspace.ebpf(), workspace.tools()])
        .quiet()
        .run(workspace)?;
    let toolchain = Toolchain::find_or_install(workspace)?;
    toolchain.build(workspace).run(workspace)?;
    let built = workspace
        .ebpf()
        .join("cargo")
        .join(TARGET)
        .join("ebpf/keyward-ebpf");
    // The debug information was there to make BTF of: nine tenths of the object, and names of the build machine's files.
    let stripped = built.with_extension("stripped");
    strip::debug_information(&built, &stripped, workspace)?;
    publish(&stripped, workspace)
}

/// The release binaries, and those of `others`.
///
/// In one run of cargo: which features a dependency has depends on what is built with it, and a second run with another
/// selection would compile it again.
pub(crate) fn binaries(others: &[&str], workspace: &Workspace) -> Result<()> {
    packages::ensure_libclang(workspace)?;
    let packages = ["firewall-user", "keyward-proxy"].iter().chain(others);
    Cmd::cargo("build")
        .args(["--release", "--bins"])
        .args(packages.flat_map(|package| ["--package", package]))
        .run(workspace)?;
    preload(&["--release"], workspace)
}

/// The library that `keyward run --one-shot` has loaded into programs, beside the binaries.
pub(crate) fn preload(how: &[&str], workspace: &Workspace) -> Result<()> {
    Cmd::cargo("build")
        .args(how)
        .args(["--package", "one-shot-token"])
        .run(workspace)
}

/// Copies the object, unless the copy is already the same: its time decides whether `keyward` is built again.
fn publish(built: &Path, workspace: &Workspace) -> Result<()> {
    let object = workspace.ebpf_object();
    let bytes = fs::read(built).with_context(|| format!("reading {}", built.display()))?;
    if fs::read(&object).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    workspace.write(&object, bytes)
}
