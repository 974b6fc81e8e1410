// SPDX-License-Identifier: MIT OR Apache-2.0
//! The system that all guests have, and the kernels that they boot: made once, and kept in target/vm.
//!
//! The system is the machine's own release of Debian, so that what is built here runs there. Its disk has the modules
//! of every kernel; what a machine boots from lies beside it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::archive::{Archive, version};
use crate::command::Cmd;
use crate::workspace::Workspace;

/// The series that are always there: of the oldest kernel that keyward supports, and of the one that Debian's current
/// release has.
const SERIES: [&str; 2] = ["6.1", "6.12"];

const PACKAGES: &str = include_str!("image/packages.txt");
const SETUP: &str = include_str!("image/setup.sh");
const CUSTOMIZE: &str = include_str!("image/customize.sh");
const UNIT: &str = include_str!("guest/keyward-guest.service");

/// Room on the guest's disk. What is not used takes none of the machine's.
const SIZE: &str = "6G";

/// See the module.
pub(super) struct Image {
    directory: PathBuf,
    /// Oldest first.
    kernels: Vec<Kernel>,
}

/// A kernel that guests can boot.
pub(super) struct Kernel {
    /// As `uname -r` says it.
    pub(super) release: String,
}

impl Image {
    /// The image in target/vm, made if it is not there or if it was made from something else than would be now.
    pub(super) fn find_or_make(fresh: bool, workspace: &Workspace) -> Result<Self> {
        let directory = workspace.vm();
        let recipe = directory.join("recipe");
        let now = [PACKAGES, SETUP, CUSTOMIZE, UNIT].join("\n");
        if fresh || fs::read_to_string(&recipe).ok().as_ref() != Some(&now) {
            make(&directory, workspace)?;
            workspace.write(&recipe, now)?;
        }
        let boot = directory.join("boot");
        let mut kernels = Vec::new();
        for entry in fs::read_dir(&boot).with_context(|| format!("reading {}", boot.display()))? {
            let release = entry?.file_name().to_string_lossy().into_owned();
            kernels.push(Kernel { release });
        }
        kernels.sort_by_key(|it| version(&it.release));
        Ok(Self { directory, kernels })
    }

    /// The kernels of these series, or all of them, oldest first.
    pub(super) fn choose(&self, series: &[String]) -> Result<Vec<&Kernel>> {
        for one in series {
            ensure!(
                self.kernels.iter().any(|it| is_of(&it.release, one)),
                "no kernel of {one} is at hand, but {}",
                self.kernels
                    .iter()
                    .map(|it| it.release.as_str())
                    .collect::<Vec<_>>()
                    .join(", ")
            );
        }
        let chosen =
            |it: &&Kernel| series.is_empty() || series.iter().any(|one| is_of(&it.release, one));
        Ok(self.kernels.iter().filter(chosen).collect())
    }

    /// The disk, which is only ever read.
    pub(super) fn disk(&self) -> PathBuf {
        self.directory.join("root.img")
    }

    /// A file that `kernel` boots from.
    pub(super) fn boot(&self, kernel: &Kernel, file: &str) -> PathBuf {
        self.directory.join("boot").join(&kernel.release).join(file)
    }
}

fn is_of(release: &str, series: &str) -> bool {
    release
        .strip_prefix(series)
        .is_some_and(|rest| !rest.starts_with(|it: char| it.is_ascii_digit()))
}

fn make(directory: &Path, workspace: &Workspace) -> Result<()> {
    println!("making the guests' system: some minutes, once");
    let archive = Archive::open(&directory.join("apt"), workspace)?;
    let (root, packages, boot) = (
        directory.join("root"),
        directory.join("kernels"),
        directory.join("boot"),
    );
    remove(&[&root, &packages, &boot], workspace)?;
    for release in newest_of_each(archive.kernels()?)? {
        archive.download(&release, &packages.join(&release))?;
    }
    workspace.make_directory(&boot)?;
    let script = |name: &str, text: &str| -> Result<PathBuf> {
        let path = directory.join(name);
        workspace.write(&path, text)?;
        Ok(path)
    };
    let unit = script("keyward-guest.service", UNIT)?;
    let (setup, customize) = (
        script("setup.sh", SETUP)?,
        script("customize.sh", CUSTOMIZE)?,
    );
    let hook = |phase: &str, path: &Path| format!("--{phase}-hook=sh {} \"$1\"", path.display());
    let include: Vec<&str> = PACKAGES.lines().filter_map(package).collect();
    Cmd::new("mmdebstrap")
        .args(["--quiet", "--mode=root", "--variant=minbase"])
        .args([
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/man/*",
        ])
        .arg(format!("--include={}", include.join(",")))
        .arg(hook("setup", &setup))
        .arg(hook("customize", &customize))
        .arg(archive.codename())
        .arg(&root)
        .arg(archive.sources())
        .env("KERNELS", &packages)
        .env("BOOT", &boot)
        .env("UNIT", &unit)
        .with_root()
        .run(workspace)?;
    let disk = directory.join("root.img");
    remove(&[&disk], workspace)?;
    Cmd::new("mke2fs")
        .args(["-q", "-t", "ext4", "-d"])
        .args([&root, &disk])
        .arg(SIZE)
        .with_root()
        .run(workspace)?;
    remove(&[&root, &packages], workspace)
}

/// The newest release of each series, and the newest of all.
fn newest_of_each(mut releases: Vec<String>) -> Result<Vec<String>> {
    releases.sort_by_key(|it| version(it));
    let mut chosen = Vec::new();
    for series in SERIES {
        let newest = releases.iter().rfind(|it| is_of(it, series));
        chosen.push(
            newest
                .with_context(|| format!("Debian has no kernel of {series} any more"))?
                .clone(),
        );
    }
    if let Some(newest) = releases.pop().filter(|it| !chosen.contains(it)) {
        chosen.push(newest);
    }
    Ok(chosen)
}

/// The package that a line of packages.txt names.
fn package(line: &str) -> Option<&str> {
    line.split_whitespace().next().filter(|it| *it != "#")
}

/// Root made them. Were something of this machine's still mounted below one of them, it would stay.
fn remove(paths: &[&Path], workspace: &Workspace) -> Result<()> {
    Cmd::new("rm")
        .args(["-rf", "--one-file-system"])
        .args(paths)
        .with_root()
        .run(workspace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_each_series_and_of_all_are_chosen() {
        let releases = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let all = releases(&[
            "6.1.0-9-amd64",
            "7.3.4+deb13-amd64",
            "6.12.117+deb12-amd64",
            "6.1.0-56-amd64",
            "6.12.9+deb12-amd64",
        ]);
        assert_eq!(
            newest_of_each(all).unwrap(),
            [
                "6.1.0-56-amd64",
                "6.12.117+deb12-amd64",
                "7.3.4+deb13-amd64"
            ]
        );
        assert!(newest_of_each(releases(&["6.12.1-amd64"])).is_err());
    }

    #[test]
    fn a_series_is_not_the_beginning_of_another() {
        assert!(is_of("6.1.0-56-amd64", "6.1"));
        assert!(!is_of("6.12.117-amd64", "6.1"));
    }

    #[test]
    fn a_line_names_a_package_unless_it_is_a_comment() {
        assert_eq!(package("gcc   compiles"), Some("gcc"));
        assert_eq!(package("# What"), None);
        assert_eq!(package(""), None);
    }
}
