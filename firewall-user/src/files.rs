// SPDX-License-Identifier: GPL-3.0-or-later
//! Which of the host's files a run shows otherwise than by default, from flags and from the `[files]` of policy files.

use std::path::{Path, PathBuf};

use keyward_policy::Sections;
use serde_json::Value;

use crate::cli::{self, FileArgs};
use crate::sandbox::view::{By, Mount, Wish};

/// The section of a policy file.
pub const SECTION: &str = "files";

const KEYS: [&str; 7] = [
    "writable",
    "mount",
    "hide",
    "expose",
    "ssh-agent",
    "x11",
    "wayland",
];

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// What the command may change, too.
    pub writable: Vec<Wish<PathBuf>>,
    /// What is to be seen at another path.
    pub mounts: Vec<Wish<Mount>>,
    /// What is to be hidden, too.
    pub hide: Vec<Wish<PathBuf>>,
    /// What is to be seen although it would be hidden.
    pub expose: Vec<Wish<PathBuf>>,
    /// The SSH agent.
    pub ssh_agent: Option<By>,
    /// The X11 display.
    pub x11: Option<By>,
    /// The Wayland display.
    pub wayland: Option<By>,
}

impl Files {
    /// What flags and files say adds up. `home` is what `~` stands for in a file: a shell has replaced it in a flag.
    /// Faults have their places.
    pub fn resolve(
        flags: &FileArgs,
        sections: &Sections,
        home: Option<&Path>,
        faults: &mut Vec<String>,
    ) -> Self {
        let mut found = from_file(sections, home, faults);
        for (list, flag, paths) in [
            (&mut found.writable, "--writable", &flags.writable),
            (&mut found.hide, "--hide", &flags.hide),
            (&mut found.expose, "--expose", &flags.expose),
        ] {
            list.extend(paths.iter().map(|it| wish(it.clone(), By::Flag(flag))));
        }
        let mounts = flags.mount.iter().cloned();
        let mounts = mounts.map(|it| wish(it, By::Flag("--mount")));
        found.mounts.extend(mounts);
        for (by, flag, is_set) in [
            (&mut found.ssh_agent, "--ssh-agent", flags.ssh_agent),
            (&mut found.x11, "--x11", flags.x11),
            (&mut found.wayland, "--wayland", flags.wayland),
        ] {
            if is_set {
                *by = Some(By::Flag(flag));
            }
        }
        found
    }
}

fn wish<T>(what: T, by: By) -> Wish<T> {
    Wish { what, by }
}

/// What policy files say, as far as it can be read.
fn from_file(sections: &Sections, home: Option<&Path>, faults: &mut Vec<String>) -> Files {
    let mut found = Files::default();
    let Some(Value::Object(section)) = sections.values().get(SECTION) else {
        return found;
    };
    let mut reader = Reader {
        sections,
        home,
        faults,
    };
    for (key, value) in section {
        let path = format!("{SECTION}.{key}");
        match key.as_str() {
            "writable" => found.writable = reader.paths(&path, value),
            "mount" => found.mounts = reader.mounts(&path, value),
            "hide" => found.hide = reader.paths(&path, value),
            "expose" => found.expose = reader.paths(&path, value),
            "ssh-agent" => found.ssh_agent = reader.truth(&path, value),
            "x11" => found.x11 = reader.truth(&path, value),
            "wayland" => found.wayland = reader.truth(&path, value),
            _ => {
                let fault = sections.key_fault(&path, "this key is not known");
                reader.faults.extend(fault.map(|mut fault| {
                    fault.hint = Some(format!("there are {}", KEYS.join(", ")));
                    fault.to_string()
                }));
            }
        }
    }
    found
}

struct Reader<'r> {
    sections: &'r Sections,
    home: Option<&'r Path>,
    faults: &'r mut Vec<String>,
}

impl Reader<'_> {
    /// Each string of a list, with who asks for it.
    fn strings<'v>(&mut self, path: &str, value: &'v Value) -> Vec<(&'v str, By)> {
        let Value::Array(list) = value else {
            self.fault(path, "this is a list of strings, in brackets");
            return Vec::new();
        };
        let mut found = Vec::new();
        for (index, value) in list.iter().enumerate() {
            let path = format!("{path}[{index}]");
            match value.as_str() {
                Some("") => self.fault(&path, "this is a path, and is empty"),
                Some(text) => found.extend(self.by(&path).map(|by| (text, by))),
                None => self.fault(&path, "this is a string"),
            }
        }
        found
    }

    fn paths(&mut self, path: &str, value: &Value) -> Vec<Wish<PathBuf>> {
        let strings = self.strings(path, value);
        let wishes = strings
            .into_iter()
            .map(|(text, by)| wish(self.at_home(Path::new(text)), by));
        wishes.collect()
    }

    fn mounts(&mut self, path: &str, value: &Value) -> Vec<Wish<Mount>> {
        let mut found = Vec::new();
        for (text, by) in self.strings(path, value) {
            match cli::mount(text) {
                Ok(mut mount) => {
                    mount.source = self.at_home(&mount.source);
                    found.push(wish(mount, by));
                }
                Err(what) => self.faults.push(by.fault(&what, None)),
            }
        }
        found
    }

    fn truth(&mut self, path: &str, value: &Value) -> Option<By> {
        match value.as_bool() {
            Some(true) => self.by(path),
            Some(false) => None,
            None => {
                self.fault(path, "this is true or false");
                None
            }
        }
    }

    /// `~` and `~/x`, as a shell has them.
    fn at_home(&self, path: &Path) -> PathBuf {
        match (self.home, path.strip_prefix("~")) {
            (Some(home), Ok(rest)) => home.components().chain(rest.components()).collect(),
            (_, _) => path.to_owned(),
        }
    }

    fn by(&self, path: &str) -> Option<By> {
        let place = self.sections.fault(path, "");
        place.map(|it| By::File(Box::new(it)))
    }

    fn fault(&mut self, path: &str, what: &str) {
        let fault = self.by(path).map(|it| it.fault(what, None));
        self.faults.extend(fault);
    }
}

#[cfg(test)]
mod tests;
