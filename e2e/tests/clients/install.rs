// SPDX-License-Identifier: GPL-3.0-or-later
//! The clients, from npm, kept under `target/clients` from then on. "Newest" is therefore the newest at the time of
//! the first test; delete the directory to look again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use e2e::host::succeed;
use nix::sched::{CloneFlags, unshare};

/// A client that the tests run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Client {
    /// The first that ignores `OPENAI_BASE_URL` when it finds no key, which is why placeholders exist.
    Codex0_121,
    CodexNewest,
    ClaudeNewest,
    GeminiNewest,
}

impl Client {
    fn package(self) -> &'static str {
        match self {
            Self::Codex0_121 => "@openai/codex@0.121.0",
            Self::CodexNewest => "@openai/codex@latest",
            // Without the tag, npm would choose an old version that claims to suit an old Node; the client itself is
            // a binary that needs none.
            Self::ClaudeNewest => "@anthropic-ai/claude-code@latest",
            Self::GeminiNewest => "@google/gemini-cli@latest",
        }
    }

    fn command(self) -> &'static str {
        match self {
            Self::Codex0_121 | Self::CodexNewest => "codex",
            Self::ClaudeNewest => "claude",
            Self::GeminiNewest => "gemini",
        }
    }

    /// Installs the client if it is not there yet, and returns its command. Call it where the network is: before the
    /// test enters its host.
    pub(crate) fn ensure(self) -> PathBuf {
        // Tests are threads of one process; two installations of one client would meet.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);

        let clients = directory();
        let directory = clients.join(self.package().replace(['@', '/'], "_"));
        let command = directory.join("node_modules/.bin").join(self.command());
        if !command.exists() {
            // Under another name until it is whole: an interrupted installation is not to be taken for one.
            let partial = directory.with_extension("partial");
            fs::remove_dir_all(&partial)
                .or_else(ignore_missing)
                .unwrap();
            fs::create_dir(&partial).unwrap();
            let mut npm = Command::new("npm");
            npm.args([
                "install",
                "--no-audit",
                "--no-fund",
                "--no-update-notifier",
                "--prefix",
            ]);
            succeed(npm.arg(&partial).arg(self.package()));
            fs::remove_dir_all(&directory)
                .or_else(ignore_missing)
                .unwrap();
            fs::rename(&partial, &directory).unwrap();
        }
        command
    }
}

/// Where the clients are kept.
fn directory() -> PathBuf {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients");
    fs::create_dir_all(&clients).unwrap();
    clients.canonicalize().unwrap()
}

/// Shows the clients at a place that the workload's user can reach, wherever the workspace is: this thread, and what it
/// starts, see them at [`SHOWN`], and cannot change them. Returns the command's path there.
pub(crate) fn show(command: &Path) -> PathBuf {
    let clients = directory();
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    succeed(Command::new("mount").args(["--make-rprivate", "/"]));
    succeed(
        Command::new("mount")
            .args(["--bind", "-o", "ro"])
            .arg(&clients)
            .arg(SHOWN),
    );
    Path::new(SHOWN).join(command.strip_prefix(clients).unwrap())
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
