// SPDX-License-Identifier: MIT OR Apache-2.0
//! The second disk: the binaries under test, the test binaries, and what they are to do.
//!
//! Tests find programs beside themselves and data by the path that they were compiled at, so the guest sees the
//! workspace where it is on the machine that built it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::image::Kernel;
use super::suite::Suite;
use crate::command::Cmd;
use crate::test::kernel::{PACKAGE, TestBinary};
use crate::workspace::Workspace;

const RUN: &str = include_str!("guest/run.sh");

/// What is tested: as it is installed, from the release's build.
const PROGRAMS: [&str; 2] = ["keyward", "keyward-proxy"];

/// What tests need beside that and themselves.
const HELPERS: [&str; 2] = ["keyward-demo", "lab-helper"];

/// Room on the disk. What is not used takes none of the machine's.
const SIZE: &str = "4G";

/// What a guest is to do.
#[derive(Clone, Copy)]
pub(super) enum Mode {
    Suites,
    Power { resets: u32 },
    Shell,
}

/// A disk that was made.
pub(super) struct Disk {
    name: &'static str,
    path: PathBuf,
}

impl Disk {
    /// What its guest is to do, in a word.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// See the module.
pub(super) struct Payload<'a> {
    binaries: Vec<TestBinary>,
    workspace: &'a Workspace,
}

impl<'a> Payload<'a> {
    pub(super) fn new(binaries: Vec<TestBinary>, workspace: &'a Workspace) -> Self {
        Self {
            binaries,
            workspace,
        }
    }

    /// A disk for a guest with this kernel that runs these suites.
    pub(super) fn make(
        &self,
        kernel: &Kernel,
        mode: Mode,
        suites: &[Suite],
        filter: Option<&str>,
    ) -> Result<Disk> {
        let own = self.workspace.vm().join("guests").join(&kernel.release);
        let directory = own.join("payload");
        let tree = directory.join("workspace");
        let deps = tree.join("target/debug/deps");
        Cmd::new("rm")
            .arg("-rf")
            .arg(&directory)
            .quiet()
            .run(self.workspace)?;
        self.workspace.make_directory(&deps)?;
        self.sources(&tree)?;
        let debug = self.workspace.target().join("debug");
        let programs = PROGRAMS.map(|it| (it, self.workspace.release_binary(it)));
        let helpers = HELPERS.map(|it| (it, debug.join(it)));
        for (name, built) in programs.into_iter().chain(helpers) {
            // Where the tests look: beside themselves.
            self.strip(&built, &tree.join("target/debug").join(name))?;
        }
        let mut tests = String::new();
        for binary in &self.binaries {
            let suite = Suite::of(&binary.name);
            if suites.contains(&suite) {
                self.strip(&binary.path, &deps.join(&binary.name))?;
                let arguments = suite.arguments().iter().copied().chain(filter);
                writeln!(
                    tests,
                    "{0} target/debug/deps/{0} {1}",
                    binary.name,
                    arguments.collect::<Vec<_>>().join(" ")
                )?;
            }
        }
        if suites.contains(&Suite::Escape) {
            let only = filter.map_or_else(String::new, |id| format!(" --id {id}"));
            writeln!(
                tests,
                "{} target/debug/keyward selftest{only}",
                Suite::Escape
            )?;
        }
        let name = match mode {
            Mode::Suites => "suites",
            Mode::Power { .. } => "power",
            Mode::Shell => "shell",
        };
        let resets = match mode {
            Mode::Power { resets } => resets,
            Mode::Suites | Mode::Shell => 0,
        };
        let root = self.workspace.root().display();
        let job = format!("WORKSPACE='{root}'\nMODE={name}\nRESETS={resets}\n");
        self.workspace.write(&directory.join("job"), job)?;
        self.workspace.write(&directory.join("tests"), tests)?;
        self.workspace.write(&directory.join("run.sh"), RUN)?;
        let path = own.join("payload.img");
        Cmd::new("rm")
            .arg("-f")
            .arg(&path)
            .quiet()
            .run(self.workspace)?;
        Cmd::new("mke2fs")
            .args(["-q", "-t", "ext4", "-E", "root_owner=0:0", "-d"])
            .args([&directory, &path])
            .arg(SIZE)
            .run(self.workspace)?;
        Ok(Disk { name, path })
    }

    /// Scripts and data of the tests.
    fn sources(&self, tree: &Path) -> Result<()> {
        let files = Cmd::new("git")
            .args([
                "ls-files",
                "--cached",
                "--others",
                "--exclude-standard",
                "--",
            ])
            .arg(PACKAGE)
            .quiet()
            .read(self.workspace)?;
        for file in files.lines() {
            let (from, to) = (self.workspace.root().join(file), tree.join(file));
            if let Some(directory) = to.parent() {
                self.workspace.make_directory(directory)?;
            }
            std::fs::copy(&from, &to).with_context(|| format!("copying {}", from.display()))?;
        }
        Ok(())
    }

    /// Copies a binary without its debug information, which is most of it.
    fn strip(&self, from: &Path, to: &Path) -> Result<()> {
        Cmd::new("strip")
            .args(["--strip-debug", "-o"])
            .args([to, from])
            .quiet()
            .run(self.workspace)
    }
}
