// SPDX-License-Identifier: GPL-3.0-or-later
//! Landlock: what the workload may reach, judged by the kernel where it is reached, whatever namespaces it is in.
//!
//! A second fence. Signals and abstract sockets end at the pid and the network namespace; writing ends at the mounts.
//!
//! A domain that judges any access to files forbids `mount(2)` to everybody in it, so that no file can be moved out from
//! under its rules. That would be the end of bubblewrap, of browsers' and of Codex's own sandbox. So files are judged
//! with `--no-userns` alone, where nobody can mount in any case.
//!
//! Ports are not judged: what the workload connects to is where the kernel redirects it, after Landlock was asked about
//! the port that it named, and it may name any.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd,
    Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
};

use super::seccomp::UserNamespaces;
use crate::features::{self, Degraded, Feature, Lacking};

/// The newest interface whose rights were looked at for what they mean here.
const NEWEST: ABI = ABI::V10;

/// Devices and what processes tell of themselves; what may be done there is for their own permissions to say.
const ALWAYS_WRITABLE: &[&str] = &["/dev", "/proc"];

/// What is restricted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restrictions {
    /// Signals and abstract sockets reach nobody outside (Linux 6.12).
    pub scoped: bool,
    /// Nothing can be written to but what lies below these. `None`: wherever the mounts permit.
    pub writable: Option<Vec<PathBuf>>,
}

impl Restrictions {
    /// What is to be restricted: all that can be, as far as this kernel has it or the run may do without.
    ///
    /// `writable` is where the mounts let the command write.
    ///
    /// # Errors
    ///
    /// Something is lacking and nobody allowed that.
    pub fn for_run(
        user_namespaces: UserNamespaces,
        writable: Vec<PathBuf>,
        allowed: &Degraded,
    ) -> Result<Self, Lacking> {
        let there = features::landlock();
        let decide = |wanted: Feature| {
            let is_there = there
                .iter()
                .any(|(it, is_there)| *it == wanted && *is_there);
            features::decide(wanted, is_there, allowed)
        };
        let judges_files = user_namespaces == UserNamespaces::Refused && decide(Feature::Landlock)?;
        Ok(Self {
            scoped: decide(Feature::LandlockScope)?,
            writable: judges_files.then_some(writable),
        })
    }
}

/// Puts the restrictions in force for the calling process and all that come of it. `no_new_privs` must be set.
///
/// What is asked for must be there: [`crate::features`] has looked before. Of the rights to write, those that the
/// kernel knows are taken.
pub fn apply(restrictions: &Restrictions) -> Result<()> {
    if *restrictions == Restrictions::default() {
        return Ok(());
    }
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    if restrictions.scoped {
        ruleset = ruleset.scope(Scope::from_all(ABI::V6))?;
    }
    if restrictions.writable.is_some() {
        ruleset = ruleset.handle_access(AccessFs::from_write(ABI::V2))?;
        ruleset = ruleset
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_write(NEWEST))?;
    }
    let mut ruleset = ruleset
        .create()
        .context("cannot make a Landlock rule set")?;
    if let Some(writable) = &restrictions.writable {
        let always = ALWAYS_WRITABLE.iter().map(Path::new);
        for path in writable.iter().map(PathBuf::as_path).chain(always) {
            ruleset = ruleset
                .add_rule(rule(path)?)
                .with_context(|| format!("cannot let {} be written to", path.display()))?;
        }
    }
    let status = ruleset
        .no_new_privs(false)
        .restrict_self()
        .context("cannot put the Landlock rules in force")?;
    ensure!(
        status.ruleset != RulesetStatus::NotEnforced,
        "the Landlock rules are not in force"
    );
    Ok(())
}

fn rule(path: &Path) -> Result<PathBeneath<PathFd>> {
    let rights: BitFlags<AccessFs> = if path.is_dir() {
        AccessFs::from_write(NEWEST)
    } else {
        AccessFs::from_write(NEWEST) & AccessFs::from_file(NEWEST)
    };
    let opened = PathFd::new(path).with_context(|| format!("cannot open {}", path.display()))?;
    Ok(PathBeneath::new(opened, rights))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
    use std::thread;

    use nix::sys::signal::kill;
    use nix::unistd::getppid;

    use super::*;

    /// A domain cannot be left, so it is entered by a thread that ends with the test.
    fn restricted<T: Send>(restrictions: &Restrictions, act: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                rustix::thread::set_no_new_privs(true).unwrap();
                apply(restrictions).unwrap();
                act()
            });
            worker.join().unwrap()
        })
    }

    #[test]
    fn scopes_end_at_the_domain() {
        let name = format!("keyward-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let _listener = UnixListener::bind_addr(&address).unwrap();
        let reach = || {
            (
                UnixStream::connect_addr(&address).is_ok(),
                kill(getppid(), None).is_ok(),
            )
        };
        assert_eq!(restricted(&Restrictions::default(), reach), (true, true));
        let scoped = Restrictions {
            scoped: true,
            writable: None,
        };
        assert_eq!(restricted(&scoped, reach), (false, false));
    }

    #[test]
    fn only_what_is_writable_is_written_to() {
        let [open, shut] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let write = || {
            [open.path(), shut.path()].map(|directory| {
                let file = directory.join("file");
                fs::write(&file, "text").is_ok() && fs::read(&file).is_ok()
            })
        };
        assert_eq!(restricted(&Restrictions::default(), write), [true, true]);
        fs::write(shut.path().join("read"), "text").unwrap();
        let restrictions = Restrictions {
            scoped: false,
            writable: Some(vec![open.path().to_owned()]),
        };
        let read = || (write(), fs::read(shut.path().join("read")).is_ok());
        assert_eq!(restricted(&restrictions, read), ([true, false], true));
    }
}
