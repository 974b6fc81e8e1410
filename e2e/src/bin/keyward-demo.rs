// SPDX-License-Identifier: GPL-3.0-or-later
//! `cargo xtask demo`: keyward in one picture.
//!
//! A host with a way out, a stand-in for the provider on it, and a small agent. First the agent's attempts to get
//! something out without keyward, then the same agent under `keyward run`. Nothing leaves the machine: host and
//! outside are two network namespaces with a wire between them.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use e2e::demo::{Palette, Show, play};

fn main() -> ExitCode {
    let palette =
        Palette::new(io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    let show = play();
    let written = io::stdout().write_all(show.render(&palette).as_bytes());
    match (written, Show::went_well(&show)) {
        (Ok(()), true) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
