// SPDX-License-Identifier: GPL-3.0-or-later
//! What a run's view of the file system is to be, from the command line.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::cli::FileArgs;
use crate::environment::Variables;
use crate::sandbox::view::{Asked, View};
use crate::user::Identity;

/// What the flags for well-known sockets come to.
#[derive(Debug, Default)]
pub(super) struct Holes {
    /// The sockets, and the flag that opens each.
    pub(super) sockets: Vec<(PathBuf, &'static str)>,
    /// By which programs find them.
    pub(super) variables: Vec<(OsString, OsString)>,
}

/// Finds the sockets where the caller's own programs do.
pub(super) fn holes(flags: &FileArgs, host: &Variables, faults: &mut Vec<String>) -> Holes {
    let mut holes = Holes::default();
    let mut open = |flag, variable: &'static str, path: &dyn Fn(&OsStr) -> Option<PathBuf>| {
        let value = host.get(OsStr::new(variable));
        match value.and_then(|it| path(it)) {
            Some(path) => {
                holes.sockets.push((path, flag));
                let value = value.cloned().unwrap_or_default();
                holes.variables.push((variable.into(), value));
            }
            None => faults.push(format!(
                "{flag}: {variable} does not say where it is\n  hint: sudo may have left it out: sudo -E"
            )),
        }
    };
    if flags.ssh_agent {
        open("--ssh-agent", "SSH_AUTH_SOCK", &|it| Some(it.into()));
    }
    if flags.x11 {
        open("--x11", "DISPLAY", &x11_socket);
    }
    if flags.wayland {
        let directory = host.get(OsStr::new("XDG_RUNTIME_DIR")).cloned();
        open("--wayland", "WAYLAND_DISPLAY", &|name| {
            // An absolute path stands for itself.
            Some(Path::new(&directory.clone().unwrap_or_default()).join(name))
                .filter(|it| it.is_absolute())
        });
    }
    if flags.x11 {
        // The proof of being allowed in, as programs find it.
        let home = host.get(OsStr::new("HOME")).map(PathBuf::from);
        let file = host.get(OsStr::new("XAUTHORITY")).map(PathBuf::from);
        let file = file.or_else(|| Some(home?.join(".Xauthority")));
        if let Some(file) = file.filter(|it| it.exists()) {
            let value = file.clone().into();
            holes.variables.push(("XAUTHORITY".into(), value));
            holes.sockets.push((file, "--x11"));
        }
    }
    holes
}

/// Of a display on this host: `:0`, `unix:0.1`.
fn x11_socket(display: &OsStr) -> Option<PathBuf> {
    let (host, number) = display.to_str()?.rsplit_once(':')?;
    let number = number.split('.').next()?;
    let here = matches!(host, "" | "unix") && !number.is_empty();
    let digits = number.bytes().all(|it| it.is_ascii_digit());
    (here && digits).then(|| PathBuf::from(format!("/tmp/.X11-unix/X{number}")))
}

/// Works the view out.
pub(super) fn view(
    flags: &FileArgs,
    (identity, directory): (&Identity, &PathBuf),
    home: Option<&Path>,
    sockets: Vec<(PathBuf, &'static str)>,
) -> Result<View, Vec<String>> {
    View::plan(&Asked {
        identity,
        home: home.map(Path::to_owned),
        directory,
        writable: flags.writable.clone(),
        mounts: flags.mount.clone(),
        hide: flags.hide.clone(),
        expose: flags.expose.clone(),
        sockets,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_where_programs_look_for_them() {
        let host: Variables = [
            ("SSH_AUTH_SOCK", "/tmp/ssh-1/agent.1"),
            ("DISPLAY", ":1.0"),
            ("XDG_RUNTIME_DIR", "/run/user/7"),
            ("WAYLAND_DISPLAY", "wayland-0"),
            ("XAUTHORITY", "/no/such/file"),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .into();
        let flags = FileArgs {
            ssh_agent: true,
            x11: true,
            wayland: true,
            ..FileArgs::default()
        };
        let mut faults = Vec::new();
        let found = holes(&flags, &host, &mut faults);
        let expected = [
            ("/tmp/ssh-1/agent.1", "--ssh-agent"),
            ("/tmp/.X11-unix/X1", "--x11"),
            ("/run/user/7/wayland-0", "--wayland"),
        ];
        assert_eq!(
            found.sockets,
            expected.map(|(path, flag)| (path.into(), flag))
        );
        assert_eq!(found.variables.len(), 3);
        assert_eq!(faults, [""; 0]);

        let found = holes(&flags, &Variables::new(), &mut faults);
        assert!(found.sockets.is_empty() && faults.len() == 3, "{faults:?}");
        assert_eq!(x11_socket(OsStr::new("elsewhere:0")), None);
        assert_eq!(x11_socket(OsStr::new(":../0")), None);
    }
}
