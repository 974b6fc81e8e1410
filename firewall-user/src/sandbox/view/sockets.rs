// SPDX-License-Identifier: GPL-3.0-or-later
//! Sockets of the host that somebody listens at when a run begins, and that the workload's view would show.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use super::{Place, Planner};

/// All Unix sockets of this network namespace.
const TABLE: &str = "/proc/net/unix";

impl Planner<'_> {
    /// Covers them. Below an overlay they lead nowhere anyway: the kernel knows a socket by its inode, and that of an
    /// overlay is another.
    pub(super) fn sockets(&mut self) {
        let table = match fs::read(TABLE) {
            Ok(table) => table,
            Err(error) => return self.faults.push(format!("cannot read {TABLE}: {error}")),
        };
        for path in paths(&String::from_utf8_lossy(&table)) {
            // Most are where the workload sees nothing of the host: no need to look at them.
            if self.visible(&path).is_empty() {
                continue;
            }
            let Ok(real) = fs::canonicalize(&path) else {
                continue;
            };
            let is_socket = fs::symlink_metadata(&real).is_ok_and(|it| it.file_type().is_socket());
            if is_socket && !self.is_exposed(&real) {
                for shown in self.visible(&real) {
                    self.put(&shown, Place::Absent);
                }
            }
        }
    }

    fn visible(&self, path: &Path) -> Vec<PathBuf> {
        let mut shown = self.view.appearances(path);
        shown.retain(|it| {
            let owner = self.view.owner(it);
            !owner.is_some_and(|(_, place)| matches!(place, Place::Overlay(_)))
        });
        shown
    }
}

/// The paths of a table: what stands behind the seventh field, if it is not abstract.
fn paths(table: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let mut rest = line;
        for _ in 0..7 {
            rest = rest.trim_start().split_once(' ')?.1;
        }
        rest.starts_with('/').then(|| PathBuf::from(rest))
    };
    let mut paths: Vec<_> = table.lines().skip(1).filter_map(path).collect();
    paths.sort();
    paths.dedup();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read() {
        let table = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            ffff8881: 00000002 00000000 00010000 0001 01 12345 /srv/my app/a.sock\n\
            ffff8882: 00000002 00000000 00010000 0001 01 12346 @abstract\n\
            ffff8883: 00000003 00000000 00000000 0001 03 12347\n\
            ffff8884: 00000003 00000000 00000000 0001 03 12348 /srv/b\n\
            ffff8885: 00000003 00000000 00000000 0001 03 12349 /srv/b\n\
            0000000000000000: 00000003 00000000 00000000 0002 01   987 relative\n";
        assert_eq!(
            paths(table),
            [Path::new("/srv/b"), Path::new("/srv/my app/a.sock")]
        );
    }
}
