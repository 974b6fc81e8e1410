// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the benchmarks call keyward.

use std::path::Path;

use anyhow::{Context, Result};

/// Whom the workload runs as: nobody, who owns nothing.
const USER: &str = "65534:65534";

/// `keyward run … --`, to be followed by a command. Logs go into `log_dir`.
pub(crate) fn run(keyward: &Path, log_dir: &Path) -> Result<Vec<String>> {
    let text = |path: &Path| {
        path.to_str()
            .map(str::to_owned)
            .context("a path that is not text")
    };
    Ok(vec![
        text(keyward)?,
        "run".to_owned(),
        "--user".to_owned(),
        USER.to_owned(),
        "--log-dir".to_owned(),
        text(log_dir)?,
        "--".to_owned(),
    ])
}
