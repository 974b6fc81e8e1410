// SPDX-License-Identifier: MIT OR Apache-2.0
//! Maven: mirrors and repositories of `settings.xml`, and the central repository that Maven's own model names.

use std::path::PathBuf;

use super::{Place, Reading, xml};

pub(super) fn read(reading: &mut Reading<'_>) {
    let sources = reading.sources;
    let homes = homes(reading);
    let mut files: Vec<_> = sources.at_home(".m2/settings.xml").into_iter().collect();
    files.extend(homes.iter().map(|it| it.join("conf/settings.xml")));
    files.push(sources.system("etc/maven/settings.xml"));
    let mut replaced = false;
    for path in files {
        let Some(text) = reading.file(&path) else {
            continue;
        };
        let mut url = None;
        for it in xml::read(&text).into_iter().filter(|it| !it.is_tag) {
            let names: Vec<_> = it.path.iter().map(String::as_str).collect();
            match names.as_slice() {
                [.., "mirror", "mirrorOf"] => {
                    // `*`, `central`, `external:*`; `*,!other` is nearly everything, too.
                    let all = |it: &str| {
                        matches!(it.trim(), "*" | "central") || it.starts_with("external:")
                    };
                    replaced |= it.text.split(',').any(all);
                }
                [.., "mirror", "url"] => url = Some(it),
                [.., "repository" | "pluginRepository", "url"] => url = Some(it),
                _ => {}
            }
            if let Some(it) = url.take() {
                reading.url(&it.text, &Place::File(&path, it.line));
            }
        }
    }
    if !replaced {
        central(&homes, reading);
    }
}

fn homes(reading: &Reading<'_>) -> Vec<PathBuf> {
    let sources = &reading.sources;
    let named = ["MAVEN_HOME", "M2_HOME"].into_iter();
    let named = named
        .filter_map(|it| sources.variable(it))
        .map(PathBuf::from);
    let system = ["usr/share/maven", "opt/maven", "usr/local/maven"].map(|it| sources.system(it));
    named.chain(system).collect()
}

/// The model from which every project inherits is in one of Maven's archives.
fn central(homes: &[PathBuf], reading: &mut Reading<'_>) {
    const MODEL: &str = "org/apache/maven/model/pom-4.0.0.xml";
    for home in homes {
        for archive in reading.files_in(&home.join("lib"), ".jar") {
            let name = archive
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if !name.starts_with("maven-model-builder") {
                continue;
            }
            let path = archive.display().to_string();
            let Some(model) = reading.sources.commands.run("unzip", &["-p", &path, MODEL]) else {
                continue;
            };
            for it in xml::read(&model).iter().filter(|it| !it.is_tag) {
                let names: Vec<_> = it.path.iter().map(String::as_str).collect();
                if matches!(
                    names.as_slice(),
                    [.., "repository" | "pluginRepository", "url"]
                ) {
                    reading.url(&it.text, &Place::File(&archive, 0));
                }
            }
            return;
        }
    }
}
