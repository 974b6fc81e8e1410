// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host, as far as policies are read from it.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Runs programs of the host, to ask a package manager what it is set up with.
///
/// Whoever implements this runs them as the caller and never as root, with the caller's environment, in `/` (in a
/// directory of somebody else's, such programs can be made to run that somebody's code), and not for longer than a few
/// seconds.
pub trait Commands {
    /// What it wrote to standard output; `None` if it is not there or failed.
    fn run(&self, program: &str, arguments: &[&str]) -> Option<String>;
}

/// A host on which no program is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCommands;

impl Commands for NoCommands {
    fn run(&self, _: &str, _: &[&str]) -> Option<String> {
        None
    }
}

/// The host.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// Below it are the system's files: `/`.
    pub root: &'a Path,
    /// The caller's home.
    pub home: Option<&'a Path>,
    /// Where relative paths begin that the caller gave.
    pub directory: &'a Path,
    /// The caller's environment.
    pub environment: &'a BTreeMap<String, String>,
    /// Programs.
    pub commands: &'a dyn Commands,
}

impl Sources<'_> {
    /// A variable, unless it is empty.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        let value = self.environment.get(name)?;
        (!value.is_empty()).then_some(value)
    }

    /// A path of the system.
    pub(crate) fn system(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A path of the caller's home.
    pub(crate) fn at_home(&self, path: &str) -> Option<PathBuf> {
        Some(self.home?.join(path))
    }
}

impl fmt::Debug for Sources<'_> {
    /// Without the environment, which may hold secrets.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Sources")
            .field("root", &self.root)
            .field("home", &self.home)
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

/// The largest policy file: ten thousand times what people write.
pub(crate) const POLICY_LIMIT: u64 = 4 << 20;

/// The largest list of domains: a million of them.
pub(crate) const LIST_LIMIT: u64 = 64 << 20;

/// Reads a text, without the mark that some editors put in front.
pub(crate) fn read(path: &Path, limit: u64) -> Result<String, String> {
    let text = read_bytes(path, limit).map_err(|error| {
        // In words for people, without the system's number, where it is one of these.
        let known = [
            (io::ErrorKind::NotFound, "there is no such file".to_owned()),
            (
                io::ErrorKind::PermissionDenied,
                "permission denied".to_owned(),
            ),
            (io::ErrorKind::IsADirectory, "it is a directory".to_owned()),
            (
                io::ErrorKind::FileTooLarge,
                format!("it is larger than {} MiB", limit >> 20),
            ),
        ];
        let found = known.into_iter().find(|it| it.0 == error.kind());
        found.map_or_else(|| error.to_string(), |it| it.1)
    })?;
    let text = String::from_utf8(text).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at]
            .iter()
            .filter(|it| **it == b'\n')
            .count()
            + 1;
        format!("it is not UTF-8 (line {line})")
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

/// Reads a file that is no larger than a limit.
pub(crate) fn read_bytes(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // Not by its size beforehand: it may be a pipe.
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|it| it <= limit) {
        Ok(bytes)
    } else {
        Err(io::ErrorKind::FileTooLarge.into())
    }
}
