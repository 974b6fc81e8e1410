// SPDX-License-Identifier: GPL-3.0-or-later
//! Secrets that the command really gets: for tools that insist on one in a variable, and for which there is no
//! placeholder. A preload library (`one-shot-token`) keeps such a variable for the command's first process.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use keyward_proxy::credential::follow::Reference;
use zeroize::Zeroizing;

use crate::environment::{self, Variables};
use crate::rotation;
use crate::sandbox::files::PrivateFile;
use crate::user::Identity;

/// Names the variables to the library, which has no other dealings with keyward.
const NAMES: &str = "KEYWARD_ONE_SHOT";

/// Where the command sees the library, below `/etc`: read-only, as everything of keyward's there.
const SHOWN: &str = "keyward/libone_shot_token.so";

/// What `--one-shot` asks for: `NAME`, or `NAME=SOURCE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    name: String,
    source: Reference,
}

impl Asked {
    /// Reads one argument.
    ///
    /// # Errors
    ///
    /// What is wrong with it. The source is never quoted: it may be a secret that was written where a reference belongs.
    pub fn parse(
        text: &str,
        variable: &impl Fn(&str) -> Option<Zeroizing<Vec<u8>>>,
    ) -> Result<Self, String> {
        let (name, source) = match text.split_once('=') {
            Some((name, source)) => (name, Reference::parse(source, variable)),
            None => (text, Ok(Reference::Variable(text.to_owned()))),
        };
        environment::check_name(name.as_bytes()).map_err(|it| format!("--one-shot: {it}"))?;
        // The library's list has commas between the names, and its own variables are not to be given away.
        if name.contains(',') || [NAMES, "LD_PRELOAD"].contains(&name) {
            return Err(format!("--one-shot: {name} cannot be given so"));
        }
        let source = source.map_err(|what| format!("--one-shot {name}: {what}"))?;
        let name = name.to_owned();
        Ok(Self { name, source })
    }

    /// The variables of keyward's own environment that it is about: none of them passes in any other way.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        let source = self.source.variables().into_iter();
        std::iter::once(self.name.as_str()).chain(source)
    }
}

/// Secrets for the command, and the library that keeps them.
#[derive(Debug, Default)]
pub struct OneShot {
    /// Names and values.
    variables: Vec<(OsString, OsString)>,
    library: Option<PrivateFile>,
}

impl OneShot {
    /// Nothing at all.
    pub const NONE: Self = Self {
        variables: Vec::new(),
        library: None,
    };

    /// Reads the secrets and the library.
    ///
    /// # Errors
    ///
    /// Every fault; none quotes a secret.
    pub fn read(
        asked: &[Asked],
        identity: &Identity,
        variable: &impl Fn(&str) -> Option<Zeroizing<Vec<u8>>>,
    ) -> Result<Self, Vec<String>> {
        if asked.is_empty() {
            return Ok(Self::NONE);
        }
        let mut faults = Vec::new();
        let mut variables = Vec::new();
        for Asked { name, source } in asked {
            let value = rotation::read(source, identity, variable);
            let value = value.map(|it| it.trim_ascii().to_vec());
            match value {
                Ok(value) if value.is_empty() || value.contains(&0) => {
                    faults.push(format!(
                        "--one-shot {name}: it is empty, or holds a NUL byte"
                    ));
                }
                Ok(value) => variables.push((name.into(), OsString::from_vec(value))),
                Err(what) => faults.push(format!("--one-shot {name}: {what}")),
            }
        }
        let library = library().map_err(|what| faults.push(what)).ok();
        match faults.is_empty() {
            true => Ok(Self { variables, library }),
            false => Err(faults),
        }
    }

    /// What the command is given.
    pub fn names(&self) -> impl Iterator<Item = &OsStr> {
        self.variables.iter().map(|it| it.0.as_os_str())
    }

    /// The library, as the command sees it.
    pub fn take_library(&mut self) -> Option<PrivateFile> {
        self.library.take()
    }

    /// Adds the secrets to an environment, and what has the library loaded.
    pub fn add_to(&self, variables: &mut Variables) {
        if self.variables.is_empty() {
            return;
        }
        variables.extend(self.variables.iter().cloned());
        let names: Vec<_> = self.names().map(OsStr::as_bytes).collect();
        variables.insert(NAMES.into(), OsString::from_vec(names.join(&b","[..])));
        // In front of what else is preloaded: it is to see the environment first.
        let mut preload = Path::new("/etc").join(SHOWN).into_os_string();
        if let Some(others) = variables
            .get(OsStr::new("LD_PRELOAD"))
            .filter(|it| !it.is_empty())
        {
            preload.push(":");
            preload.push(others);
        }
        variables.insert("LD_PRELOAD".into(), preload);
    }

    /// What people should know.
    pub fn note(&self) -> Option<String> {
        let names: Vec<_> = self.names().map(|it| it.display().to_string()).collect();
        (!names.is_empty()).then(|| {
            format!(
                "the command really gets {} (--one-shot): what it is allowed to reach, it can send it to",
                names.join(", ")
            )
        })
    }
}

/// The library, from beside keyward.
fn library() -> Result<PrivateFile, String> {
    let own = std::env::current_exe()
        .map_err(|error| format!("cannot tell where keyward is: {error}"))?;
    let path = own.with_file_name("libone_shot_token.so");
    let content = fs::read(&path).map_err(|error| {
        format!(
            "--one-shot: cannot read {}: {error}\n  hint: libone_shot_token.so belongs beside keyward",
            path.display()
        )
    })?;
    Ok(PrivateFile {
        path: PathBuf::from(SHOWN),
        content,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Asked, String> {
        Asked::parse(text, &|_| None)
    }

    #[test]
    fn a_name_alone_is_a_variable_and_no_fault_quotes_a_secret() {
        let asked = parse("GITHUB_TOKEN").unwrap();
        assert_eq!(asked.source, Reference::Variable("GITHUB_TOKEN".to_owned()));
        let asked = parse("TOKEN=env:MY_TOKEN").unwrap();
        assert_eq!(asked.variables().collect::<Vec<_>>(), ["TOKEN", "MY_TOKEN"]);
        for text in [
            "",
            "=env:X",
            "A B",
            "A,B",
            "LD_PRELOAD=env:X",
            "KEYWARD_ONE_SHOT",
            "TOKEN=s3cret",
            "TOKEN=",
        ] {
            let fault = parse(text).unwrap_err();
            assert!(
                fault.starts_with("--one-shot") && !fault.contains("s3cret"),
                "{fault}"
            );
        }
    }

    #[test]
    fn the_library_is_loaded_first() {
        let mut variables = Variables::from([("LD_PRELOAD".into(), "/mine.so".into())]);
        OneShot::default().add_to(&mut variables);
        assert_eq!(variables.len(), 1);
        let one_shot = OneShot {
            variables: vec![("A".into(), "1".into()), ("B".into(), "2".into())],
            library: None,
        };
        one_shot.add_to(&mut variables);
        assert_eq!(variables[OsStr::new("KEYWARD_ONE_SHOT")], "A,B");
        assert_eq!(
            variables[OsStr::new("LD_PRELOAD")],
            "/etc/keyward/libone_shot_token.so:/mine.so"
        );
        assert_eq!(variables[OsStr::new("B")], "2");
        let note = one_shot.note().unwrap();
        assert!(note.contains("A, B") && !note.contains('1'), "{note}");
    }
}
