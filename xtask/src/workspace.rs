// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where things are: every path that a task reads or writes is named here.

use std::os::unix::fs::lchown;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use anyhow::{Context, Result};

use crate::identity::Identity;

/// The workspace that this xtask was compiled from, and on whose behalf it runs.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
    identity: Identity,
}

impl Workspace {
    /// Finds the workspace around this crate.
    pub(crate) fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask has no parent directory")?
            .to_owned();
        let target = env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| root.join("target"), |dir| root.join(dir));
        let identity = Identity::find(&root)?;
        Ok(Self {
            root,
            target,
            identity,
        })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Where cargo puts the host's builds; `CARGO_TARGET_DIR` moves it.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Where a release binary lies after `cargo xtask build`.
    pub(crate) fn release_binary(&self, name: &str) -> PathBuf {
        self.target.join("release").join(name)
    }

    /// Programs that the build needs and that no system package brings. Not below [`Self::target`], so that builds
    /// with different target directories share them.
    pub(crate) fn tools(&self) -> PathBuf {
        self.root.join("target").join("tools")
    }

    /// Systems, kernels and logs of the guests of `cargo xtask vm`.
    pub(crate) fn vm(&self) -> PathBuf {
        self.root.join("target").join("vm")
    }

    /// The eBPF object and what cargo keeps to rebuild it. `firewall-user/build.rs` embeds the object from here.
    pub(crate) fn ebpf(&self) -> PathBuf {
        self.root.join("target").join("ebpf")
    }

    /// The object that `keyward` embeds.
    pub(crate) fn ebpf_object(&self) -> PathBuf {
        self.ebpf().join("keyward-ebpf.o")
    }

    /// Writes a file that belongs to the user whom builds belong to, and makes its directory.
    ///
    /// Renamed into place: who reads it meanwhile sees the old file or the new one.
    pub(crate) fn write(&self, path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
        let writing = || format!("writing {}", path.display());
        if let Some(directory) = path.parent() {
            self.make_directory(directory)?;
        }
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        fs::write(&new, bytes).with_context(writing)?;
        self.give(Path::new(&new)).with_context(writing)?;
        fs::rename(&new, path).with_context(writing)
    }

    /// Makes a directory, and those above it, for the user whom builds belong to.
    pub(crate) fn make_directory(&self, path: &Path) -> Result<()> {
        if path.exists() {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.make_directory(parent)?;
        }
        fs::create_dir(path)
            .and_then(|()| self.give(path))
            .with_context(|| format!("making {}", path.display()))
    }

    fn give(&self, path: &Path) -> io::Result<()> {
        match self.identity.builder() {
            Some(builder) => lchown(path, Some(builder.uid), Some(builder.gid)),
            None => Ok(()),
        }
    }
}
