// SPDX-License-Identifier: GPL-3.0-or-later
//! Files of `/etc` that the workload sees in place of the host's, computed before anything is mounted.
//!
//! Nothing of the host or of the user is written to: the files are laid over `/etc` in the workload's mount
//! namespace alone.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use firewall_common::Endpoints;
use keyward_proxy::credential::Credentials;
use keyward_proxy::provider::Providers;
use nix::unistd::gethostname;
use toml::{Table, Value};

mod browsers;
mod gemini;

/// One file: its path below `/etc`, and what is in it.
#[derive(Debug, PartialEq, Eq)]
pub struct PrivateFile {
    /// Relative to `/etc`.
    pub path: PathBuf,
    /// The whole content.
    pub content: Vec<u8>,
}

/// The files of a run. `etc` is the host's `/etc`.
pub fn for_run(
    etc: &Path,
    endpoints: &Endpoints,
    providers: &Providers,
    credentials: &Credentials,
) -> Result<Vec<PrivateFile>> {
    let mut files = vec![resolv_conf(endpoints), hosts()?];
    if endpoints.transparent != 0 {
        files.extend(browsers::policies(etc)?);
    }
    if let Some(openai) = providers.get("openai")
        && credentials.serve(openai)
    {
        let base_url = format!("http://{}:{}/v1", Ipv4Addr::from(endpoints.v4), openai.port);
        files.push(codex_managed(etc, &base_url)?);
        files.push(codex_defaults(etc)?);
    }
    let serves = |name| providers.get(name).is_some_and(|it| credentials.serve(it));
    if serves("gemini") {
        files.push(gemini::settings(etc, gemini::GEMINI)?);
    } else if serves("vertex") {
        files.push(gemini::settings(etc, gemini::VERTEX)?);
    }
    Ok(files)
}

fn resolv_conf(endpoints: &Endpoints) -> PrivateFile {
    let addresses = [IpAddr::from(endpoints.v4), IpAddr::from(endpoints.v6)];
    let content = addresses
        .iter()
        .map(|address| format!("nameserver {address}\n"))
        .collect();
    PrivateFile {
        path: PathBuf::from("resolv.conf"),
        content: String::into_bytes(content),
    }
}

/// Names that the host knows by its own file are asked of our DNS like all others: with their real addresses the
/// workload would get nowhere, as it is the name that is allowed.
fn hosts() -> Result<PrivateFile> {
    let own = gethostname().context("cannot tell the host's name")?;
    Ok(PrivateFile {
        path: PathBuf::from("hosts"),
        content: format!(
            "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 {}\n",
            own.to_string_lossy()
        )
        .into_bytes(),
    })
}

/// Codex takes its base URL from no variable. The managed file beats the user's own configuration, which is what is
/// wanted here: with another base URL Codex would carry its key past the gateway.
fn codex_managed(etc: &Path, base_url: &str) -> Result<PrivateFile> {
    let path = PathBuf::from("codex/managed_config.toml");
    let mut table = host_table(&etc.join(&path))?;
    table.insert(
        "openai_base_url".to_owned(),
        Value::String(base_url.to_owned()),
    );
    Ok(PrivateFile {
        path,
        content: table.to_string().into_bytes(),
    })
}

/// The system-wide file ranks below the user's own: what he or the host's administrator set stays. Plugins and
/// analytics would only ask for hosts that are out of reach, and wait.
fn codex_defaults(etc: &Path) -> Result<PrivateFile> {
    let path = PathBuf::from("codex/config.toml");
    let mut table = host_table(&etc.join(&path))?;
    for (section, key) in [("features", "plugins"), ("analytics", "enabled")] {
        let section = table
            .entry(section)
            .or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(section) = section {
            section.entry(key).or_insert(Value::Boolean(false));
        }
    }
    Ok(PrivateFile {
        path,
        content: table.to_string().into_bytes(),
    })
}

/// What the host has in the same place; nothing if there is no such file.
fn host_table(path: &Path) -> Result<Table> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Table::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    text.parse()
        .with_context(|| format!("{} is not valid TOML", path.display()))
}

#[cfg(test)]
mod tests {
    use keyward_proxy::credential::Credential;

    use super::*;
    use crate::endpoints;

    fn files(etc: &Path, name: &str) -> Result<Vec<PrivateFile>> {
        let mut credentials = Credentials::new();
        let credential = Credential::new(b"sk-real-0123456789".to_vec()).unwrap();
        credentials.insert(name, credential);
        let providers = Providers::builtin();
        for_run(
            etc,
            &endpoints::for_run(
                endpoints::DEFAULT_ADDRESS,
                endpoints::Doors::Closed,
                &providers,
            ),
            &providers,
            &credentials,
        )
    }

    fn content(files: &[PrivateFile], path: &str) -> String {
        let mut files = files.iter();
        let file = files.find(|file| file.path == Path::new(path)).unwrap();
        String::from_utf8(file.content.clone()).unwrap()
    }

    #[test]
    fn names_are_asked_of_the_proxy() {
        let etc = tempfile::tempdir().unwrap();
        let files = files(etc.path(), "anthropic").unwrap();
        let paths: Vec<_> = files.iter().map(|it| it.path.as_path()).collect();
        assert_eq!(paths, [Path::new("resolv.conf"), Path::new("hosts")]);
        assert!(content(&files, "hosts").starts_with("127.0.0.1 localhost\n"));
        let expected = "nameserver 172.30.0.30\nnameserver fd6b:6579:7761:7264::30\n";
        assert_eq!(content(&files, "resolv.conf"), expected);
    }

    #[test]
    fn codex_is_pointed_at_the_gateway() {
        let etc = tempfile::tempdir().unwrap();
        let files = files(etc.path(), "openai").unwrap();
        let managed = content(&files, "codex/managed_config.toml");
        assert_eq!(
            managed,
            "openai_base_url = \"http://172.30.0.30:10000/v1\"\n"
        );
        let defaults: Table = content(&files, "codex/config.toml").parse().unwrap();
        assert_eq!(defaults["features"]["plugins"], Value::Boolean(false));
        assert_eq!(defaults["analytics"]["enabled"], Value::Boolean(false));
    }

    #[test]
    fn what_the_host_has_set_stays_but_for_the_base_url() {
        let etc = tempfile::tempdir().unwrap();
        fs::create_dir(etc.path().join("codex")).unwrap();
        let managed = "model = \"m\"\nopenai_base_url = \"https://elsewhere.example\"\n";
        fs::write(etc.path().join("codex/managed_config.toml"), managed).unwrap();
        fs::write(
            etc.path().join("codex/config.toml"),
            "[features]\nplugins = true\n",
        )
        .unwrap();
        let files = files(etc.path(), "openai").unwrap();
        let managed: Table = content(&files, "codex/managed_config.toml")
            .parse()
            .unwrap();
        assert_eq!(managed["model"].as_str(), Some("m"));
        assert_eq!(
            managed["openai_base_url"].as_str(),
            Some("http://172.30.0.30:10000/v1")
        );
        let defaults: Table = content(&files, "codex/config.toml").parse().unwrap();
        assert_eq!(defaults["features"]["plugins"], Value::Boolean(true));
    }

    #[test]
    fn an_unreadable_file_of_the_host_stops_the_run() {
        let etc = tempfile::tempdir().unwrap();
        fs::create_dir(etc.path().join("codex")).unwrap();
        fs::write(etc.path().join("codex/config.toml"), "[features").unwrap();
        let error = files(etc.path(), "openai").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("codex/config.toml is not valid TOML"),
            "{error}"
        );
    }
}
