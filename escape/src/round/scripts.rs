// SPDX-License-Identifier: GPL-3.0-or-later
//! The host's part in an attempt: what its root does before the run, meanwhile, and after it.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::{Way, bare, degraded};
use crate::catalogue::Attempt;
use crate::lab::{Lab, USER};

/// See the module. What scripts find in their environment is in [`Attempt::meanwhile`].
pub(super) struct Scripts<'a> {
    pub(super) lab: &'a Lab,
    pub(super) way: Way,
    /// keyward's binary, and where the run logs to: not without keyward.
    pub(super) run: Option<(&'a Path, &'a Path)>,
}

impl Scripts<'_> {
    /// Prepares the host. It has to succeed.
    pub(super) fn before(&self, attempts: &[&Attempt]) -> Result<()> {
        for attempt in attempts {
            if let Some(script) = &attempt.before {
                let output = self.run(attempt, script, None)?;
                ensure!(output.status.success(), "{}: {}", attempt.id, said(&output));
            }
        }
        Ok(())
    }

    /// Does what a program has asked for, once.
    pub(super) fn meanwhile(&self, attempt: &Attempt, child: &Child) -> Result<()> {
        let Some(script) = &attempt.meanwhile else {
            return Ok(());
        };
        let signs = self.lab.shared().join("work/signs");
        let sign = |what: &str| signs.join(format!("{}.{what}", self.mark(attempt)));
        if !sign("go").exists() || sign("done").exists() {
            return Ok(());
        }
        let output = self.run(attempt, script, Some(child))?;
        // Elsewhere first: whoever waits for it reads all of it.
        fs::write(sign("half"), said(&output))?;
        fs::rename(sign("half"), sign("done"))?;
        Ok(())
    }

    /// Looks at what is left, and clears up. Says what is not as it should be.
    pub(super) fn after(&self, attempts: &[&Attempt]) -> Result<Vec<(String, String)>> {
        let mut faults = Vec::new();
        for attempt in attempts {
            if let Some(script) = &attempt.after {
                let output = self.run(attempt, script, None)?;
                if !output.status.success() {
                    faults.push((attempt.id.clone(), said(&output)));
                }
            }
        }
        Ok(faults)
    }

    fn run(&self, attempt: &Attempt, script: &str, child: Option<&Child>) -> Result<Output> {
        let keyward = child.filter(|_| self.run.is_some());
        let number = |it: Option<String>| it.unwrap_or_default();
        let mut command = Command::new("/bin/sh");
        bare(&mut command, self.lab);
        command
            .args(["-c", script])
            .env("MARK", self.mark(attempt))
            .env("KEY", self.lab.key())
            .env("KEYWARD", number(keyward.map(|it| it.id().to_string())))
            .env("PROXY", number(keyward.and_then(proxy_of)))
            .env("USER", format!("{USER}:{USER}"))
            .env("OUTSIDE", self.lab.outside()?)
            .env("EVIDENCE", self.lab.evidence())
            .stdin(Stdio::null());
        if let Some((binary, logs)) = self.run {
            command
                .env("BINARY", binary)
                .env("LOGS", logs)
                .envs(degraded());
        }
        self.lab.host().run(move || command.output())?.context("sh")
    }

    fn mark(&self, attempt: &Attempt) -> String {
        self.way.mark(self.lab.nonce(), &attempt.id)
    }
}

fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// The pid of keyward's proxy.
fn proxy_of(keyward: &Child) -> Option<String> {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", keyward.id())).ok()?;
    let is_proxy = |pid: &&str| {
        let cmdline = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        cmdline.starts_with(b"keyward-proxy\0")
    };
    children
        .split_whitespace()
        .find(is_proxy)
        .map(str::to_owned)
}
