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
    steps: BTreeMap<&'static str, u128>,
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
        self.steps
            .insert(step, now.duration_since(self.last).as_micros());
        self.last = now;
    }

    /// Adds one line of JSON, step to microseconds, to a file.
    pub fn append_to(mut self, path: &Path) -> Result<()> {
        self.steps.insert("total", self.begun.elapsed().as_micros());
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
