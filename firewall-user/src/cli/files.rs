// SPDX-License-Identifier: GPL-3.0-or-later
//! Which of the host's files the command sees otherwise than by default.

use std::path::{Component, Path, PathBuf};

use clap::Args;

use crate::sandbox::view::Mount;

// Changes to the view of the file system.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Files")]
pub struct FileArgs {
    /// Let the command change this directory or file, too, for good
    #[arg(long, value_name = "PATH")]
    pub writable: Vec<PathBuf>,
    /// Show SOURCE at TARGET, writable unless :ro follows
    #[arg(long, value_name = "SOURCE:TARGET[:ro]", value_parser = mount)]
    pub mount: Vec<Mount>,
    /// Hide a path from the command; * in its last part stands for any characters: .env*
    #[arg(long, value_name = "PATH")]
    pub hide: Vec<PathBuf>,
    /// Show a path that is hidden by default: credentials, a device, a socket. It is written to the audit log
    #[arg(long, value_name = "PATH")]
    pub expose: Vec<PathBuf>,
    /// Let the command use the SSH agent: it can sign with every key in it
    #[arg(long)]
    pub ssh_agent: bool,
    /// Let the command use the X11 display: it can read and type into every window there
    #[arg(long)]
    pub x11: bool,
    /// Let the command use the Wayland display
    #[arg(long)]
    pub wayland: bool,
}

/// Reads `SOURCE:TARGET[:ro]`.
pub(crate) fn mount(text: &str) -> Result<Mount, String> {
    let (rest, writable) = match text.strip_suffix(":ro") {
        Some(rest) => (rest, false),
        None => (text.strip_suffix(":rw").unwrap_or(text), true),
    };
    let (source, target) = rest
        .rsplit_once(':')
        .ok_or("it is SOURCE:TARGET, or SOURCE:TARGET:ro")?;
    let plain = |it| matches!(it, Component::RootDir | Component::Normal(_));
    if source.is_empty() || target == "/" || !target.starts_with('/') {
        return Err(format!("the target {target:?} is not a path below /"));
    }
    if !Path::new(target).components().all(plain) {
        return Err(format!("the target {target:?} has . or .. in it"));
    }
    Ok(Mount {
        source: source.into(),
        target: Path::new(target).components().collect(),
        writable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read() {
        for (text, source, target, writable) in [
            ("/a:/b", "/a", "/b", true),
            ("a:/b:rw", "a", "/b", true),
            ("/a:/b/:ro", "/a", "/b", false),
            ("/a:x:/b", "/a:x", "/b", true),
        ] {
            let expected = Mount {
                source: source.into(),
                target: target.into(),
                writable,
            };
            assert_eq!(mount(text), Ok(expected), "{text}");
        }
        for text in ["/a", "/a:b", ":/b", "/a:/", "/a:/b/../c", "/a:/..", "/a:ro"] {
            assert!(mount(text).is_err(), "{text}");
        }
    }
}
