// SPDX-License-Identifier: GPL-3.0-or-later
//! Puts the eBPF object, which `cargo xtask build` has compiled, where `src/ebpf/object.rs` embeds it
//! from, and its hash beside it. Compiling it here would need a second toolchain for every `cargo check`.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::PathBuf,
    process::ExitCode,
};

/// Names another object than the workspace's.
const OVERRIDE: &str = "KEYWARD_EBPF_OBJECT";

fn main() -> ExitCode {
    println!("cargo::rerun-if-env-changed={OVERRIDE}");
    println!("cargo::rerun-if-changed=build.rs");
    let object = match (env::var_os(OVERRIDE), env::var_os("CARGO_MANIFEST_DIR")) {
        (Some(path), _) => PathBuf::from(path),
        (None, Some(manifest)) => PathBuf::from(manifest).join("../target/ebpf/keyward-ebpf.o"),
        (None, None) => return fail("CARGO_MANIFEST_DIR is not set: run this by cargo"),
    };
    println!("cargo::rerun-if-changed={}", object.display());
    let Some(out) = env::var_os("OUT_DIR") else {
        return fail("OUT_DIR is not set: run this by cargo");
    };
    let copied = fs::read(&object).and_then(|bytes| {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        println!(
            "cargo::rustc-env=KEYWARD_EBPF_HASH={:016x}",
            hasher.finish()
        );
        fs::write(PathBuf::from(out).join("keyward-ebpf.o"), bytes)
    });
    match copied {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!(
            "no eBPF object at {} ({error}); run: cargo xtask build",
            object.display()
        )),
    }
}

fn fail(message: &str) -> ExitCode {
    println!("cargo::error={message}");
    ExitCode::FAILURE
}
