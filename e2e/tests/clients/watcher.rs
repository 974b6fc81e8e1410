// SPDX-License-Identifier: GPL-3.0-or-later
//! Looks, over and over, at what `/proc` shows of every process of every workload on this machine, from the host's
//! side: a key that a workload held for some milliseconds was held.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(1);

/// A running watch.
pub(crate) struct Watcher {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

/// What a watch saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Different processes in workloads' cgroups.
    pub(crate) processes: usize,
    /// Of those, with the placeholder in their environment.
    pub(crate) with_placeholder: usize,
    /// Files of `/proc` that had the key in them, with the process's name.
    pub(crate) with_key: Vec<String>,
}

impl Watcher {
    pub(crate) fn start(key: &'static str, placeholder: String) -> Self {
        Self::of(
            firewall_user::cgroup::find_hierarchy().unwrap(),
            key,
            placeholder,
        )
    }

    /// Watches the workloads in one hierarchy of cgroups.
    fn of(hierarchy: PathBuf, key: &'static str, placeholder: String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut watch = Watch {
                key,
                placeholder,
                ..Watch::default()
            };
            while !stopped.load(Ordering::Relaxed) {
                watch.look(&hierarchy);
                std::thread::sleep(PAUSE);
            }
            Seen {
                processes: watch.processes.len(),
                with_placeholder: watch.with_placeholder.len(),
                with_key: watch.with_key.into_iter().collect(),
            }
        });
        Self { stop, thread }
    }

    pub(crate) fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

#[derive(Debug, Default)]
struct Watch {
    key: &'static str,
    placeholder: String,
    processes: BTreeSet<u32>,
    with_placeholder: BTreeSet<u32>,
    with_key: BTreeSet<String>,
}

impl Watch {
    fn look(&mut self, hierarchy: &Path) {
        // Whatever is gone by the time it is read has no more to show.
        for entry in fs::read_dir(hierarchy).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with("keyward-") {
                self.look_at_cgroup(&entry.path());
            }
        }
    }

    fn look_at_cgroup(&mut self, cgroup: &Path) {
        let pids = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
        for pid in pids.lines().filter_map(|line| line.parse().ok()) {
            self.look_at_process(pid);
        }
        for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.look_at_cgroup(&entry.path());
            }
        }
    }

    fn look_at_process(&mut self, pid: u32) {
        self.processes.insert(pid);
        for file in ["environ", "cmdline"] {
            let text = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            if contains(&text, self.key) {
                let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                self.with_key
                    .insert(format!("/proc/{pid}/{file} of {}", name.trim()));
            }
            if contains(&text, &self.placeholder) {
                self.with_placeholder.insert(pid);
            }
        }
    }
}

fn contains(text: &[u8], wanted: &str) -> bool {
    text.windows(wanted.len())
        .any(|window| window == wanted.as_bytes())
}

/// Without this, the watcher might be blind and every other test would still pass.
#[test]
fn the_watcher_finds_a_key_that_a_process_of_a_workload_holds() {
    let hierarchy = tempfile::tempdir().unwrap();
    let nested = hierarchy.path().join("keyward-0123456789ab/inner");
    fs::create_dir_all(&nested).unwrap();
    for leak in [false, true] {
        let mut command = std::process::Command::new("sleep");
        command
            .arg("60")
            .env_clear()
            .env("HELD", if leak { "<key>" } else { "<placeholder>" });
        let mut process = command.spawn().unwrap();
        fs::write(nested.join("cgroup.procs"), format!("{}\n", process.id())).unwrap();
        let watcher = Watcher::of(
            hierarchy.path().to_owned(),
            "<key>",
            "<placeholder>".to_owned(),
        );
        std::thread::sleep(Duration::from_millis(100));
        let seen = watcher.stop();
        process.kill().unwrap();
        process.wait().unwrap();
        assert_eq!(
            (seen.processes, seen.with_placeholder),
            (1, usize::from(!leak))
        );
        assert_eq!(seen.with_key.len(), usize::from(leak), "{seen:?}");
    }
}
