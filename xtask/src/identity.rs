// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who builds, and who tests.
//!
//! A developer types `cargo xtask test`, perhaps behind sudo; a container's CI is root and nobody else. Builds belong
//! to the developer in both cases, so that no file of root's is left in the target directory or in `~/.cargo`; only
//! what loads eBPF programs or makes namespaces runs as root.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{env, io};

use anyhow::{Context, Result};

/// The process's own rights, and the user whom builds run as when that is somebody else.
pub(crate) struct Identity {
    root: bool,
    builder: Option<Builder>,
}

/// The developer behind sudo.
pub(crate) struct Builder {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) name: String,
    pub(crate) home: PathBuf,
}

impl Identity {
    /// Looks at the process, at what sudo left in the environment, and at whose workspace this is.
    pub(crate) fn find(workspace: &Path) -> Result<Self> {
        let root = fs::metadata("/proc/self")
            .context("reading /proc/self")?
            .uid()
            == 0;
        let builder = if root {
            Builder::behind_sudo(workspace)?
        } else {
            None
        };
        if let Some(builder) = &builder {
            let target = workspace.join("target");
            hand_over(&target, builder)
                .with_context(|| format!("giving {} to {}", target.display(), builder.name))?;
        }
        Ok(Self { root, builder })
    }

    pub(crate) fn is_root(&self) -> bool {
        self.root
    }

    /// The user whom builds run as, when this process is root on that user's behalf.
    pub(crate) fn builder(&self) -> Option<&Builder> {
        self.builder.as_ref()
    }
}

impl Builder {
    /// `None` unless sudo's caller owns the workspace and has a cargo of their own: without that, building as root is
    /// the only way.
    fn behind_sudo(workspace: &Path) -> Result<Option<Self>> {
        let Some(uid) = env::var("SUDO_UID")
            .ok()
            .and_then(|uid| uid.parse::<u32>().ok())
        else {
            return Ok(None);
        };
        let owner = fs::metadata(workspace)
            .context("reading the workspace's owner")?
            .uid();
        if uid == 0 || uid != owner {
            return Ok(None);
        }
        let passwd = fs::read_to_string("/etc/passwd").context("reading /etc/passwd")?;
        Ok(passwd
            .lines()
            .filter_map(Self::parse)
            .find(|user| user.uid == uid)
            .filter(|user| user.cargo().exists()))
    }

    /// One line of passwd(5): `name:password:uid:gid:comment:home:shell`.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = PathBuf::from(fields.nth(1)?);
        Some(Self {
            uid,
            gid,
            name,
            home,
        })
    }

    /// The user's own cargo, as rustup installs it.
    pub(crate) fn cargo(&self) -> PathBuf {
        self.home.join(".cargo/bin/cargo")
    }

    /// The user's search path: their cargo first, then what root had.
    pub(crate) fn path(&self) -> OsString {
        let mut path = self.home.join(".cargo/bin").into_os_string();
        path.push(":");
        path.push(env::var_os("PATH").unwrap_or_default());
        path
    }
}

/// Gives to `builder` what root owns below `path`: compiling xtask itself, behind sudo, left it there.
///
/// Symbolic links are given away, never followed.
fn hand_over(path: &Path, builder: &Builder) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if metadata.uid() == 0 {
        std::os::unix::fs::lchown(path, Some(builder.uid), Some(builder.gid))?;
    }
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            hand_over(&entry?.path(), builder)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passwd_line_is_read_by_field() {
        let user = Builder::parse("ada:x:1000:1001:Ada,,,:/home/ada:/bin/bash").unwrap();
        assert_eq!(
            (user.uid, user.gid, user.name.as_str()),
            (1000, 1001, "ada")
        );
        assert_eq!(user.cargo(), Path::new("/home/ada/.cargo/bin/cargo"));
    }

    #[test]
    fn a_broken_passwd_line_is_nobody() {
        for line in [
            "",
            "ada",
            "ada:x",
            "ada:x:many:1001::/home/ada:/bin/sh",
            "ada:x:1000",
        ] {
            assert!(Builder::parse(line).is_none(), "{line}");
        }
    }
}
