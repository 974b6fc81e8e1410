// SPDX-License-Identifier: GPL-3.0-or-later
//! How long each step of a run took, for `cargo xtask bench`.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};

/// A stopwatch with named laps.
#[derive(Debug)]
pub struct Timings {
    begun: Instant,
    last: Instant,
    steps: BTreeMap<String, u64>,
}

impl Default for Timings {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            begun: now,
            last: now,
            steps: BTreeMap::new(),
        }
    }
}

impl Timings {
    /// Ends a step: what has passed since the last one ended is its time.
    pub fn lap(&mut self, step: &'static str) {
        let now = Instant::now();
        self.note(step, now.duration_since(self.last).as_micros());
        self.last = now;
    }

    /// Adds a step that was taken beside these, by another thread.
    pub fn note(&mut self, step: &'static str, took: u128) {
        self.steps
            .insert(step.to_owned(), u64::try_from(took).unwrap_or(u64::MAX));
    }

    /// What each step took so far, in microseconds.
    pub fn steps(&self) -> BTreeMap<String, u64> {
        self.steps.clone()
    }

    /// Adds steps that were taken beside these, by another process.
    pub fn add(&mut self, steps: BTreeMap<String, u64>) {
        self.steps.extend(steps);
    }

    /// Adds one line of JSON, step to microseconds, to a file.
    pub fn append_to(mut self, path: &Path) -> Result<()> {
        let total = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.steps.insert("total".to_owned(), total);
        let mut line = serde_json::to_vec(&self.steps)?;
        line.push(b'\n');
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|mut file| file.write_all(&line))
            .with_context(|| format!("cannot add the timings to {}", path.display()))
    }
}
