// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tests that need a real kernel and root: compiled as the user, run as root.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::build;
use crate::command::Cmd;
use crate::packages::{self, TEST};
use crate::workspace::Workspace;

/// Holds all tests that need root, and only those.
pub(crate) const PACKAGE: &str = "e2e";

/// A test binary, and the name of its source file.
pub(crate) struct TestBinary {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

/// Runs every test binary to its end, even after a failure: they are independent, and a list of all that fails tells
/// more than the first.
pub(crate) fn run(filter: Option<&str>, workspace: &Workspace) -> Result<()> {
    packages::ensure_tools(TEST, workspace)?;
    let mut failed = Vec::new();
    programs(workspace)?;
    for binary in compile(workspace)? {
        println!();
        let mut test = Cmd::new(&binary.path)
            .current_dir(workspace.root().join(PACKAGE))
            // insta would ask cargo where the workspace is, and write new snapshots as root.
            .env("INSTA_WORKSPACE_ROOT", workspace.root())
            .env("INSTA_UPDATE", "no")
            .env("RUST_BACKTRACE", "1")
            .with_root();
        if let Some(filter) = filter {
            test = test.arg(filter);
        }
        if test.run(workspace).is_err() {
            failed.push(binary.name);
        }
    }
    // A test's runs keep their eBPF programs for the next run, as any run does: there is none after the last.
    Cmd::new(workspace.target().join("debug").join("keyward"))
        .args(["doctor", "--fix"])
        .with_root()
        .run(workspace)?;
    ensure!(failed.is_empty(), "tests failed in {}", failed.join(", "));
    Ok(())
}

/// Builds the programs under test; the tests look for them beside themselves, in the directory of their own profile.
pub(crate) fn programs(workspace: &Workspace) -> Result<()> {
    Cmd::cargo("build")
        .args([
            "--locked",
            "--package",
            "firewall-user",
            "--package",
            "keyward-proxy",
            "--package",
            PACKAGE,
            "--bins",
        ])
        .run(workspace)?;
    build::preload(&["--locked"], workspace)
}

/// Compiles the tests, and says where they are.
pub(crate) fn compile(workspace: &Workspace) -> Result<Vec<TestBinary>> {
    let messages = Cmd::cargo("test")
        .args([
            "--locked",
            "--package",
            PACKAGE,
            "--no-run",
            "--message-format=json-render-diagnostics",
        ])
        .read(workspace)?;
    let mut binaries = messages
        .lines()
        .filter_map(|line| test_binary(line).transpose())
        .collect::<Result<Vec<_>>>()?;
    ensure!(
        !binaries.is_empty(),
        "package {PACKAGE} has no test binaries"
    );
    binaries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(binaries)
}

/// The binary that one of cargo's messages announces, if it announces one.
fn test_binary(message: &str) -> Result<Option<TestBinary>> {
    let message: Value = serde_json::from_str(message).context("a message of cargo's")?;
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return Ok(None);
    }
    let Some(path) = message["executable"].as_str() else {
        return Ok(None);
    };
    let name = message["target"]["name"]
        .as_str()
        .context("a test binary without a name")?;
    Ok(Some(TestBinary {
        name: name.to_owned(),
        path: Path::new(path).to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_binary_is_found_among_cargos_messages() {
        let found = test_binary(
            r#"{"reason":"compiler-artifact","target":{"name":"nft"},"profile":{"test":true},"executable":"/t/nft-1"}"#,
        );
        let found = found.unwrap().unwrap();
        assert_eq!(
            (found.name.as_str(), found.path.as_path()),
            ("nft", Path::new("/t/nft-1"))
        );
    }

    #[test]
    fn other_messages_are_passed_over() {
        for message in [
            r#"{"reason":"build-finished","success":true}"#,
            r#"{"reason":"compiler-artifact","target":{"name":"x"},"profile":{"test":false},"executable":"/t/x"}"#,
            r#"{"reason":"compiler-artifact","target":{"name":"x"},"profile":{"test":true},"executable":null}"#,
        ] {
            assert!(test_binary(message).unwrap().is_none(), "{message}");
        }
        assert!(test_binary("not json").is_err());
    }
}
