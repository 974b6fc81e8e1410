// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian's own compiler: `rustc-web`, which the security team keeps current for browsers, with `core` for BPF.

use std::path::Path;

use anyhow::Result;

use super::{Compiler, Kind, TARGET, Version};
use crate::command::Cmd;
use crate::packages;
use crate::workspace::Workspace;

/// What [`find`] looks for.
pub(super) const PACKAGES: &[&str] = &["rustc-web", "libstd-rust-web-dev-bpf"];

const RUSTC: &str = "/usr/bin/rustc";
const CLIPPY: &str = "/usr/bin/clippy-driver";

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

/// Debian packages the lints apart from the compiler, in the same version.
pub(super) fn ensure_clippy(workspace: &Workspace) -> Result<()> {
    if Path::new(CLIPPY).exists() {
        return Ok(());
    }
    println!("Installing rust-web-clippy: the lints of the compiler that builds the eBPF programs");
    packages::install(&["rust-web-clippy"], workspace)
}

/// What `cargo clippy` does to `cargo check`. It cannot be called itself: rustup's would take rustup's lints, which are
/// of another compiler's version.
pub(super) fn with_clippy(check: Cmd) -> Cmd {
    check
        .env("RUSTC_WORKSPACE_WRAPPER", CLIPPY)
        .env("CLIPPY_ARGS", "-Dwarnings__CLIPPY_HACKERY__")
}

pub(super) fn cargo(subcommand: &str) -> Cmd {
    Cmd::cargo(subcommand)
        .env("RUSTC", RUSTC)
        // aya-ebpf uses features that are unstable on this target (inline assembly among them); Debian's compiler is a
        // stable one, which has to be told.
        .env("RUSTC_BOOTSTRAP", "1")
}
