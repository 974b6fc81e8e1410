// SPDX-License-Identifier: MIT OR Apache-2.0
//! The client as the benchmark sees it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Setup, Task};

/// A running client, with keyward in front of it or not. Dropping it closes its stdin, and waits for its end.
#[derive(Debug)]
pub(crate) struct Client {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Client {
    /// Starts the command, which ends in a call of this program's `client`, and waits until it is ready.
    pub(crate) fn start(command: &[String], setup: &Setup) -> Result<Self> {
        let (program, arguments) = command.split_first().context("an empty command")?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {program}"))?;
        let stdout = child.stdout.take().context("no stdout")?;
        let mut client = Self {
            stdin: child.stdin.take(),
            child,
            stdout: BufReader::new(stdout),
        };
        client.exchange::<()>(setup)?;
        Ok(client)
    }

    /// The process that was started; with keyward, not the client itself.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Has something done.
    pub(crate) fn ask<A: DeserializeOwned>(&mut self, task: Task) -> Result<A> {
        self.exchange(&task).with_context(|| format!("{task:?}"))
    }

    fn exchange<A: DeserializeOwned>(&mut self, line: &impl Serialize) -> Result<A> {
        let stdin = self.stdin.as_mut().context("no stdin")?;
        let line = serde_json::to_string(line).context("JSON")?;
        writeln!(stdin, "{line}").context("telling the client")?;
        let mut answer = String::new();
        self.stdout
            .read_line(&mut answer)
            .context("reading the client's answer")?;
        if answer.is_empty() {
            bail!(
                "the client ended: {}",
                self.child.wait().context("waiting for the client")?
            );
        }
        serde_json::from_str(&answer).with_context(|| format!("not an answer: {}", answer.trim()))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.stdin.take());
        self.child.wait().ok();
    }
}
