// SPDX-License-Identifier: MIT OR Apache-2.0
//! rustup's nightly compiler with `rust-src`: cargo compiles `core` for BPF with the programs.

use std::path::Path;

use anyhow::Result;

use super::{Compiler, Kind, Version};
use crate::command::{Cmd, find_program};
use crate::workspace::Workspace;

pub(super) fn find(workspace: &Workspace) -> Result<Option<Compiler>> {
    if find_program("rustup").is_none() {
        return Ok(None);
    }
    // Fails when there is no nightly at all, which is an answer, not an error.
    let Ok(sysroot) = nightly("rustc")
        .args(["--print", "sysroot"])
        .quiet()
        .read(workspace)
    else {
        return Ok(None);
    };
    if !Path::new(sysroot.trim())
        .join("lib/rustlib/src/rust/library/core")
        .exists()
    {
        return Ok(None);
    }
    let text = nightly("rustc").arg("-vV").quiet().read(workspace)?;
    Ok(Version::parse(&text)
        .filter(Version::is_new_enough)
        .map(|version| Compiler {
            kind: Kind::Nightly,
            version,
        }))
}

pub(super) fn cargo(subcommand: &str) -> Cmd {
    nightly("cargo")
        .arg(subcommand)
        .args(["-Z", "build-std=core"])
}

/// A program of the nightly toolchain; rustup must not take the moment to download one.
fn nightly(program: &str) -> Cmd {
    Cmd::new("rustup")
        .args(["run", "nightly", program])
        .env("RUSTUP_AUTO_INSTALL", "0")
}
