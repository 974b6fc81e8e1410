// SPDX-License-Identifier: GPL-3.0-or-later
//! Asking the host's package managers how they are set up.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use keyward_policy::Commands;

/// Node takes half a second to start on a busy machine; what takes longer than this will not answer.
const PATIENCE: Duration = Duration::from_secs(10);

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
        let mut output = child.stdout.take()?;
        // On a thread of its own: one that writes more than a pipe holds would wait for ever.
        let reading = thread::spawn(move || {
            let mut text = String::new();
            output.read_to_string(&mut text).ok().map(|_| text)
        });
        let succeeded = wait(&mut child);
        let text = reading.join().ok().flatten();
        text.filter(|_| succeeded)
    }
}

fn wait(child: &mut Child) -> bool {
    let deadline = Instant::now() + PATIENCE;
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
