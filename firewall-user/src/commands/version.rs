// SPDX-License-Identifier: GPL-3.0-or-later
//! `keyward version`.

use std::io::{self, Write as _};

/// Prints it.
pub fn run() -> io::Result<()> {
    writeln!(io::stdout(), "keyward {}", env!("CARGO_PKG_VERSION"))
}
