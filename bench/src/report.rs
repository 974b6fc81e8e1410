// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where and on what it was measured, and writing it down.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;

/// The machine, as far as the numbers depend on it.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// Processes that wanted to run, over the last minute, when the results were written. Well above
    /// what the benchmark itself needs, the machine had other work and the times are worth less.
    pub(crate) load_average: f64,
}

impl Machine {
    pub(crate) fn read() -> Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").context("/proc/cpuinfo")?;
        let loadavg = fs::read_to_string("/proc/loadavg").context("/proc/loadavg")?;
        let load_average = loadavg
            .split(' ')
            .next()
            .and_then(|number| number.parse().ok());
        let model = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name"));
        let processor = model.map(|rest| rest.trim_start_matches([' ', '\t', ':']));
        Ok(Self {
            processor: processor.unwrap_or("unknown processor").to_owned(),
            // Not `available_parallelism`: the benchmark has pinned itself.
            cores: cpuinfo
                .lines()
                .filter(|line| line.starts_with("processor"))
                .count(),
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            load_average: load_average.context("/proc/loadavg")?,
        })
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}, {} cores, Linux {}, load average {:.1}",
            self.processor, self.cores, self.kernel, self.load_average
        )
    }
}

/// Where results go.
#[derive(Debug, clap::Args)]
pub(crate) struct Output {
    /// Where to write the results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Where to write the results as Markdown [default: stdout]
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

impl Output {
    pub(crate) fn write(&self, results: &impl Serialize, markdown: &str) -> Result<()> {
        if let Some(file) = &self.json {
            let json = serde_json::to_string_pretty(results).context("JSON")?;
            fs::write(file, json + "\n").with_context(|| format!("writing {}", file.display()))?;
        }
        match &self.markdown {
            Some(file) => {
                fs::write(file, markdown).with_context(|| format!("writing {}", file.display()))
            }
            None => io::stdout()
                .write_all(markdown.as_bytes())
                .context("writing to stdout"),
        }
    }
}
