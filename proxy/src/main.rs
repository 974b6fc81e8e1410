// SPDX-License-Identifier: MIT OR Apache-2.0
//! `keyward-proxy`: the gateway as a process, under a supervisor or alone.
#![forbid(unsafe_code)]

use std::process::ExitCode;

/// glibc's took a tenth of the time that is spent outside the kernel.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    keyward_proxy::process::main(std::env::args_os().skip(1))
}
