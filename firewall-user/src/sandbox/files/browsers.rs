// SPDX-License-Identifier: GPL-3.0-or-later
//! Managed settings for browsers: what the doors refuse is not even tried.
//!
//! A browser offers an encrypted ClientHello to every server, in earnest or as decoy, and nobody can tell which; it
//! asks DNS over HTTPS and QUIC before it falls back to what the host has. Each of these would be refused, and pages
//! would fail or wait.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::PrivateFile;

/// Where Chromium and its kin look for managed settings, below `/etc`.
/// <https://chromium.googlesource.com/chromium/src/+/HEAD/docs/enterprise/add_new_policy.md>
///
/// Chrome for Testing is what browser automation downloads.
const CHROMIUM: [&str; 5] = [
    "chromium/policies/managed",
    "chromium-browser/policies/managed",
    "opt/chrome/policies/managed",
    "opt/chrome_for_testing/policies/managed",
    "opt/edge/policies/managed",
];

/// Read in the order of their names, later ones win: behind what the host's administrator has there.
const CHROMIUM_FILE: &str = "zz-keyward.json";

const CHROMIUM_POLICY: &str = r#"{
  "BuiltInDnsClientEnabled": false,
  "DnsOverHttpsMode": "off",
  "EncryptedClientHelloEnabled": false,
  "QuicAllowed": false
}
"#;

/// <https://mozilla.github.io/policy-templates/>
const FIREFOX: &str = "firefox/policies/policies.json";

const FIREFOX_POLICY: &str = r#"{
  "policies": {
    "DisableEncryptedClientHello": true,
    "DNSOverHTTPS": { "Enabled": false, "Locked": true },
    "Preferences": { "network.http.http3.enable": { "Value": false, "Status": "locked" } }
  }
}
"#;

/// The files. Firefox has a single one: an administrator's own stays as it is.
pub(super) fn policies(etc: &Path) -> Result<Vec<PrivateFile>> {
    let mut files: Vec<PrivateFile> = CHROMIUM
        .iter()
        .map(|directory| PrivateFile {
            path: Path::new(directory).join(CHROMIUM_FILE),
            content: CHROMIUM_POLICY.as_bytes().to_vec(),
        })
        .collect();
    if !etc.join(FIREFOX).try_exists()? {
        files.push(PrivateFile {
            path: PathBuf::from(FIREFOX),
            content: FIREFOX_POLICY.as_bytes().to_vec(),
        });
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_json_and_an_administrators_own_stays() {
        let etc = tempfile::tempdir().unwrap();
        let files = policies(etc.path()).unwrap();
        assert_eq!(files.len(), 6);
        for file in &files {
            let parsed: serde_json::Value = serde_json::from_slice(&file.content).unwrap();
            assert!(parsed.is_object(), "{}", file.path.display());
        }
        std::fs::create_dir_all(etc.path().join("firefox/policies")).unwrap();
        std::fs::write(etc.path().join(FIREFOX), "{}").unwrap();
        assert_eq!(policies(etc.path()).unwrap().len(), 5);
    }
}
