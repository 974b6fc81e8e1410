// SPDX-License-Identifier: MIT OR Apache-2.0
//! go: `GOPROXY` and `GOSUMDB`, from the environment, from the file that `go env -w` writes, or from go itself.

use std::path::PathBuf;

use super::{Place, Reading, ini::settings};

const NAMES: [&str; 2] = ["GOPROXY", "GOSUMDB"];

pub(super) fn read(reading: &mut Reading<'_>) {
    let sources = reading.sources;
    let mut missing: Vec<&str> = NAMES.to_vec();
    missing.retain(|name| match sources.variable(name) {
        Some(value) => {
            setting(value, &Place::Variable(name), reading);
            false
        }
        None => true,
    });
    let config = sources.variable("XDG_CONFIG_HOME").map(PathBuf::from);
    let config = config.or_else(|| sources.at_home(".config"));
    let own = sources.variable("GOENV").map(PathBuf::from);
    let own = own.or_else(|| config.map(|it| it.join("go/env")));
    // The last is part of go, with its defaults.
    let system = ["usr/local/go/go.env", "usr/lib/go/go.env"].map(|it| sources.system(it));
    for path in own.into_iter().chain(system) {
        if missing.is_empty() {
            return;
        }
        let Some(text) = reading.file(&path) else {
            continue;
        };
        for it in settings(&text) {
            let wanted = missing.iter().position(|name| *name == it.key);
            if let Some(at) = wanted.filter(|_| !it.value.is_empty()) {
                missing.swap_remove(at);
                setting(&it.value, &Place::File(&path, it.line), reading);
            }
        }
    }
    for name in missing {
        let arguments = ["env", name];
        if let Some(said) = sources.commands.run("go", &arguments) {
            let command = super::command_line("go", &arguments);
            setting(said.trim(), &Place::Command(&command), reading);
        }
    }
}

/// URLs, names of hosts (of a checksum database), and words: `https://a,https://b|direct`, `sum.host`, `sum.host+hash+key
/// https://mirror`, `off`.
fn setting(value: &str, place: &Place<'_>, reading: &mut Reading<'_>) {
    for word in value.split([',', '|', ' ']).map(str::trim) {
        match word {
            "" | "off" | "direct" => {}
            url if url.contains("://") => {
                if !url.starts_with("file:") {
                    reading.url(url, place);
                }
            }
            name => {
                let name = name.split('+').next().unwrap_or_default();
                reading.url(&format!("https://{name}"), place);
            }
        }
    }
}
