// SPDX-License-Identifier: GPL-3.0-or-later
//! The checks: each asks the kernel, none changes anything outside a namespace of its own.

use std::path::Path;
use std::thread;

use anyhow::{Result, anyhow};
use keyward_proxy::provider::Providers;
use nix::sched::{CloneFlags, unshare};
use nix::sys::utsname::uname;
use rustix::mount::{FsOpenFlags, fsopen};
use rustix::thread::{CapabilitySet, capabilities};

use crate::features::{self, Feature};
use crate::sandbox::seccomp::{self, UserNamespaces};
use crate::{cgroup, ebpf, endpoints, nft, runs, sys};

/// The oldest kernel that keyward runs on: the first with a long-term series in which everything is there that it
/// uses (`CLONE_INTO_CGROUP` 5.7, `mount_setattr` 5.12, `cgroup.kill` 5.14, map look-ups without `CAP_BPF` 5.19).
const OLDEST_KERNEL: (u32, u32) = (6, 1);

/// One thing that keyward needs.
#[derive(Debug)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// How it is here.
    pub finding: Finding,
}

/// How something is on this host.
#[derive(Debug)]
pub enum Finding {
    /// It is there; a detail worth telling.
    Present(String),
    /// It is not.
    Missing {
        /// What was found in its place.
        found: String,
        /// What to do.
        remedy: &'static str,
    },
    /// It is not, and the next run sets it right by itself.
    Untidy {
        /// What was found.
        found: String,
        /// How to do it now.
        remedy: &'static str,
    },
    /// It is not, and a run can do without if it is told to.
    Lacking {
        /// What.
        feature: Feature,
        /// What was found in its place.
        found: String,
    },
}

/// Runs every check.
pub(super) fn all() -> Vec<Check> {
    let check = |name, finding| Check { name, finding };
    [
        check("kernel", kernel()),
        check("capabilities", privileges()),
        check("cgroup v2", cgroup_v2()),
        check("bpffs", bpffs()),
        check("BTF", btf()),
        check("eBPF", programs()),
        check("nf_tables", nf_tables()),
        check("overlayfs", overlayfs()),
        check("leftovers", leftovers()),
    ]
    .into_iter()
    .chain(features())
    .collect()
}

fn from_result(result: Result<String>, remedy: &'static str) -> Finding {
    match result {
        Ok(detail) => Finding::Present(detail),
        Err(error) => Finding::Missing {
            found: format!("{error:#}").replace('\n', " "),
            remedy,
        },
    }
}

fn kernel() -> Finding {
    let release = uname()
        .map(|it| it.release().to_string_lossy().into_owned())
        .unwrap_or_default();
    let (major, minor) = OLDEST_KERNEL;
    if parse_release(&release).is_some_and(|version| version >= OLDEST_KERNEL) {
        return Finding::Present(format!("{release} ({major}.{minor} or later is needed)"));
    }
    Finding::Missing {
        found: format!("{release}; {major}.{minor} or later is needed"),
        remedy: "run a newer kernel",
    }
}

fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn privileges() -> Finding {
    let needed = [
        ("CAP_SYS_ADMIN", CapabilitySet::SYS_ADMIN),
        ("CAP_NET_ADMIN", CapabilitySet::NET_ADMIN),
        ("CAP_SETUID", CapabilitySet::SETUID),
        ("CAP_SETGID", CapabilitySet::SETGID),
        ("CAP_SETPCAP", CapabilitySet::SETPCAP),
        ("CAP_KILL", CapabilitySet::KILL),
    ];
    let held = capabilities(None)
        .map(|sets| sets.effective)
        .unwrap_or(CapabilitySet::empty());
    let lacking: Vec<_> = needed
        .iter()
        .filter(|(_, it)| !held.contains(*it))
        .map(|(name, _)| *name)
        .collect();
    if lacking.is_empty() {
        return Finding::Present("root's".to_owned());
    }
    Finding::Missing {
        found: format!("without {}", lacking.join(", ")),
        remedy: "sudo keyward doctor",
    }
}

fn cgroup_v2() -> Finding {
    let found = cgroup::find_hierarchy().map(|path| format!("mounted at {}", path.display()));
    from_result(
        found.map_err(|_it| anyhow!("not mounted")),
        "mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified",
    )
}

fn bpffs() -> Finding {
    match ebpf::is_bpffs(Path::new(ebpf::BPFFS)) {
        Ok(true) => Finding::Present("mounted at /sys/fs/bpf".to_owned()),
        Ok(false) | Err(_) => Finding::Untidy {
            found: "not mounted at /sys/fs/bpf".to_owned(),
            remedy: "keyward run mounts it when it needs it; or now: keyward doctor --fix",
        },
    }
}

