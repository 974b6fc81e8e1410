// SPDX-License-Identifier: MIT OR Apache-2.0
//! /etc/hosts, read again when it changes.

use std::{
    collections::HashMap,
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use keyward_policy::Name;

/// Longest file that is read: lists that block advertisements have a few megabytes.
const MOST: u64 = 64 * 1024 * 1024;

/// Names that the host's administrator fixed.
#[derive(Debug)]
pub(super) struct Hosts {
    path: PathBuf,
    read: Mutex<Read>,
}

/// What was read, and when the file was changed last before that.
#[derive(Debug, Default)]
struct Read {
    changed: Option<(SystemTime, u64)>,
    names: HashMap<Name, Vec<IpAddr>>,
}

impl Default for Hosts {
    fn default() -> Self {
        Self::at(Path::new("/etc/hosts"))
    }
}

impl Hosts {
    fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            read: Mutex::default(),
        }
    }

    /// The addresses of a name, in the file's order. None if it is not there, or nothing can be read.
    pub(super) fn look_up(&self, name: &Name) -> Vec<IpAddr> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.refresh(&mut read) {
            tracing::debug!(%error, path = %self.path.display(), "hosts not read");
            return Vec::new();
        }
        read.names.get(name).cloned().unwrap_or_default()
    }

    fn refresh(&self, read: &mut Read) -> io::Result<()> {
        let about = fs::metadata(&self.path)?;
        let changed = (about.modified()?, about.len());
        if read.changed == Some(changed) {
            return Ok(());
        }
        if about.len() > MOST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let bytes = fs::read(&self.path)?;
        *read = Read {
            changed: Some(changed),
            names: parse(&String::from_utf8_lossy(&bytes)),
        };
        Ok(())
    }
}

/// Lines of an address and its names; what is neither is skipped, as the C library does.
fn parse(text: &str) -> HashMap<Name, Vec<IpAddr>> {
    let mut names: HashMap<Name, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse) else {
            continue;
        };
        for name in words.filter_map(|it| it.parse().ok()) {
            let addresses = names.entry(name).or_default();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case_and_faults_are_skipped() {
        let names = parse(
            "127.0.0.1\tlocalhost\n# 192.0.2.9 a.test\n192.0.2.1 A.Test alias # b.test\n\
             nonsense c.test\n192.0.2.2 a.test *bad* d.test.\n2001:db8::1 a.test\n192.0.2.1 a.test\n192.0.2.3",
        );
        let of = |name: &str| {
            let found = names.get(&name.parse().unwrap());
            let found = found.map(|it| it.iter().map(ToString::to_string).collect::<Vec<_>>());
            found.unwrap_or_default().join(" ")
        };
        assert_eq!(of("a.test"), "192.0.2.1 192.0.2.2 2001:db8::1");
        assert_eq!(of("alias"), "192.0.2.1");
        assert_eq!(of("d.test"), "192.0.2.2");
        assert_eq!((of("b.test"), of("c.test")), (String::new(), String::new()));
    }

    #[test]
    fn a_change_is_seen() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let hosts = Hosts::at(file.path());
        let name = "a.test".parse().unwrap();
        assert!(hosts.look_up(&name).is_empty());
        fs::write(file.path(), "192.0.2.1 a.test\n").unwrap();
        assert_eq!(
            hosts.look_up(&name),
            ["192.0.2.1".parse::<IpAddr>().unwrap()]
        );
        fs::write(file.path(), "192.0.2.10 a.test\n").unwrap();
        assert_eq!(
            hosts.look_up(&name),
            ["192.0.2.10".parse::<IpAddr>().unwrap()]
        );
        drop(file);
        assert!(hosts.look_up(&name).is_empty());
    }
}
