// SPDX-License-Identifier: MIT OR Apache-2.0
//! apt: its lists of sources in either format, and the proxy that it is set up with.

use std::path::Path;

use super::{Place, Reading};

pub(super) fn read(reading: &mut Reading<'_>) {
    let sources = reading.sources;
    let directory = sources.system("etc/apt/sources.list.d");
    let mut lists = vec![sources.system("etc/apt/sources.list")];
    lists.extend(reading.files_in(&directory, ".list"));
    for path in lists {
        let Some(text) = reading.file(&path) else {
            continue;
        };
        for (at, line) in text.lines().enumerate() {
            one_line(line, &Place::File(&path, at + 1), reading);
        }
    }
    for path in reading.files_in(&directory, ".sources") {
        if let Some(text) = reading.file(&path) {
            deb822(&path, &text, reading);
        }
    }
    let mut settings = vec![sources.system("etc/apt/apt.conf")];
    settings.extend(reading.files_in(&sources.system("etc/apt/apt.conf.d"), ""));
    for path in settings {
        let Some(text) = reading.file(&path) else {
            continue;
        };
        for (at, line) in text.lines().enumerate() {
            proxy(line, &Place::File(&path, at + 1), reading);
        }
    }
}

/// `deb [options] URI suite component…`
fn one_line(line: &str, place: &Place<'_>, reading: &mut Reading<'_>) {
    let line = line.split('#').next().unwrap_or_default();
    let mut words = line.split_whitespace();
    if matches!(words.next(), Some("deb" | "deb-src")) {
        words
            .filter(|it| it.contains("://"))
            .take(1)
            .for_each(|it| uri(it, place, reading));
    }
}

/// Stanzas with `URIs:`, unless they say that they are off.
fn deb822(path: &Path, text: &str, reading: &mut Reading<'_>) {
    let mut line = 0;
    let mut stanza: Vec<(usize, &str)> = Vec::new();
    for it in text.lines().chain([""]) {
        line += 1;
        if !it.trim().is_empty() {
            stanza.push((line, it));
            continue;
        }
        let off = stanza.iter().any(|(_, it)| {
            let (key, value) = it.split_once(':').unwrap_or((it, ""));
            key.eq_ignore_ascii_case("enabled")
                && matches!(
                    value.trim().to_ascii_lowercase().as_str(),
                    "no" | "false" | "0" | "off"
                )
        });
        let mut inside = false;
        for (line, it) in stanza.drain(..).filter(|_| !off) {
            let rest = match it.split_once(':') {
                _ if it.starts_with('#') => continue,
                // Goes on.
                _ if it.starts_with([' ', '\t']) => it,
                Some((key, value)) => {
                    inside = key.eq_ignore_ascii_case("uris");
                    value
                }
                None => continue,
            };
            for word in rest.split_whitespace().filter(|_| inside) {
                uri(word, &Place::File(path, line), reading);
            }
        }
    }
}

/// Local ones have no host.
fn uri(uri: &str, place: &Place<'_>, reading: &mut Reading<'_>) {
    let local = ["file:", "cdrom:", "copy:", "mirror+file:"];
    if !local.iter().any(|it| uri.starts_with(it)) {
        reading.url(uri, place);
    }
}

/// `Acquire::http::Proxy "http://…";`, also inside braces.
fn proxy(line: &str, place: &Place<'_>, reading: &mut Reading<'_>) {
    let line = line
        .split("//")
        .next()
        .filter(|it| it.trim().is_empty())
        .map_or(line, |_| "");
    let lower = line.to_ascii_lowercase();
    let Some(key) = lower.find("proxy") else {
        return;
    };
    let mut quoted = line[key..].split('"').skip(1);
    if let Some(url) = quoted.next().filter(|it| it.contains("://")) {
        reading.url(url, place);
    }
}
