// SPDX-License-Identifier: GPL-3.0-or-later
//! One look at all runs: who they are, and what each tells at its socket.

use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyward_proxy::status::Snapshot;

use crate::logs::Logs;
use crate::runs;

/// How long an answer may keep us. A proxy that is that busy is shown without its connections.
const PATIENCE: Duration = Duration::from_millis(500);

/// Longest answer: tens of thousands of connections.
const MAX_ANSWER: u64 = 16 * 1024 * 1024;

/// All runs at one moment.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) runs: Vec<LiveRun>,
}

/// A run that goes on.
#[derive(Debug, Default)]
pub(super) struct LiveRun {
    pub(super) id: String,
    pub(super) program: String,
    pub(super) pid: i32,
    pub(super) started: String,
    /// Its log of decisions.
    pub(super) audit: PathBuf,
    /// Its log of what answers cost.
    pub(super) tokens: PathBuf,
    /// `None`: it does not tell, because it is just starting or ending, or has nothing but the gateway.
    pub(super) snapshot: Option<Snapshot>,
}

impl Look {
    /// Looks.
    pub(super) fn take() -> Self {
        let runs = runs::live().into_iter().map(|(id, introduction)| LiveRun {
            snapshot: ask(&runs::status_of(&id)).ok(),
            program: introduction.program,
            pid: introduction.pid,
            started: introduction.started,
            audit: introduction.logs.join(Logs::AUDIT),
            tokens: introduction.logs.join(Logs::TOKENS),
            id,
        });
        Self {
            runs: runs.collect(),
        }
    }
}

/// Asks a run what is going on.
pub(in crate::commands) fn ask(socket: &Path) -> io::Result<Snapshot> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    Ok(serde_json::from_slice(&answer)?)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    fn answer(text: &'static str) -> io::Result<Snapshot> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run.status");
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(text.as_bytes()).unwrap();
        });
        let snapshot = ask(&path);
        server.join().unwrap();
        snapshot
    }

    #[test]
    fn a_run_tells_what_is_going_on() {
        let snapshot = answer(
            r#"{"run":"a1b2c3d4e5f6","mode":"enforce","connections":[{"host":"github.com","port":443,"new":1}],
            "totals":{"allowed":3}}"#,
        )
        .unwrap();
        assert_eq!(snapshot.connections[0].host, "github.com");
        assert_eq!(snapshot.totals.allowed, 3);
        assert!(answer("{\"run\":").is_err());
        assert!(ask(Path::new("/nowhere/run.status")).is_err());
    }

    #[test]
    fn a_run_that_says_nothing_does_not_keep_us() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run.status");
        // Connections wait in its queue; nobody answers.
        let _listener = UnixListener::bind(&path).unwrap();
        assert!(ask(&path).is_err());
    }
}