fn btf() -> Finding {
    let path = "/sys/kernel/btf/vmlinux";
    if Path::new(path).exists() {
        return Finding::Present(path.to_owned());
    }
    Finding::Missing {
        found: format!("no {path}"),
        remedy: "run a kernel built with CONFIG_DEBUG_INFO_BTF=y",
    }
}

fn programs() -> Finding {
    let loaded = ebpf::load(&endpoints::for_run(
        endpoints::DEFAULT_ADDRESS,
        endpoints::Doors::Closed,
        &Providers::builtin(),
    ));
    from_result(
        loaded
            .map(|_programs| "the programs pass this kernel's verifier".to_owned())
            .map_err(Into::into),
        "run as root, on a kernel with CONFIG_CGROUP_BPF=y",
    )
}

/// In a network namespace of its own, so that nothing of the host's is touched.
fn nf_tables() -> Finding {
    let attempt = thread::spawn(|| -> Result<String> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        let _rules = nft::apply(&nft::Ruleset::for_workload(&endpoints::for_run(
            endpoints::DEFAULT_ADDRESS,
            endpoints::Doors::Closed,
            &Providers::builtin(),
        )))?;
        Ok("the rules can be applied and read back".to_owned())
    });
    let result = attempt
        .join()
        .unwrap_or_else(|_panic| Err(anyhow!("the check itself failed")));
    from_result(
        result,
        "run as root; modprobe nf_tables, or a kernel with CONFIG_NF_TABLES_INET=y",
    )
}

/// By opening the file system, as a run does when it mounts one: where it is a module, the kernel loads it then, and
/// before that `/proc/filesystems` does not know it.
fn overlayfs() -> Finding {
    let opened = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC);
    from_result(
        opened
            .map(|_context| "it can be mounted".to_owned())
            .map_err(Into::into),
        "run as root; modprobe overlay, or a kernel with CONFIG_OVERLAY_FS",
    )
}

/// What a run can do without where it was told so.
fn features() -> Vec<Check> {
    let landlock = features::landlock();
    let abi = sys::landlock::abi().unwrap_or(0);
    let check = |feature: Feature| {
        let found = match feature {
            Feature::Landlock | Feature::LandlockScope => landlock
                .iter()
                .any(|(it, is_there)| *it == feature && *is_there)
                .then(|| format!("Landlock ABI {abi}"))
                .ok_or_else(|| format!("Landlock ABI {abi}")),
            Feature::SeccompNotify => seccomp_notify(),
            Feature::CgroupLimits => controllers(),
        };
        Check {
            name: feature.name(),
            finding: match found {
                Ok(detail) => Finding::Present(detail),
                Err(found) => Finding::Lacking { feature, found },
            },
        }
    };
    Feature::all().iter().copied().map(check).collect()
}

/// On a thread that ends with it: a filter cannot be taken off.
fn seccomp_notify() -> Result<String, String> {
    let attempt = thread::spawn(|| -> Result<()> {
        rustix::thread::set_no_new_privs(true)?;
        seccomp::apply(&seccomp::compile(UserNamespaces::Allowed)?).map(drop)
    });
    match attempt.join() {
        Ok(Ok(())) => Ok("a filter can ask the supervisor".to_owned()),
        Ok(Err(error)) => Err(error.root_cause().to_string()),
        Err(_panic) => Err("the check itself failed".to_owned()),
    }
}

fn controllers() -> Result<String, String> {
    let hierarchies = cgroup::Hierarchies::find().map_err(|error| error.to_string())?;
    let limits = cgroup::Limits {
        memory: Some(1),
        pids: Some(1),
        cpu: Some(1),
    };
    let names = |controllers: &[cgroup::Controller]| {
        let names: Vec<_> = controllers.iter().map(|it| it.name()).collect();
        names.join(", ")
    };
    match &limits.missing(&hierarchies)[..] {
        [] => Ok(names(&cgroup::Controller::ALL)),
        missing => Err(format!("no controller {}", names(missing))),
    }
}

fn leftovers() -> Finding {
    let dead = cgroup::Hierarchies::find()
        .map(|hierarchies| runs::dead(&hierarchies))
        .unwrap_or_default();
    if dead.is_empty() {
        return Finding::Present("none".to_owned());
    }
    Finding::Untidy {
        found: format!("of killed runs: {}", dead.join(", ")),
        remedy: "the next run clears them away; or now: keyward doctor --fix",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_as_numbers() {
        assert_eq!(parse_release("6.18.44-generic"), Some((6, 18)));
        assert_eq!(parse_release("5.10-rc1"), Some((5, 10)));
        assert_eq!(parse_release("odd"), None);
        assert!(parse_release("10.0.0") > Some(OLDEST_KERNEL));
        assert!(parse_release("5.19.1") < Some(OLDEST_KERNEL));
    }
}
