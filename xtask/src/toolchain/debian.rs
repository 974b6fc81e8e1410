// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian's own compiler: `rustc-web`, which the security team keeps current for browsers, with `core` for BPF.

use std::path::Path;

use anyhow::Result;

use super::{Compiler, Kind, TARGET, Version};
use crate::command::Cmd;
use crate::workspace::Workspace;

/// What [`find`] looks for.
pub(super) const PACKAGES: &[&str] = &["rustc-web", "libstd-rust-web-dev-bpf"];

const RUSTC: &str = "/usr/bin/rustc";

pub(super) fn find(workspace: &Workspace) -> Result<Option<Compiler>> {
    if !Path::new(RUSTC).exists() || !Path::new("/usr/lib/rustlib").join(TARGET).exists() {
        return Ok(None);
    }
    let text = Cmd::new(RUSTC).arg("-vV").quiet().read(workspace)?;
    Ok(Version::parse(&text)
        .filter(Version::is_new_enough)
        .map(|version| Compiler {
            kind: Kind::Debian,
            version,
        }))
}

pub(super) fn cargo(subcommand: &str) -> Cmd {
    Cmd::cargo(subcommand)
        .env("RUSTC", RUSTC)
        // aya-ebpf uses features that are unstable on this target (inline assembly among them); Debian's compiler is a
        // stable one, which has to be told.
        .env("RUSTC_BOOTSTRAP", "1")
}
