// SPDX-License-Identifier: MIT OR Apache-2.0
//! The dependencies: their licences, where they come from, what is banned, and known vulnerabilities.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::command::{Cmd, find_program};
use crate::workspace::Workspace;

/// The version that is installed where none is there.
const VERSION: &str = "0.20.2";

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let deny = find_or_install(workspace)?;
    // cargo-deny reads the manifest of every dependency, and some are for other systems: nothing fetched them yet.
    Cmd::cargo("fetch").arg("--locked").run(workspace)?;
    check(&deny, &["bans", "licenses", "sources"]).run(workspace)?;
    // The advisories come from a git repository, which not every machine can reach. That they could not be looked at
    // is said, and is no failure; a vulnerability that is known here is one.
    if Cmd::new(&deny)
        .args(["fetch", "db"])
        .run(workspace)
        .is_err()
    {
        println!("advisories NOT checked: their database cannot be reached from here");
        return Ok(());
    }
    check(&deny, &["advisories"]).run(workspace)
}

fn check(deny: &Path, what: &[&str]) -> Cmd {
    Cmd::new(deny)
        .args(["--offline", "check", "--hide-inclusion-graph"])
        .args(what)
}

fn find_or_install(workspace: &Workspace) -> Result<PathBuf> {
    let own = workspace.tools().join("bin/cargo-deny");
    if own.exists() {
        return Ok(own);
    }
    if let Some(found) = find_program("cargo-deny") {
        return Ok(found);
    }
    println!("Compiling cargo-deny {VERSION}: once, two minutes");
    Cmd::cargo("install")
        .args(["cargo-deny", "--version", VERSION, "--locked", "--quiet"])
        .arg("--root")
        .arg(workspace.tools())
        // It runs for a second; with all optimisations it would compile for ten minutes.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .run(workspace)?;
    Ok(own)
}
