// SPDX-License-Identifier: MIT OR Apache-2.0
//! The toolchain that compiles eBPF programs: a Rust compiler that has `core` for the BPF target, and a linker.
//!
//! Rust's stable channel ships neither. Two ways are supported, and the first that is there is taken:
//!
//! 1. Debian's `rustc-web` with `libstd-rust-web-dev-bpf`, a ready-made `core`. Nothing but Debian packages.
//! 2. rustup's nightly with `rust-src`, from which cargo compiles `core` itself.
//!
//! Where neither is there, the first is installed. The linker, `bpf-linker`, is compiled once against the system's
//! LLVM, into the workspace's own target directory: nothing below the user's home is touched.

mod debian;
mod linker;
mod nightly;
pub(crate) mod strip;

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::command::Cmd;
use crate::packages;
use crate::workspace::Workspace;

/// The target that the eBPF crate is compiled for.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// The oldest compiler that the workspace accepts, as its manifest says.
const MINIMUM_RUST: (u32, u32) = (1, 95);

/// A compiler and a linker that work together.
pub(crate) struct Toolchain {
    compiler: Compiler,
    linker: PathBuf,
}

/// A compiler that can make BPF bitcode.
pub(crate) struct Compiler {
    kind: Kind,
    version: Version,
}

/// Where `core` comes from decides how cargo is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Debian,
    Nightly,
}

/// What `rustc -vV` says of itself.
#[derive(Debug, PartialEq, Eq)]
struct Version {
    rust: (u32, u32),
    llvm: u32,
}

impl Toolchain {
    /// Finds a toolchain, or installs one.
    ///
    /// # Errors
    ///
    /// None is there and none can be installed: one line says what is missing and how to get it.
    pub(crate) fn find_or_install(workspace: &Workspace) -> Result<Self> {
        let compiler = match Compiler::find(workspace)? {
            Some(compiler) => compiler,
            None => Compiler::install(workspace)?,
        };
        let linker = linker::find_or_install(&compiler, workspace)?;
        Ok(Self { compiler, linker })
    }

    /// `cargo build` of the eBPF crate.
    pub(crate) fn build(&self, workspace: &Workspace) -> Cmd {
        self.cargo("build", workspace)
    }

    /// clippy for the eBPF crate, warnings denied.
    ///
    /// # Errors
    ///
    /// The compiler has no clippy of its own version, and none can be installed.
    pub(crate) fn clippy(&self, workspace: &Workspace) -> Result<Cmd> {
        match self.compiler.kind {
            Kind::Debian => {
                debian::ensure_clippy(workspace)?;
                Ok(debian::with_clippy(self.cargo("check", workspace)))
            }
            Kind::Nightly => Ok(self
                .cargo("clippy", workspace)
                .args(["--", "-D", "warnings"])),
        }
    }

    /// `cargo SUBCOMMAND` for the eBPF crate.
    fn cargo(&self, subcommand: &str, workspace: &Workspace) -> Cmd {
        self.compiler
            .cargo(subcommand)
            .args([
                "--package",
                "firewall-ebpf",
                "--target",
                TARGET,
                "--profile",
                "ebpf",
            ])
            .arg("--target-dir")
            .arg(workspace.ebpf().join("cargo"))
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &self.linker)
            // BTF tells the kernel and aya the types of maps and functions. The caller's own flags are meant for the
            // host, and are replaced.
            .env("RUSTFLAGS", rustflags(workspace))
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
    }
}

impl Compiler {
    fn find(workspace: &Workspace) -> Result<Option<Self>> {
        Ok(match debian::find(workspace)? {
            Some(compiler) => Some(compiler),
            None => nightly::find(workspace)?,
        })
    }

    fn install(workspace: &Workspace) -> Result<Self> {
        println!(
            "No eBPF toolchain is here: installing Debian's {} (a Rust compiler with `core` for BPF)",
            debian::PACKAGES.join(" and ")
        );
        packages::install(debian::PACKAGES, workspace).with_context(missing)?;
        match debian::find(workspace)? {
            Some(compiler) => Ok(compiler),
            None => bail!("{}", missing()),
        }
    }

    fn cargo(&self, subcommand: &str) -> Cmd {
        match self.kind {
            Kind::Debian => debian::cargo(subcommand),
            Kind::Nightly => nightly::cargo(subcommand),
        }
    }
}

/// `--btf` for the linker, and other names for the places of the build machine: BTF names source files.
fn rustflags(workspace: &Workspace) -> String {
    let (home, own) = match workspace.identity().builder() {
        Some(builder) => (Some(builder.home.clone()), false),
        None => (env::var_os("HOME").map(PathBuf::from), true),
    };
    let variable = |name| env::var_os(name).filter(|_| own).map(PathBuf::from);
    // Of several that fit a path, the last one counts.
    let places = [
        (home, "home"),
        (variable("RUSTUP_HOME"), "rustup"),
        (variable("CARGO_HOME"), "cargo"),
        (Some(workspace.root().to_owned()), "keyward"),
    ];
    let mut flags = String::from("-Clink-arg=--btf");
    for (place, name) in places {
        if let Some(place) = place {
            flags.push_str(" --remap-path-prefix=");
            flags.push_str(&place.to_string_lossy());
            flags.push('=');
            flags.push_str(name);
        }
    }
    flags
}

fn missing() -> String {
    format!(
        "keyward's eBPF programs need a Rust compiler with `core` for BPF: on Debian 12 and later install {} from the \
         security suite, elsewhere run `rustup toolchain install nightly --component rust-src`",
        debian::PACKAGES.join(" and ")
    )
}

impl Version {
    /// Reads the output of `rustc -vV`.
    fn parse(text: &str) -> Option<Self> {
        let field = |name| text.lines().find_map(|line: &str| line.strip_prefix(name));
        let mut release = field("release: ")?.split('.');
        let rust = (release.next()?.parse().ok()?, release.next()?.parse().ok()?);
        let llvm = field("LLVM version: ")?.split('.').next()?.parse().ok()?;
        Some(Self { rust, llvm })
    }

    fn is_new_enough(&self) -> bool {
        self.rust >= MINIMUM_RUST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_says_its_version_and_its_llvm() {
        let text =
            "rustc 1.96.0 (ac68faa20 2026-05-25)\nrelease: 1.96.0-nightly\nLLVM version: 22.1.8\n";
        assert_eq!(
            Version::parse(text),
            Some(Version {
                rust: (1, 96),
                llvm: 22
            })
        );
        assert_eq!(Version::parse("rustc 1.96.0"), None);
    }

    #[test]
    fn an_older_compiler_is_refused() {
        assert!(
            !Version {
                rust: (1, 94),
                llvm: 22
            }
            .is_new_enough()
        );
        assert!(
            Version {
                rust: (1, 95),
                llvm: 22
            }
            .is_new_enough()
        );
        assert!(
            Version {
                rust: (2, 0),
                llvm: 22
            }
            .is_new_enough()
        );
    }
}
