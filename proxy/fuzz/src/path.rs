// SPDX-License-Identifier: MIT OR Apache-2.0
//! A request target: whatever is sent stays below the base path and is in its one spelling.

use keyward_proxy::{
    gateway::path::{ApiPath, normalise},
    provider::Providers,
};

/// One execution.
pub fn run(bytes: &[u8]) {
    let Ok(target) = str::from_utf8(bytes) else {
        return;
    };
    let Ok(normal) = normalise(target) else {
        return;
    };
    assert!(normal.path.starts_with('/') && !normal.path.starts_with("//"));
    assert_eq!(
        normalise(&normal.path).map(|it| it.path),
        Ok(normal.path.clone())
    );
    for provider in Providers::builtin().iter() {
        for base in ["", "/v1", "/openai/v1", "/gw"] {
            let mut sent = String::new();
            ApiPath::new(&normal.path, base, &provider.versions).write_to(&mut sent);
            assert!(sent.starts_with(base), "{sent:?} at {base:?}");
            assert!(
                sent.split('/').all(|it| it != "." && it != ".."),
                "{sent:?}"
            );
            assert!(sent.starts_with('/') && sent.bytes().all(|it| it.is_ascii_graphic()));
        }
    }
}
