// SPDX-License-Identifier: MIT OR Apache-2.0
//! pip: `pip.conf` of the user and of the system, and the environment; uv's variables too.

use std::path::{Path, PathBuf};

use super::{Place, Reading, ini::settings};

/// Says pip's default index and the host that its files come from. `-I`: nothing of the directory or of the user's own
/// packages is loaded.
const DEFAULT: &str = "from pip._internal.models.index import PyPI as it; \
     print(it.simple_url, 'https://' + it.file_storage_domain)";

const INDEX: [&str; 3] = ["PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"];
const MORE: [&str; 4] = [
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "UV_INDEX",
    "UV_EXTRA_INDEX_URL",
];

pub(super) fn read(reading: &mut Reading<'_>) {
    let sources = reading.sources;
    let mut has_index = false;
    for name in INDEX.into_iter().chain(MORE) {
        let Some(value) = sources.variable(name) else {
            continue;
        };
        has_index |= INDEX.contains(&name);
        urls(value, &Place::Variable(name), reading);
    }
    for path in files(reading) {
        let Some(text) = reading.file(&path) else {
            continue;
        };
        for it in settings(&text) {
            let place = Place::File(&path, it.line);
            match it.key.to_ascii_lowercase().replace('_', "-").as_str() {
                // A later file could replace it; what an earlier one names is then allowed without need, which is the
                // user's own choice, too.
                "index-url" => {
                    has_index = true;
                    urls(&it.value, &place, reading);
                }
                "extra-index-url" | "find-links" => urls(&it.value, &place, reading),
                _ => {}
            }
        }
    }
    if !has_index {
        let before = reading.entries.len();
        for python in ["python3", "python"] {
            reading.ask(python, &["-I", "-c", DEFAULT]);
            if reading.entries.len() > before {
                return;
            }
        }
    }
}

/// Several, with spaces or line ends between them; uv puts `name=` in front. Paths are not of interest.
fn urls(value: &str, place: &Place<'_>, reading: &mut Reading<'_>) {
    for word in value.split_whitespace() {
        let url = match word.split_once('=') {
            Some((name, url)) if !name.contains(['/', ':']) => url,
            _ => word,
        };
        if url.contains("://") && !url.starts_with("file:") {
            reading.url(url, place);
        }
    }
}

fn files(reading: &Reading<'_>) -> Vec<PathBuf> {
    let sources = &reading.sources;
    let mut files = Vec::new();
    if let Some(path) = sources.variable("PIP_CONFIG_FILE") {
        files.push(PathBuf::from(path));
    }
    let config = sources.variable("XDG_CONFIG_HOME").map(PathBuf::from);
    let config = config.or_else(|| sources.at_home(".config"));
    files.extend(config.map(|it| it.join("pip/pip.conf")));
    files.extend(sources.at_home(".pip/pip.conf"));
    let prefix = sources.variable("VIRTUAL_ENV").map(Path::new);
    files.extend(prefix.map(|it| it.join("pip.conf")));
    files.extend(["etc/xdg/pip/pip.conf", "etc/pip.conf"].map(|it| sources.system(it)));
    files
}
