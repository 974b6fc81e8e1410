// SPDX-License-Identifier: GPL-3.0-or-later
//! Where the log of a run is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use thiserror::Error;

use crate::logs::Logs;

/// The log of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunLog {
    /// The run's name.
    pub id: String,
    /// Its directory.
    pub directory: PathBuf,
    /// When the directory was made, as far as that can be told.
    pub made: SystemTime,
}

/// Why there is no log to read.
#[derive(Debug, Error)]
pub enum PlaceError {
    /// Nothing there.
    #[error(
        "no run has left a log in {}\n  hint: run something with sudo keyward run, or name another directory with --log-dir", .0.display()
    )]
    Nothing(PathBuf),
    /// None of that name.
    #[error("there is no log of a run {which} in {}\n  hint: keyward logs list shows which there are", .parent.display())]
    NoSuchRun {
        /// What was asked for.
        which: String,
        /// Where it was looked for.
        parent: PathBuf,
    },
    /// The beginning of more than one name.
    #[error(
        "{which} is the beginning of {count} runs' names\n  hint: give more of the name; keyward logs list shows them"
    )]
    Ambiguous {
        /// What was asked for.
        which: String,
        /// How many it fits.
        count: usize,
    },
    /// Only root may.
    #[error("{} can be read by root alone, so that no command can change its own history\n  hint: use sudo", .0.display())]
    NotAllowed(PathBuf),
    /// Anything else.
    #[error("cannot read {}: {source}", .path.display())]
    Unreadable {
        /// What was to be read.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl PlaceError {
    /// What went wrong with `path`.
    pub fn at(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::PermissionDenied {
            Self::NotAllowed(path)
        } else {
            Self::Unreadable { path, source }
        }
    }
}

impl RunLog {
    /// The decisions.
    pub fn audit(&self) -> PathBuf {
        self.directory.join(Logs::AUDIT)
    }

    /// The requests at the gateway.
    pub fn requests(&self) -> PathBuf {
        self.directory.join(Logs::REQUESTS)
    }
}

/// The log that `which` means: `latest`, a run's name or the beginning of one, or the path of a run's directory or of
/// its `audit.jsonl`.
pub fn find(parent: &Path, which: &str) -> Result<RunLog, PlaceError> {
    if which.contains('/') {
        return at_path(Path::new(which));
    }
    let mut runs = list(parent)?;
    if which == "latest" {
        return runs
            .pop()
            .ok_or_else(|| PlaceError::Nothing(parent.to_owned()));
    }
    let fits = |run: &RunLog| !which.is_empty() && run.id.starts_with(which);
    runs.retain(fits);
    match (runs.pop(), runs.len()) {
        (Some(run), 0) => Ok(run),
        (Some(_), others) => Err(PlaceError::Ambiguous {
            which: which.to_owned(),
            count: others + 1,
        }),
        (None, _) => Err(PlaceError::NoSuchRun {
            which: which.to_owned(),
            parent: parent.to_owned(),
        }),
    }
}

/// Every run that has left a log, the newest last.
pub fn list(parent: &Path) -> Result<Vec<RunLog>, PlaceError> {
    let entries = match fs::read_dir(parent) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(PlaceError::at(parent, error)),
    };
    let mut runs = Vec::new();
    for entry in entries {
        let directory = entry.map_err(|error| PlaceError::at(parent, error))?.path();
        // Strangers have no audit log; a run's directory may go while we look.
        if let Some(run) = run_at(&directory) {
            runs.push(run);
        }
    }
    runs.sort_by(|a, b| (a.made, &a.id).cmp(&(b.made, &b.id)));
    Ok(runs)
}

fn at_path(path: &Path) -> Result<RunLog, PlaceError> {
    let directory = if path.is_dir() {
        path
    } else {
        path.parent().unwrap_or(path)
    };
    fs::metadata(directory.join(Logs::AUDIT))
        .map_err(|error| PlaceError::at(&directory.join(Logs::AUDIT), error))?;
    run_at(directory).ok_or_else(|| PlaceError::Nothing(directory.to_owned()))
}

fn run_at(directory: &Path) -> Option<RunLog> {
    fs::metadata(directory.join(Logs::AUDIT)).ok()?;
    // No file is added to the directory after its making, so this is when the run began. Only the order hangs on it.
    let made = fs::metadata(directory).and_then(|it| it.modified());
    Some(RunLog {
        id: directory.file_name()?.to_str()?.to_owned(),
        directory: directory.to_owned(),
        made: made.unwrap_or(SystemTime::UNIX_EPOCH),
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::*;

    fn make(parent: &Path, id: &str, age: u64) {
        drop(Logs::create(parent, id).unwrap());
        let made = SystemTime::now() - Duration::from_secs(age);
        File::open(parent.join(id))
            .unwrap()
            .set_modified(made)
            .unwrap();
    }

    #[test]
    fn a_run_is_found_by_its_name_or_place() {
        let parent = tempfile::tempdir().unwrap();
        let parent = parent.path();
        fs::create_dir(parent.join("stranger")).unwrap();
        assert!(matches!(
            find(parent, "latest"),
            Err(PlaceError::Nothing(_))
        ));
        make(parent, "abc000000000", 10);
        make(parent, "abd000000000", 5);
        make(parent, "fff000000000", 20);
        let id = |which: &str| find(parent, which).map(|run| run.id);
        assert_eq!(id("latest").unwrap(), "abd000000000");
        assert_eq!(id("abc").unwrap(), "abc000000000");
        let place = parent.join("fff000000000");
        assert_eq!(id(place.to_str().unwrap()).unwrap(), "fff000000000");
        let file = place.join("audit.jsonl");
        assert_eq!(id(file.to_str().unwrap()).unwrap(), "fff000000000");
        let ids: Vec<_> = list(parent)
            .unwrap()
            .into_iter()
            .map(|run| run.id)
            .collect();
        assert_eq!(ids, ["fff000000000", "abc000000000", "abd000000000"]);
        for (which, message) in [
            ("ab", "ab is the beginning of 2 runs' names"),
            ("stranger", "there is no log of a run stranger in "),
            ("", "there is no log of a run  in "),
            ("..", "there is no log of a run .. in "),
            (
                "/nowhere/x",
                "cannot read /nowhere/audit.jsonl: No such file",
            ),
        ] {
            let error = id(which).unwrap_err().to_string();
            assert!(error.starts_with(message), "{which}: {error}");
        }
        let none = find(&parent.join("none"), "latest")
            .unwrap_err()
            .to_string();
        assert!(none.contains("--log-dir"), "{none}");
    }
}
