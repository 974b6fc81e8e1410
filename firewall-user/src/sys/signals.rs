// SPDX-License-Identifier: GPL-3.0-or-later
//! Signal actions.

use nix::sys::signal::{SigAction, Signal, sigaction};

/// Sets an action that runs no code of ours (default or ignore).
pub fn set_default(signal: Signal, action: &SigAction) -> nix::Result<()> {
    // SAFETY: the action is not a handler, so nothing runs in signal context.
    unsafe { sigaction(signal, action) }.map(drop)
}
