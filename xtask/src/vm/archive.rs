// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian's archive as this machine's apt knows it, with the suites that have other kernels: looked at by an apt of its
//! own lists, so that the machine's configuration stays as it is.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::command::Cmd;
use crate::workspace::Workspace;

/// The suites that have the kernels which the machine's own release may lack: the oldest, and the newest.
const KERNEL_SUITES: [&str; 2] = ["bookworm", "trixie-backports"];

/// The keys that Debian signs with.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// See the module.
pub(super) struct Archive<'a> {
    directory: PathBuf,
    codename: String,
    workspace: &'a Workspace,
}

impl<'a> Archive<'a> {
    /// Fetches the lists of packages anew.
    pub(super) fn open(directory: &Path, workspace: &'a Workspace) -> Result<Self> {
        let format = "$(ORIGIN)|$(LABEL)|$(REPO_URI)|$(CODENAME)|$(COMPONENT)";
        let known = Cmd::new("apt-get")
            .args(["indextargets", "--format", format, "Created-By: Packages"])
            .quiet()
            .read(workspace)?;
        let (codename, sources) = sources(&known)?;
        workspace.make_directory(&directory.join("lists/partial"))?;
        workspace.write(&directory.join("sources.list"), sources)?;
        workspace.write(&directory.join("apt.conf"), configuration(directory))?;
        let archive = Self {
            directory: directory.to_owned(),
            codename,
            workspace,
        };
        archive
            .apt("apt-get")
            .args(["-qq", "update"])
            .run(workspace)?;
        Ok(archive)
    }

    /// The name of the release that this machine is.
    pub(super) fn codename(&self) -> &str {
        &self.codename
    }

    /// Where packages come from, for the guest's own installation.
    pub(super) fn sources(&self) -> PathBuf {
        self.directory.join("sources.list")
    }

    /// The releases of all kernels that there are, as `uname -r` says them: signed, for any machine, without real time.
    pub(super) fn kernels(&self) -> Result<Vec<String>> {
        let found = self
            .apt("apt-cache")
            .args(["search", "--names-only", "^linux-image-[0-9].*-amd64$"])
            .read(self.workspace)?;
        let names = found.lines().filter_map(|line| line.split(' ').next());
        Ok(names.filter_map(release).map(str::to_owned).collect())
    }

    /// Downloads the packages that a kernel consists of: one, or since 7.2 several that bear its release in their names.
    pub(super) fn download(&self, release: &str, directory: &Path) -> Result<()> {
        let image = format!("linux-image-{release}");
        let depends = self
            .apt("apt-cache")
            .args(["depends", "--important", &image])
            .read(self.workspace)?;
        let parts = depends
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "))
            .filter(|name| name.starts_with("linux-") && name.ends_with(release));
        self.workspace.make_directory(directory)?;
        self.apt("apt-get")
            .args(["-qq", "download", &image])
            .args(parts)
            .current_dir(directory)
            .run(self.workspace)
    }

    fn apt(&self, program: &str) -> Cmd {
        Cmd::new(program).env("APT_CONFIG", self.directory.join("apt.conf"))
    }
}

/// What this apt does in another way than the machine's own, apt.conf(5).
fn configuration(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "APT::Sandbox::User \"\";\n\
         Dir::Etc::sourceparts \"-\";\n\
         Dir::Etc::sourcelist \"{directory}/sources.list\";\n\
         Dir::State::lists \"{directory}/lists\";\n\
         Dir::Cache \"{directory}\";\n\
         Dir::Cache::pkgcache \"\";\n\
         Dir::Cache::srcpkgcache \"\";\n"
    )
}

