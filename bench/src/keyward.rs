// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the benchmarks call keyward.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use tempfile::TempDir;

/// Whom the workload runs as: nobody, who owns nothing.
const USER: &str = "65534:65534";

/// `keyward run … --`, to be followed by a command. Logs go into `log_dir`.
pub(crate) fn run(keyward: &Path, log_dir: &Path, flags: &[&str]) -> Result<Vec<String>> {
    let (keyward, log_dir) = (text(keyward)?, text(log_dir)?);
    let first = [&keyward, "run", "--user", USER, "--log-dir", &log_dir];
    let words = first.iter().chain(flags).chain(&["--"]);
    Ok(words.map(|&word| word.to_owned()).collect())
}

/// A copy of this program where the workload's user can reach it, wherever this program is. It is gone when this is
/// dropped.
#[derive(Debug)]
pub(crate) struct OwnCopy {
    directory: TempDir,
}

impl OwnCopy {
    pub(crate) fn make() -> Result<Self> {
        let open = fs::Permissions::from_mode(0o755);
        let directory = tempfile::Builder::new()
            .permissions(open)
            .tempdir()
            .context("a directory")?;
        let own = std::env::current_exe().context("finding this program")?;
        let copy = Self { directory };
        fs::copy(own, copy.directory.path().join(Self::NAME)).context("copying this program")?;
        Ok(copy)
    }

    pub(crate) fn path(&self) -> Result<String> {
        text(&self.directory.path().join(Self::NAME))
    }

    const NAME: &str = "keyward-bench";
}

fn text(path: &Path) -> Result<String> {
    path.to_str()
        .map(str::to_owned)
        .context("a path that is not text")
}
