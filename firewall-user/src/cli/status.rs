// SPDX-License-Identifier: GPL-3.0-or-later
//! What can be asked about what confines runs.

use clap::Args;

// `keyward status`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// The run, or the beginning of its name [default: all of this host]
    #[arg(value_name = "RUN")]
    pub run: Option<String>,
    /// One JSON document
    #[arg(long)]
    pub json: bool,
}
