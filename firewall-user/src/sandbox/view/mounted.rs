// SPDX-License-Identifier: GPL-3.0-or-later
//! What the host has mounted, and which of it is not the host's own.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use super::tables::{HELPERS, matches};

/// A mount of the host.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mounted {
    pub(super) path: PathBuf,
    kind: String,
}

impl Mounted {
    /// Whether a network or another process stands behind it.
    pub(super) fn is_remote(&self) -> bool {
        HELPERS.filesystem.iter().any(|it| {
            matches(&it.r#type, &self.kind) && !it.but.iter().any(|but| matches(but, &self.kind))
        })
    }
}

/// All of them.
pub(super) fn all() -> io::Result<Vec<Mounted>> {
    let text = fs::read("/proc/self/mountinfo")?;
    Ok(text
        .split(|byte| *byte == b'\n')
        .filter_map(parse)
        .collect())
}

/// The fifth field is the path, the one behind the hyphen the type: `proc_pid_mountinfo(5)`.
fn parse(line: &[u8]) -> Option<Mounted> {
    let mut fields = line.split(|byte| *byte == b' ');
    let path = unescape(fields.nth(4)?);
    let kind = fields.skip_while(|it| *it != b"-").nth(1)?;
    Some(Mounted {
        path: PathBuf::from(OsString::from_vec(path)),
        kind: String::from_utf8_lossy(kind).into_owned(),
    })
}

/// Spaces, tabs, newlines and backslashes are written as three octal digits behind a backslash.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, behind)) = rest.split_first() {
        let code = (*first == b'\\')
            .then(|| behind.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        plain.push(code.unwrap_or(*first));
        rest = &behind[if code.is_some() { 3 } else { 0 }..];
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        for (line, path, kind, remote) in [
            (
                "36 35 98:0 /root /mnt/a\\040b rw master:1 - ext4 /dev/x rw",
                "/mnt/a b",
                "ext4",
                false,
            ),
            ("36 35 0:5 / /net rw - autofs a rw", "/net", "autofs", true),
            ("36 35 0:5 / /n rw shared:1 - nfs4 a rw", "/n", "nfs4", true),
            (
                "36 35 0:5 / /c rw - fuse.sshfs a rw",
                "/c",
                "fuse.sshfs",
                true,
            ),
            (
                "36 35 0:5 / /s rw - fuse.snapfuse a rw",
                "/s",
                "fuse.snapfuse",
                false,
            ),
            ("36 35 0:5 / /w rw - fuseblk a rw", "/w", "fuseblk", false),
        ] {
            let mount = parse(line.as_bytes()).unwrap();
            assert_eq!(
                (mount.path.to_str().unwrap(), mount.kind.as_str()),
                (path, kind)
            );
            assert_eq!(mount.is_remote(), remote, "{line}");
        }
        assert_eq!(parse(b""), None);
        assert_eq!(unescape(br"a\134\1"), br"a\\1");
    }
}
