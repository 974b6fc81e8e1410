// SPDX-License-Identifier: MIT OR Apache-2.0
//! What fuzzing starts from and what it found worth keeping, run once each.
//!
//! `cargo xtask fuzz` looks for more; this keeps what it taught, on the compiler that everything else is built with.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "it is how a test says that it failed"
)]

use std::{
    fs,
    panic::catch_unwind,
    path::{Path, PathBuf},
};

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "there it is a library")]
mod targets;

/// The files of a directory, which may be missing.
fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(found) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut files: Vec<_> = found.map(|it| it.unwrap().path()).collect();
    files.sort();
    files
}

fn replay(target: &str, run: fn(&[u8])) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut inputs = files(&fuzz.join("seeds").join(target));
    assert!(!inputs.is_empty(), "{target} has no seeds");
    inputs.extend(files(&fuzz.join("corpus").join(target)));
    for input in inputs {
        let bytes = fs::read(&input).unwrap();
        if catch_unwind(|| run(&bytes)).is_err() {
            panic!("{}", input.display());
        }
    }
}

macro_rules! replayed {
    ($($target:ident),+ $(,)?) => {
        $(
            #[test]
            fn $target() {
                replay(stringify!($target), targets::$target::run);
            }
        )+

        #[test]
        fn every_target_is_replayed() {
            let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
            let names = files(&targets);
            let names: Vec<_> = names.iter().map(|it| it.file_stem().unwrap()).collect();
            assert_eq!(names, [$(stringify!($target)),+]);
        }
    };
}

replayed! {
    client_hello,
    control,
    dns,
    head_guard,
    http_door,
    path,
    policy,
    rules,
    websocket,
}

/// A seed of another version would be turned away at the first look, and nothing behind it be tried.
#[test]
fn the_seeds_of_the_control_socket_are_understood() {
    use keyward_proxy::control::{decode_credentials, decode_doors, decode_start};
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/control");
    let read = |name: &str| fs::read(seeds.join(name)).unwrap();
    assert_eq!(
        decode_start(&read("start")).unwrap().settings.run,
        Some("r1".to_owned())
    );
    assert_eq!(decode_doors(&read("doors")).unwrap().len(), 2);
    assert!(!decode_credentials(&read("credentials")).unwrap().is_empty());
}
