// SPDX-License-Identifier: MIT OR Apache-2.0
//! gem and bundler: `.gemrc`, bundler's mirrors, else what gem says.

use super::{Place, Reading};

pub(super) fn read(reading: &mut Reading<'_>) {
    let sources = reading.sources;
    for (name, value) in sources.environment {
        if name.starts_with("BUNDLE_MIRROR__") && value.contains("://") {
            reading.url(value, &Place::Variable(name));
        }
    }
    let own = [".gemrc", ".bundle/config"].map(|it| sources.at_home(it));
    let files = own
        .into_iter()
        .flatten()
        .chain([sources.system("etc/gemrc")]);
    for path in files.collect::<Vec<_>>() {
        let Some(text) = reading.file(&path) else {
            continue;
        };
        let mut inside = false;
        for (at, line) in text.lines().enumerate() {
            let place = Place::File(&path, at + 1);
            let item = line.trim_start().strip_prefix("- ").filter(|_| inside);
            let mirror = line
                .strip_prefix("BUNDLE_MIRROR__")
                .and_then(|it| it.split_once(": "));
            match (item, mirror) {
                (Some(url), _) | (None, Some((_, url))) if url.contains("://") => {
                    reading.url(url.trim().trim_matches(['"', '\'']), &place);
                }
                _ => inside = line.starts_with(":sources:") || (inside && line.starts_with(' ')),
            }
        }
    }
    if reading.entries.is_empty() {
        reading.ask("gem", &["sources", "--list"]);
    }
}
