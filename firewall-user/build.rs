// SPDX-License-Identifier: GPL-3.0-or-later
//! Puts the eBPF object, which `cargo xtask build` has compiled, where `src/ebpf/object.rs` embeds it
//! from, and its hash beside it. Compiling it here would need a second toolchain for every `cargo check`.
//!
//! And makes Rust of `data/seccomp.toml`: only the C library's headers know the calls' numbers. The other lists in
//! `data/` become JSON, which is read several times as fast, and each run reads them.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::PathBuf,
    process::ExitCode,
};

use serde::Deserialize;

/// Names another object than the workspace's.
const OVERRIDE: &str = "KEYWARD_EBPF_OBJECT";

const SECCOMP: &str = "data/seccomp.toml";

/// In `data/`, read by `src/sandbox/view/tables.rs`.
const TABLES: [&str; 3] = ["hide", "protect", "sockets"];

fn main() -> ExitCode {
    println!("cargo::rerun-if-env-changed={OVERRIDE}");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={SECCOMP}");
    let object = match (env::var_os(OVERRIDE), env::var_os("CARGO_MANIFEST_DIR")) {
        (Some(path), _) => PathBuf::from(path),
        (None, Some(manifest)) => PathBuf::from(manifest).join("../target/ebpf/keyward-ebpf.o"),
        (None, None) => return fail("CARGO_MANIFEST_DIR is not set: run this by cargo"),
    };
    println!("cargo::rerun-if-changed={}", object.display());
    let Some(out) = env::var_os("OUT_DIR").map(PathBuf::from) else {
        return fail("OUT_DIR is not set: run this by cargo");
    };
    let copied = fs::read(&object).and_then(|bytes| {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        println!(
            "cargo::rustc-env=KEYWARD_EBPF_HASH={:016x}",
            hasher.finish()
        );
        fs::write(out.join("keyward-ebpf.o"), bytes)
    });
    if let Err(error) = copied {
        return fail(&format!(
            "no eBPF object at {} ({error}); run: cargo xtask build",
            object.display()
        ));
    }
    let written = seccomp().and_then(|rust| {
        fs::write(out.join("seccomp.rs"), rust).map_err(|error| error.to_string())
    });
    if let Err(error) = written {
        return fail(&format!("{SECCOMP}: {}", error.replace('\n', " ")));
    }
    for name in TABLES {
        let path = format!("data/{name}.toml");
        println!("cargo::rerun-if-changed={path}");
        let written = json(&path).and_then(|json| {
            fs::write(out.join(format!("{name}.json")), json).map_err(|error| error.to_string())
        });
        if let Err(error) = written {
            return fail(&format!("{path}: {}", error.replace('\n', " ")));
        }
    }
    ExitCode::SUCCESS
}

fn json(path: &str) -> Result<String, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let table: toml::Table = toml::from_str(&text).map_err(|error| error.to_string())?;
    serde_json::to_string(&table).map_err(|error| error.to_string())
}

fn fail(message: &str) -> ExitCode {
    println!("cargo::error={message}");
    ExitCode::FAILURE
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rule: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    calls: Vec<Call>,
    why: String,
    #[serde(default)]
    answer: Answer,
    only: Option<Only>,
    when: Option<Vec<Vec<Test>>>,
    unless: Option<Vec<Vec<Test>>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Call {
    Known(String),
    New { name: String, number: u32 },
}

#[derive(Default, Deserialize)]
enum Answer {
    #[default]
    #[serde(rename = "EPERM")]
    NotPermitted,
    #[serde(rename = "ENOSYS")]
    NotThere,
    #[serde(rename = "ask")]
    Ask,
}

#[derive(Deserialize, PartialEq)]
enum Only {
    #[serde(rename = "no-userns")]
    NoUserNamespaces,
    #[serde(rename = "x86_64")]
    X86,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Test {
    argument: u8,
    #[serde(default = "every_bit")]
    mask: u32,
    is: BTreeMap<String, u32>,
}

fn every_bit() -> u32 {
    u32::MAX
}

/// A list of `Rule`s as `src/sandbox/seccomp/rules.rs` has them.
fn seccomp() -> Result<String, String> {
    let text = fs::read_to_string(SECCOMP).map_err(|error| error.to_string())?;
    let file: File = toml::from_str(&text).map_err(|error| error.to_string())?;
    let is_x86 = env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|it| it == "x86_64");
    let mut rust = "&[\n".to_owned();
    for rule in &file.rule {
        if rule.why.is_empty() || rule.calls.is_empty() {
            return Err("each rule names its calls and says why".to_owned());
        }
        if rule.only == Some(Only::X86) && !is_x86 {
            continue;
        }
        let answer = match rule.answer {
            Answer::NotPermitted => "Answer::Error(1)",
            Answer::NotThere => "Answer::Error(38)",
            Answer::Ask => "Answer::Ask",
        };
        let condition = match (&rule.when, &rule.unless) {
            (None, None) => "Condition::Always".to_owned(),
            (Some(lists), None) => format!("Condition::When({})", lists_of(lists)),
            (None, Some(lists)) => format!("Condition::Unless({})", lists_of(lists)),
            (Some(_), Some(_)) => return Err("a rule has `when` or `unless`, not both".to_owned()),
        };
        let without = rule.only == Some(Only::NoUserNamespaces);
        for call in &rule.calls {
            let number = match call {
                Call::Known(name) => format!("libc::SYS_{name}"),
                Call::New { name, number } => format!("/* {name} */ {number}"),
            };
            writeln!(
                rust,
                "Rule {{ call: {number}, answer: {answer}, condition: {condition}, without_user_namespaces: {without} }},"
            )
            .map_err(|error| error.to_string())?;
        }
    }
    rust.push(']');
    Ok(rust)
}

fn lists_of(lists: &[Vec<Test>]) -> String {
    let lists: Vec<_> = lists
        .iter()
        .map(|tests| {
            let tests: Vec<_> = tests
                .iter()
                .map(|test| {
                    let values: Vec<_> = test.is.values().collect();
                    format!(
                        "Test {{ argument: {}, mask: {}, values: &{values:?} }}",
                        test.argument, test.mask
                    )
                })
                .collect();
            format!("&[{}]", tests.join(", "))
        })
        .collect();
    format!("&[{}]", lists.join(", "))
}
