// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes JSON of the tables that people write as TOML: it is read several times as fast, and each start reads them.

use std::{env, fs, path::PathBuf, process::ExitCode};

/// Without `.toml`; in `OUT_DIR` they have the last part of the name.
const TABLES: [&str; 8] = [
    "credentials/shapes",
    "prices",
    "providers/anthropic",
    "providers/bedrock",
    "providers/copilot",
    "providers/gemini",
    "providers/openai",
    "providers/vertex",
];

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    let Some(out) = env::var_os("OUT_DIR").map(PathBuf::from) else {
        return fail("OUT_DIR is not set: run this by cargo");
    };
    for table in TABLES {
        let path = format!("{table}.toml");
        println!("cargo::rerun-if-changed={path}");
        let name = table.rsplit('/').next().unwrap_or(table);
        let written = json(&path).and_then(|json| {
            fs::write(out.join(name).with_extension("json"), json).map_err(|it| it.to_string())
        });
        if let Err(error) = written {
            return fail(&format!("{path}: {}", error.replace('\n', " ")));
        }
    }
    ExitCode::SUCCESS
}

fn json(path: &str) -> Result<String, String> {
    let text = fs::read_to_string(path).map_err(|it| it.to_string())?;
    let table: toml::Table = toml::from_str(&text).map_err(|it| it.to_string())?;
    serde_json::to_string(&table).map_err(|it| it.to_string())
}

fn fail(message: &str) -> ExitCode {
    println!("cargo::error={message}");
    ExitCode::FAILURE
}
