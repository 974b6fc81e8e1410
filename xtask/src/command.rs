// SPDX-License-Identifier: MIT OR Apache-2.0
//! Running a program: printed first, run as the right user, its failure an error that names it.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, fmt};

use anyhow::{Context, Result, ensure};

use crate::identity::Identity;
use crate::workspace::Workspace;

/// Variables of the cargo that runs xtask. Left in place, they would describe xtask to the programs that it starts:
/// another toolchain's libraries, another package's name.
const OWN_CARGO: [&str; 6] = [
    "CARGO_BIN_NAME",
    "CARGO_CRATE_NAME",
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "CARGO_PRIMARY_PACKAGE",
    "LD_LIBRARY_PATH",
];

/// One command line: what to run, where, with which changes to the environment, as whom.
pub(crate) struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, Option<OsString>)>,
    directory: Option<PathBuf>,
    user: User,
    quiet: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum User {
    Builder,
    Root,
}

impl Cmd {
    /// A program of the search path, or at a path, run as the user whom builds belong to.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            directory: None,
            user: User::Builder,
            quiet: false,
        }
    }

    /// The workspace's cargo.
    pub(crate) fn cargo(subcommand: &str) -> Self {
        Self::new("cargo").arg(subcommand)
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub(crate) fn args<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, args: I) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((name.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    pub(crate) fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), None));
        self
    }

    /// Runs it in this directory, not in the workspace's.
    pub(crate) fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Runs it as root: directly where this process is root, else through sudo, which may ask for a password.
    pub(crate) fn with_root(mut self) -> Self {
        self.user = User::Root;
        self
    }

    /// Not worth a line on the terminal: a question whose answer is only looked at.
    pub(crate) fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// Runs it to its end with the terminal's input and output.
    ///
    /// # Errors
    ///
    /// It cannot be started, or ends with a status other than 0.
    pub(crate) fn run(&self, workspace: &Workspace) -> Result<()> {
        let status = self
            .command(workspace)
            .status()
            .with_context(|| format!("starting `{self}`"))?;
        ensure!(status.success(), "`{self}` failed: {status}");
        Ok(())
    }

    /// Runs it and returns what it wrote to standard output; standard error stays on the terminal.
    ///
    /// # Errors
    ///
    /// As [`Self::run`], or the output is not UTF-8.
    pub(crate) fn read(&self, workspace: &Workspace) -> Result<String> {
        let mut command = self.command(workspace);
        if self.quiet {
            command.stderr(Stdio::null());
        }
        let output = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .and_then(Child::wait_with_output)
            .with_context(|| format!("starting `{self}`"))?;
        ensure!(
            output.status.success(),
            "`{self}` failed: {}",
            output.status
        );
        String::from_utf8(output.stdout).with_context(|| format!("the output of `{self}`"))
    }

    /// Starts it; what it writes to standard output is to be read from the child, whose input stays open, and empty, for as
    /// long as that is held.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub(crate) fn spawn(&self, workspace: &Workspace) -> Result<Child> {
        self.command(workspace)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting `{self}`"))
    }

    fn command(&self, workspace: &Workspace) -> Command {
        if !self.quiet {
            println!("\x1b[2m$ {self}\x1b[0m");
        }
        let identity = workspace.identity();
        let mut command = match self.user {
            User::Root if !identity.is_root() => self.through_sudo(),
            User::Root | User::Builder => self.plain(),
        };
        command.current_dir(self.directory.as_deref().unwrap_or(workspace.root()));
        if self.user == User::Builder {
            become_builder(&mut command, identity);
        }
        command
    }

    fn plain(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args);
        for name in OWN_CARGO {
            command.env_remove(name);
        }
        for (name, _) in env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"CARGO_PKG_") {
                command.env_remove(name);
            }
        }
        for (name, value) in &self.env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// sudo clears the environment, whatever its configuration says about `-E`: what the program needs is given by
    /// `env`, search path first.
    fn through_sudo(&self) -> Command {
        let mut command = Command::new("sudo");
        command.arg("env");
        let mut assign = |name: &OsStr, value: &OsStr| {
            let mut assignment = name.to_owned();
            assignment.push("=");
            assignment.push(value);
            command.arg(assignment);
        };
        if let Some(path) = env::var_os("PATH") {
            assign(OsStr::new("PATH"), &path);
        }
        for (name, value) in &self.env {
            if let Some(value) = value {
                assign(name, value);
            }
        }
        command.arg(&self.program).args(&self.args);
        command
    }
}

fn become_builder(command: &mut Command, identity: &Identity) {
    let Some(builder) = identity.builder() else {
        return;
    };
    // The standard library clears root's supplementary groups when it changes the user.
    command.uid(builder.uid).gid(builder.gid);
    command
        .env("HOME", &builder.home)
        .env("USER", &builder.name)
        .env("LOGNAME", &builder.name);
    command.env("PATH", builder.path());
    for name in ["CARGO", "CARGO_HOME", "RUSTUP_HOME"] {
        command.env_remove(name);
    }
}

/// The line that a person would type.
impl fmt::Display for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.env {
            if let Some(value) = value {
                write!(f, "{}={} ", name.display(), quoted(value))?;
            }
        }
        write!(f, "{}", quoted(&self.program))?;
        for arg in &self.args {
            write!(f, " {}", quoted(arg))?;
        }
        Ok(())
    }
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    if word.is_empty() || word.contains([' ', '\'', '"', '$', '*', ';', '&', '|']) {
        format!("'{}'", word.replace('\'', r"'\''"))
    } else {
        word.into_owned()
    }
}

/// The first file of this name in the search path.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    // A user's path often lacks the directories of system programs such as nft.
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(system)
        .map(|dir| dir.join(name))
        .find(|file| is_file(file))
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_prints_as_it_would_be_typed() {
        let cmd = Cmd::new("prog")
            .env("A", "b c")
            .arg("it's")
            .arg("-x")
            .arg("");
        assert_eq!(cmd.to_string(), r"A='b c' prog 'it'\''s' -x ''");
    }

    #[test]
    fn programs_are_found_by_name() {
        assert!(find_program("sh").is_some());
        assert!(find_program("no-such-program-of-keyward").is_none());
    }
}
