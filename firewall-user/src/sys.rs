// SPDX-License-Identifier: GPL-3.0-or-later
//! The fence: every `unsafe` block and every system call without a safe wrapper in nix or rustix lives in this
//! directory, one file a kernel area. The rest of the crate denies unsafe code.

pub(crate) mod bpf;
pub mod clone;
pub mod descriptors;
pub mod environ;
pub mod keyring;
pub mod landlock;
pub mod mount;
pub mod seccomp;
pub mod signals;
