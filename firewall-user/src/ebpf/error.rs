// SPDX-License-Identifier: GPL-3.0-or-later
//! What can go wrong with the eBPF layer, named by the act that failed, with the cure where known.

use std::{error::Error, io, path::PathBuf};

use aya::maps::MapError;

/// An error of the eBPF layer. Nothing is enforced by half: whoever gets one has no [`super::Attached`].
#[derive(Debug, thiserror::Error)]
pub enum EbpfError {
    /// The object could not be read, or the kernel did not take its maps or its types.
    #[error("cannot {act} the eBPF object{}", hint(source.as_ref()))]
    Object {
        /// What was being done to it.
        act: &'static str,
        /// Why not.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The kernel did not take the object's types.
    #[error("cannot load the types of the eBPF object{}\n{log}", hint(source))]
    Types {
        /// What the kernel said.
        source: io::Error,
        /// The end of what it said of the types.
        log: String,
    },
    /// The kernel did not take a program.
    #[error("cannot load the eBPF program {name}{}\n{log}", hint(source))]
    Program {
        /// Name of the program.
        name: &'static str,
        /// What the kernel said.
        source: io::Error,
        /// The end of what its verifier said.
        log: String,
    },
    /// A program or map that this version needs is not in the object.
    #[error("the eBPF object has no {name}: it is not the one that belongs to this keyward")]
    Missing {
        /// Name of the program or map.
        name: &'static str,
    },
    /// A program could not be attached to the cgroup.
    #[error("cannot attach the eBPF program {name} to the cgroup{}", hint(source))]
    Attach {
        /// Name of the program.
        name: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A link could not be pinned.
    #[error("cannot pin the eBPF link {}", path.display())]
    Pin {
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The directory for the pins could not be made, read or removed.
    #[error("cannot {act} {}", path.display())]
    PinDirectory {
        /// "make", "read" or "remove".
        act: &'static str,
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// What the kernel shows after attaching could not be read.
    #[error("cannot read back the eBPF link {name}")]
    ReadBack {
        /// Name of the program.
        name: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel shows something else than what was attached.
    #[error(
        "the eBPF program {name} is not attached to the cgroup: the link is to program {pinned}, the kernel runs {attached:?}"
    )]
    NotAttached {
        /// Name of the program.
        name: &'static str,
        /// Id of the program behind the pinned link.
        pinned: u32,
        /// Ids of the programs that the kernel runs there.
        attached: Vec<u32>,
    },
    /// A map could not be used.
    #[error("cannot use the eBPF map {name}")]
    Map {
        /// Name of the map.
        name: &'static str,
        /// What the kernel said.
        source: Box<MapError>,
    },
    /// There is no BPF file system and none could be mounted.
    #[error("cannot mount the BPF file system on {}{}", path.display(), mount_hint(source))]
    Bpffs {
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The cure, by the errno at the end of a chain of sources.
fn hint(error: &(dyn Error + 'static)) -> &'static str {
    let mut next = Some(error);
    while let Some(error) = next {
        let errno = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error);
        match errno.map(rustix::io::Errno::from_raw_os_error) {
            Some(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS) => {
                return " (hint: run keyward as root; a container needs CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN)";
            }
            Some(
                rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP,
            ) => {
                return " (hint: keyward needs Linux 6.1 or later with CONFIG_CGROUP_BPF)";
            }
            Some(_) | None => next = error.source(),
        }
    }
    ""
}

fn mount_hint(error: &io::Error) -> &'static str {
    if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) {
        " (hint: this kernel has no BPF file system; keyward needs CONFIG_BPF_SYSCALL)"
    } else {
        hint(error)
    }
}