/// The machine's release, and lines for sources.list(5): what the machine has of Debian, and [`KERNEL_SUITES`] from the
/// same mirror.
fn sources(known: &str) -> Result<(String, String)> {
    let mut codename = None;
    let mut mirror = None;
    let mut suites = Vec::new();
    for line in known.lines() {
        let [origin, label, uri, suite, component] = line.split('|').collect::<Vec<_>>()[..] else {
            continue;
        };
        if origin != "Debian" || component != "main" {
            continue;
        }
        // The release itself, not its updates: those are named after it.
        if label == "Debian" && !suite.contains('-') {
            codename.get_or_insert(suite);
            mirror.get_or_insert(uri);
        }
        suites.push((uri, suite));
    }
    let hint = "`cargo xtask vm` takes kernels and system from Debian: this machine's apt knows no mirror of it";
    let (codename, mirror) = codename.zip(mirror).context(hint)?;
    for suite in KERNEL_SUITES {
        if !suites.iter().any(|(_, known)| *known == suite) {
            suites.push((mirror, suite));
        }
    }
    ensure!(
        Path::new(KEYRING).exists(),
        "{KEYRING} is missing: apt-get install debian-archive-keyring"
    );
    let mut text = String::new();
    for (uri, suite) in suites {
        writeln!(text, "deb [signed-by={KEYRING}] {uri} {suite} main")?;
    }
    Ok((codename.to_owned(), text))
}

/// The release that a package's name is of, unless it is a kernel for special machines.
fn release(package: &str) -> Option<&str> {
    let release = package.strip_prefix("linux-image-")?;
    let special = ["-cloud-", "-rt-"];
    let named = release.chars().next()?.is_ascii_digit() && version(release).len() > 2;
    (named && !special.iter().any(|it| release.contains(it))).then_some(release)
}

/// The numbers of a release, by which it is older or newer than another.
pub(super) fn version(release: &str) -> Vec<u32> {
    release
        .trim_end_matches("-amd64")
        .split(|it: char| !it.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_told_from_special_kernels_and_from_names_of_series() {
        for (package, expected) in [
            ("linux-image-6.1.0-56-amd64", Some("6.1.0-56-amd64")),
            (
                "linux-image-6.12.117+deb12-amd64",
                Some("6.12.117+deb12-amd64"),
            ),
            ("linux-image-6.12-amd64", None),
            ("linux-image-6.1.0-56-cloud-amd64", None),
            ("linux-image-6.1.0-56-rt-amd64", None),
            ("linux-image-amd64", None),
        ] {
            assert_eq!(release(package), expected, "{package}");
        }
    }

    #[test]
    fn releases_are_ordered_by_number() {
        let mut releases = [
            "6.12.117+deb12-amd64",
            "7.3.4+deb13-amd64",
            "6.1.0-56-amd64",
            "6.12.99+deb12-amd64",
            "6.1.0-9-amd64",
        ];
        releases.sort_by_key(|it| version(it));
        assert_eq!(
            releases,
            [
                "6.1.0-9-amd64",
                "6.1.0-56-amd64",
                "6.12.99+deb12-amd64",
                "6.12.117+deb12-amd64",
                "7.3.4+deb13-amd64"
            ]
        );
    }

    #[test]
    fn a_machine_without_debian_is_told_so() {
        assert!(sources("Ubuntu|Ubuntu|http://mirror.test/|noble|main\n").is_err());
    }

    #[test]
    fn the_machines_mirror_has_the_other_suites() {
        let known = "Debian|Debian|http://mirror.test/debian/|bookworm|main\n\
            Debian|Debian|http://mirror.test/debian/|bookworm-updates|main\n\
            Debian|Debian-Security|http://mirror.test/security/|bookworm-security|main\n\
            Else|Else|http://else.test/|bookworm|main\n";
        let (codename, sources) = sources(known).unwrap();
        assert_eq!(codename, "bookworm");
        let lines: Vec<&str> = sources
            .lines()
            .filter_map(|it| it.split_once("] "))
            .map(|(_, it)| it)
            .collect();
        assert_eq!(
            lines,
            [
                "http://mirror.test/debian/ bookworm main",
                "http://mirror.test/debian/ bookworm-updates main",
                "http://mirror.test/security/ bookworm-security main",
                "http://mirror.test/debian/ trixie-backports main",
            ]
        );
    }
}
