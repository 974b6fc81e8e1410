// SPDX-License-Identifier: GPL-3.0-or-later
//! The clients, from npm and PyPI, kept under `target/clients` from then on. "Newest" is therefore the newest at the
//! time of the first test; delete the directory to look again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use e2e::host::succeed;
use nix::sched::{CloneFlags, unshare};
use serde::Deserialize;

/// Where a client comes from.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub(crate) enum Package {
    /// A command, or without one a library for Node.
    Npm {
        /// With its tag: without one, npm would choose an old version that claims to suit an old Node.
        npm: String,
        command: Option<String>,
    },
    /// A library for Python.
    Pip { pip: String },
}

impl Package {
    /// Installs it if it is not there yet, and returns its directory. Call it where the network is: before the test
    /// enters its host.
    pub(crate) fn ensure(&self) -> PathBuf {
        // Tests are threads of one process; two installations of one client would meet.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);

        let name = match self {
            Self::Npm { npm, .. } => npm.replace(['@', '/'], "_"),
            Self::Pip { pip } => format!("python_{pip}"),
        };
        let directory = directory().join(name);
        if !directory.exists() {
            // Under another name until it is whole: an interrupted installation is not to be taken for one.
            let partial = directory.with_extension("partial");
            fs::remove_dir_all(&partial)
                .or_else(ignore_missing)
                .unwrap();
            fs::create_dir(&partial).unwrap();
            match self {
                Self::Npm { npm, .. } => {
                    let mut command = Command::new("npm");
                    command.args(["install", "--no-audit", "--no-fund", "--no-update-notifier"]);
                    succeed(command.arg("--prefix").arg(&partial).arg(npm));
                }
                Self::Pip { pip } => {
                    let mut command = Command::new("/usr/bin/python3");
                    command.args(["-m", "pip", "install", "--quiet", "--target"]);
                    succeed(command.arg(&partial).arg(pip));
                }
            }
            fs::rename(&partial, &directory).unwrap();
        }
        directory
    }

    /// What runs it, with its directory where the workload sees it.
    pub(crate) fn command(&self, shown: &Path, scratch: &Path) -> Vec<PathBuf> {
        let script = |name: &str, text: &str| {
            let path = scratch.join(name);
            fs::write(&path, text).unwrap();
            path
        };
        match self {
            Self::Npm {
                command: Some(command),
                ..
            } => vec![shown.join("node_modules/.bin").join(command)],
            Self::Npm { command: None, .. } => {
                // Node looks for libraries beside the script.
                let modules = scratch.join("node_modules");
                std::os::unix::fs::symlink(shown.join("node_modules"), modules).unwrap();
                let script = script("sdk.mjs", include_str!("sdk.mjs"));
                vec![PathBuf::from("node"), script]
            }
            Self::Pip { .. } => {
                let script = script("sdk.py", include_str!("sdk.py"));
                let path = format!("PYTHONPATH={}", shown.display());
                let python = ["/usr/bin/env", &path, "/usr/bin/python3"];
                python
                    .map(PathBuf::from)
                    .into_iter()
                    .chain([script])
                    .collect()
            }
        }
    }
}

/// Where the clients are kept.
fn directory() -> PathBuf {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients");
    fs::create_dir_all(&clients).unwrap();
    clients.canonicalize().unwrap()
}

/// Shows the clients at a place that the workload's user can reach, wherever the workspace is: this thread, and what it
/// starts, see them at [`SHOWN`], and cannot change them. Returns the client's directory there.
pub(crate) fn show(client: &Path) -> PathBuf {
    let clients = directory();
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    succeed(Command::new("mount").args(["--make-rprivate", "/"]));
    succeed(
        Command::new("mount")
            .args(["--bind", "-o", "ro"])
            .arg(&clients)
            .arg(SHOWN),
    );
    Path::new(SHOWN).join(client.strip_prefix(clients).unwrap())
}

/// The directory for temporary mounts (Filesystem Hierarchy Standard 3.0, section 3.12).
const SHOWN: &str = "/mnt";

/// The search path of the workload: Node may be anywhere.
pub(crate) fn path() -> String {
    let usual = "/usr/local/bin:/usr/bin:/bin";
    let node = succeed(Command::new("sh").args(["-c", "command -v node"]));
    match Path::new(node.trim()).parent().and_then(Path::to_str) {
        Some(directory) => format!("{directory}:{usual}"),
        None => usual.to_owned(),
    }
}

fn ignore_missing(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound {
        Ok(())
    } else {
        Err(error)
    }
}
