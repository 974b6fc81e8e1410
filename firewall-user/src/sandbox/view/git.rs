// SPDX-License-Identifier: GPL-3.0-or-later
//! Repositories of git: where the one of a working directory is, and which of its files are orders.
//!
//! In a linked worktree and in a submodule `.git` is a file that says where the repository is: somewhere else, where a
//! commit has to be written. A workload could have written that file, so what it says counts only if what it names
//! points back: that is out of the workload's reach.

use std::fs;
use std::path::{Path, PathBuf};

/// What a directory's repository asks of a view.
#[derive(Debug, Default)]
pub(super) struct Repository {
    /// Directories elsewhere that must be written to.
    pub(super) elsewhere: Vec<PathBuf>,
    /// Further files that are orders: below the first path.
    pub(super) orders: Vec<(PathBuf, PathBuf)>,
    /// What people should know.
    pub(super) notes: Vec<String>,
}

/// Files of a repository that git takes orders from.
const ORDERS: &[&str] = &["hooks", "config", "config.worktree"];

/// Looks at the repository of a directory, if it has one.
pub(super) fn of(directory: &Path) -> Repository {
    let mut found = Repository::default();
    let dot_git = directory.join(".git");
    let Ok(metadata) = fs::symlink_metadata(&dot_git) else {
        return found;
    };
    if metadata.is_dir() {
        found.modules(&dot_git);
        if let Some(hooks) = hooks_path(&dot_git.join("config")) {
            found.orders.push((directory.to_owned(), hooks));
        }
    } else if metadata.is_file() {
        found
            .orders
            .push((directory.to_owned(), PathBuf::from(".git")));
        match elsewhere(&dot_git) {
            Some(Elsewhere::Worktree { common, own }) => {
                let own = own.strip_prefix(&common).unwrap_or(&own).to_owned();
                for order in ORDERS {
                    found.orders.push((common.clone(), PathBuf::from(order)));
                }
                for order in ["config.worktree", "commondir", "gitdir"] {
                    found.orders.push((common.clone(), own.join(order)));
                }
                found.modules(&common);
                found.elsewhere.push(common);
            }
            Some(Elsewhere::Submodule(own)) => {
                for order in ORDERS {
                    found.orders.push((own.clone(), PathBuf::from(order)));
                }
                found.modules(&own);
                found.elsewhere.push(own);
            }
            None => found.notes.push(format!(
                "{} leads to no repository that leads back, so none is opened for it: git cannot commit\n  \
                 hint: --writable with the path of the repository, if it is as it should be",
                dot_git.display()
            )),
        }
    }
    found
}

impl Repository {
    /// Those of submodules, whose names may have slashes in them.
    fn modules(&mut self, git: &Path) {
        let mut left = vec![git.join("modules")];
        while let Some(directory) = left.pop() {
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                if !entry.file_type().is_ok_and(|it| it.is_dir()) {
                    continue;
                }
                let path = entry.path();
                if path.join("HEAD").exists() {
                    let below = path.strip_prefix(git).unwrap_or(&path);
                    for order in ORDERS {
                        self.orders.push((git.to_owned(), below.join(order)));
                    }
                    left.push(path.join("modules"));
                } else {
                    left.push(path);
                }
            }
        }
    }
}

enum Elsewhere {
    Worktree { common: PathBuf, own: PathBuf },
    Submodule(PathBuf),
}

/// Where a `.git` file leads, if it is led back from there. See `gitrepository-layout(5)`.
fn elsewhere(dot_git: &Path) -> Option<Elsewhere> {
    let directory = dot_git.parent()?;
    let text = fs::read_to_string(dot_git).ok()?;
    let named = text.strip_prefix("gitdir:")?.trim();
    let own = fs::canonicalize(directory.join(named)).ok()?;
    if let Ok(back) = fs::read_to_string(own.join("gitdir")) {
        // Not by what `commondir` says: git puts worktrees nowhere else.
        let worktrees = own.parent().filter(|it| it.ends_with("worktrees"))?;
        let common = worktrees.parent()?.to_owned();
        let back = fs::canonicalize(own.join(back.trim())).ok()?;
        return (back == dot_git && is_repository(&common))
            .then_some(Elsewhere::Worktree { common, own });
    }
    let config = fs::read_to_string(own.join("config")).ok()?;
    let back = own.join(setting(&config, "core", "worktree")?);
    let back = fs::canonicalize(back).ok()?;
    (back == directory && is_repository(&own)).then_some(Elsewhere::Submodule(own))
}

fn is_repository(path: &Path) -> bool {
    path.join("HEAD").is_file() && path.join("objects").is_dir() && path.join("refs").is_dir()
}

/// Where hooks are, if they are in the working directory.
fn hooks_path(config: &Path) -> Option<PathBuf> {
    let config = fs::read_to_string(config).ok()?;
    let path = PathBuf::from(setting(&config, "core", "hookspath")?);
    let plain = |it| {
        matches!(
            it,
            std::path::Component::Normal(_) | std::path::Component::CurDir
        )
    };
    path.components().all(plain).then_some(path)
}

/// The last value of a plain setting.
fn setting<'t>(config: &'t str, section: &str, name: &str) -> Option<&'t str> {
    let mut inside = false;
    let mut value = None;
    for line in config.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            inside = header.trim_end_matches(']').eq_ignore_ascii_case(section);
        } else if inside
            && let Some((key, text)) = line.split_once('=')
            && key.trim().eq_ignore_ascii_case(name)
        {
            value = Some(text.trim().trim_matches('"'));
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_found() {
        let config = "[core]\n\tbare = false\n\tworktree = ../../../sub\n[Core]\n hooksPath = \"a b\"\n[x]\nworktree = no\n";
        assert_eq!(setting(config, "core", "worktree"), Some("../../../sub"));
        assert_eq!(setting(config, "core", "hookspath"), Some("a b"));
        assert_eq!(setting(config, "core", "pager"), None);
    }

    #[test]
    fn a_worktree_counts_only_if_its_repository_knows_it() {
        let scratch = tempfile::tempdir().unwrap();
        let scratch = fs::canonicalize(scratch.path()).unwrap();
        let (tree, common) = (scratch.join("tree"), scratch.join("main/.git"));
        let own = common.join("worktrees/tree");
        for directory in [&tree, &own, &common.join("objects"), &common.join("refs")] {
            fs::create_dir_all(directory).unwrap();
        }
        fs::write(common.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        let dot_git = tree.join(".git");
        fs::write(&dot_git, format!("gitdir: {}\n", own.display())).unwrap();
        fs::write(own.join("gitdir"), format!("{}\n", dot_git.display())).unwrap();
        assert_eq!(of(&tree).elsewhere, [common]);

        for (file, text) in [
            (&own.join("gitdir"), "/elsewhere/.git\n".to_owned()),
            (&dot_git, format!("gitdir: {}\n", scratch.display())),
            (&dot_git, "gitdir: /\n".to_owned()),
        ] {
            fs::write(file, text).unwrap();
            let found = of(&tree);
            assert!(found.elsewhere.is_empty(), "{found:?}");
            assert_eq!(found.notes.len(), 1);
        }
    }
}
