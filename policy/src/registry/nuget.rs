// SPDX-License-Identifier: MIT OR Apache-2.0
//! NuGet: `NuGet.Config` of the user, in which the client writes its default itself.

use super::{Place, Reading, xml};

pub(super) fn read(reading: &mut Reading<'_>) {
    let sources = reading.sources;
    let own = [".nuget/NuGet/NuGet.Config", ".config/NuGet/NuGet.Config"];
    for path in own.iter().filter_map(|it| sources.at_home(it)) {
        let Some(text) = reading.file(&path) else {
            continue;
        };
        for it in xml::read(&text).into_iter().filter(|it| it.is_tag) {
            let names: Vec<_> = it.path.iter().map(String::as_str).collect();
            if let [.., "packageSources", "add"] = names.as_slice() {
                let url = xml::attribute(&it.text, "value").unwrap_or_default();
                if url.contains("://") {
                    reading.url(&url, &Place::File(&path, it.line));
                }
            }
        }
    }
}
