// SPDX-License-Identifier: GPL-3.0-or-later
//! Asking the host's package managers how they are set up.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use keyward_policy::Commands;

/// Node takes half a second to start on a busy machine; what takes longer than this will not answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest answer: a few URLs. What says more is something else.
const LONGEST: u64 = 1 << 20;

/// Between two looks at whether it has ended.
const GLANCE: Duration = Duration::from_millis(2);

/// Runs them as the caller, never as root on his behalf: what they read and load is his.
#[derive(Debug)]
pub(super) struct AsUser<'a> {
    pub(super) user: Option<(u32, u32)>,
    pub(super) environment: &'a BTreeMap<String, String>,
}

impl Commands for AsUser<'_> {
    fn run(&self, program: &str, arguments: &[&str]) -> Option<String> {
        self.run_until(program, arguments, Instant::now() + PATIENCE)
    }
}

impl AsUser<'_> {
    fn run_until(&self, program: &str, arguments: &[&str], deadline: Instant) -> Option<String> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(self.environment)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if let Some((uid, gid)) = self.user {
            // The standard library clears the supplementary groups when it changes the user.
            command.uid(uid).gid(gid);
        }
        let mut child = command.spawn().ok()?;
        let output = child.stdout.take()?;
        // On a thread of its own: one that writes more than a pipe holds would wait for ever. Nobody waits for the thread
        // either: what a program leaves running can hold the other end.
        let (said, hears) = mpsc::channel();
        thread::spawn(move || {
            let mut text = String::new();
            let read = output.take(LONGEST).read_to_string(&mut text);
            // Nobody may be left to hear it.
            said.send(read.ok().map(|_| text)).ok();
        });
        let succeeded = wait(&mut child, deadline);
        let left = deadline.saturating_duration_since(Instant::now());
        let text = hears.recv_timeout(left).ok().flatten();
        text.filter(|_| succeeded)
    }
}

fn wait(child: &mut Child, deadline: Instant) -> bool {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if Instant::now() < deadline => sleep(GLANCE),
            Ok(None) | Err(_) => {
                // Both fail if it has ended meanwhile, which is as well.
                child.kill().ok();
                child.wait().ok();
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_end_or_says_too_much_is_not_waited_for() {
        let path = std::env::var("PATH").unwrap();
        let environment = BTreeMap::from([("PATH".to_owned(), path)]);
        let host = AsUser {
            user: None,
            environment: &environment,
        };
        let run = |script: &str, patience: Duration| {
            let begun = Instant::now();
            let said = host.run_until("sh", &["-c", script], begun + patience);
            assert!(begun.elapsed() < Duration::from_secs(8), "{script}");
            said
        };
        let (long, short) = (Duration::from_secs(30), Duration::from_millis(300));
        assert_eq!(run("echo x", long).as_deref(), Some("x\n"));
        assert_eq!(run("echo x; exit 1", long), None);
        assert_eq!(run("yes", long), None);
        assert_eq!(run("echo x; exec sleep 30", short), None);
        assert_eq!(run("echo x; sleep 10 & exit 0", short), None);
    }
}
