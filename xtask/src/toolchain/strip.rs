// SPDX-License-Identifier: MIT OR Apache-2.0
//! Taking the debug information out of an object, BTF left in: `llvm-objcopy`, which rustup's toolchains bring as
//! `rust-objcopy`, and which comes with the LLVM that the linker is compiled against.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::linker::LLVM;
use crate::command::{Cmd, find_program};
use crate::workspace::Workspace;

/// Copies `from` to `to` without its debug information.
///
/// # Errors
///
/// There is no objcopy that knows BPF objects, or it fails.
pub(crate) fn debug_information(from: &Path, to: &Path, workspace: &Workspace) -> Result<()> {
    let objcopy = match system() {
        Some(program) => Cmd::new(program),
        None => match of_rustup(workspace)? {
            // It finds its libraries by this path only.
            Some((program, libraries)) => Cmd::new(program).env("LD_LIBRARY_PATH", libraries),
            None => {
                bail!("no llvm-objcopy is here: install Debian's llvm, or a toolchain by rustup")
            }
        },
    };
    objcopy
        .arg("--strip-debug")
        .arg(from)
        .arg(to)
        .run(workspace)
}

fn system() -> Option<PathBuf> {
    LLVM.map(|version| PathBuf::from(format!("/usr/lib/llvm-{version}/bin/llvm-objcopy")))
        .find(|program| program.exists())
        .or_else(|| find_program("llvm-objcopy"))
}

/// The program of the workspace's own toolchain, and the directory of its libraries.
fn of_rustup(workspace: &Workspace) -> Result<Option<(PathBuf, PathBuf)>> {
    let sysroot = Cmd::new("rustc")
        .args(["--print", "sysroot"])
        .quiet()
        .read(workspace)?;
    let libraries = Path::new(sysroot.trim()).join("lib");
    let Ok(targets) = fs::read_dir(libraries.join("rustlib")) else {
        return Ok(None);
    };
    Ok(targets
        .filter_map(|target| Some(target.ok()?.path().join("bin/rust-objcopy")))
        .find(|program| program.exists())
        .map(|program| (program, libraries)))
}
