// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask soak`: the gateway for a long time, under requests and WebSockets that either side breaks off.

use anyhow::{Context, Result};

use crate::command::Cmd;
use crate::workspace::Workspace;

/// Run the gateway for long under many streams and faults, and look at what is left behind
///
/// Some are WebSockets, some have slow clients. Every answer must be its own request's, every token be counted once, and descriptors, tasks and memory be back where
/// they were. `KEYWARD_SOAK_SEED` repeats a run's choices.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long it runs
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=10_080))]
    minutes: u64,

    /// How many requests are under way at any time
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    streams: u64,
}

pub(crate) fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    Cmd::cargo("test")
        .args(["--package", "keyward-proxy", "--test", "it", "--"])
        .args(["--exact", "soak::streams_and_faults"])
        .args(["--ignored", "--nocapture"])
        .env("KEYWARD_SOAK_SECONDS", (args.minutes * 60).to_string())
        .env("KEYWARD_SOAK_STREAMS", args.streams.to_string())
        .run(workspace)
        .context("soaking")
}
