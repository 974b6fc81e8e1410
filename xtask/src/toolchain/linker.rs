// SPDX-License-Identifier: MIT OR Apache-2.0
//! `bpf-linker`: the one on the search path where it understands the compiler's bitcode, else our own, compiled once
//! against the system's LLVM.
//!
//! LLVM reads the bitcode of its own and of older versions only, so the linker's LLVM must not be older than the
//! compiler's. bpf-linker does not tell its LLVM; whether it links a small program does.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};

use super::{Compiler, Kind, TARGET};
use crate::command::{Cmd, find_program};
use crate::packages;
use crate::workspace::Workspace;

/// The version that the workspace is built with.
const VERSION: &str = "0.13.0";

/// The LLVM versions that this bpf-linker can be compiled with.
pub(super) const LLVM: std::ops::RangeInclusive<u32> = 21..=23;

pub(super) fn find_or_install(compiler: &Compiler, workspace: &Workspace) -> Result<PathBuf> {
    let own = workspace.tools().join("bin/bpf-linker");
    let stamp = workspace.tools().join("bpf-linker.links");
    let candidates = [Some(own.clone()), find_program("bpf-linker")];
    for linker in candidates
        .into_iter()
        .flatten()
        .filter(|linker| linker.exists())
    {
        if links(&linker, compiler, &stamp, workspace)? {
            return Ok(linker);
        }
    }
    install(compiler, workspace)?;
    ensure!(
        links(&own, compiler, &stamp, workspace)?,
        "{} was compiled, but cannot link what the compiler makes; remove target/tools and try again",
        own.display()
    );
    Ok(own)
}

/// Whether `linker` links what `compiler` makes. A success is remembered in `stamp`, until either of them changes.
fn links(linker: &Path, compiler: &Compiler, stamp: &Path, workspace: &Workspace) -> Result<bool> {
    let modified = linker.metadata().and_then(|metadata| metadata.modified())?;
    let proof = format!(
        "{} {modified:?} {:?} {:?}",
        linker.display(),
        compiler.kind,
        compiler.version
    );
    if fs::read_to_string(stamp).is_ok_and(|text| text == proof) {
        return Ok(true);
    }
    let worked = match compiler.kind {
        Kind::Debian => link_probe(linker, workspace)?,
        // There is no `core` to compile a probe with; a linker that starts is the most that can be asked.
        Kind::Nightly => Cmd::new(linker)
            .arg("--version")
            .quiet()
            .read(workspace)
            .is_ok(),
    };
    if worked {
        workspace.write(stamp, proof)?;
    }
    Ok(worked)
}

/// A function with a bounds check and a loop: enough for `core`, attributes and intrinsics to be in the bitcode.
const PROBE: &str = "#![no_std]\n#![no_main]\n\
    #[panic_handler] fn panic(_: &core::panic::PanicInfo<'_>) -> ! { loop {} }\n\
    #[unsafe(no_mangle)] #[unsafe(link_section = \"socket\")]\n\
    pub fn probe(bytes: &[u8; 64], n: usize) -> u32 { bytes[..n].iter().map(|&b| u32::from(b)).sum() }\n";

fn link_probe(linker: &Path, workspace: &Workspace) -> Result<bool> {
    let directory = workspace.tools().join("probe");
    Cmd::new("mkdir")
        .arg("-p")
        .arg(&directory)
        .quiet()
        .read(workspace)?;
    let (source, object) = (directory.join("probe.rs"), directory.join("probe.o"));
    workspace.write(&source, PROBE)?;
    let mut flag = std::ffi::OsString::from("-Clinker=");
    flag.push(linker);
    Ok(Cmd::new("/usr/bin/rustc")
        .args([
            "--edition=2024",
            "--crate-type=cdylib",
            "-O",
            "--target",
            TARGET,
        ])
        .arg(flag)
        .arg("-o")
        .arg(&object)
        .arg(&source)
        .env("RUSTC_BOOTSTRAP", "1")
        .quiet()
        .read(workspace)
        .is_ok())
}

fn install(compiler: &Compiler, workspace: &Workspace) -> Result<()> {
    let (version, prefix) = match llvm(compiler) {
        Some(found) => found,
        None => {
            let package = format!("llvm-{}-dev", compiler.version.llvm);
            println!(
                "Installing {package}: bpf-linker links eBPF programs with the compiler's LLVM"
            );
            packages::install(&[&package], workspace)?;
            match llvm(compiler) {
                Some(found) => found,
                None => bail!(
                    "bpf-linker {VERSION} needs LLVM {} to {} with its development files, at least the compiler's {}",
                    LLVM.start(),
                    LLVM.end(),
                    compiler.version.llvm
                ),
            }
        }
    };
    println!("Compiling bpf-linker {VERSION} with LLVM {version}: once, about a minute");
    Cmd::cargo("install")
        .args([
            "bpf-linker",
            "--version",
            VERSION,
            "--locked",
            "--force",
            "--quiet",
        ])
        .args([
            "--no-default-features",
            "--features",
            &format!("llvm-{version}"),
        ])
        .arg("--root")
        .arg(workspace.tools())
        .env("LLVM_PREFIX", prefix)
        .env_remove("RUSTFLAGS")
        .run(workspace)
}

/// The oldest LLVM of the system that is not older than the compiler's.
fn llvm(compiler: &Compiler) -> Option<(u32, PathBuf)> {
    (compiler.version.llvm.max(*LLVM.start())..=*LLVM.end())
        .map(|version| (version, PathBuf::from(format!("/usr/lib/llvm-{version}"))))
        .find(|(_, prefix)| prefix.join("lib/libLLVM.so").exists())
}
