// SPDX-License-Identifier: GPL-3.0-or-later
//! What a run's view of the file system is to be.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::environment::Variables;
use crate::files::Files;
use crate::sandbox::view::{Asked, By, View, Wish};
use crate::user::Identity;

/// What the well-known sockets come to.
#[derive(Debug, Default)]
pub(super) struct Holes {
    /// The sockets.
    pub(super) sockets: Vec<Wish<PathBuf>>,
    /// By which programs find them.
    pub(super) variables: Vec<(OsString, OsString)>,
}

/// Finds the sockets where the caller's own programs do.
pub(super) fn holes(files: &Files, host: &Variables, faults: &mut Vec<String>) -> Holes {
    let mut holes = Holes::default();
    let mut open =
        |by: &Option<By>, variable: &'static str, path: &dyn Fn(&OsStr) -> Option<PathBuf>| {
            let Some(by) = by else {
                return;
            };
            let value = host.get(OsStr::new(variable));
            match value.and_then(|it| path(it)) {
                Some(what) => {
                    let by = by.clone();
                    holes.sockets.push(Wish { what, by });
                    let value = value.cloned().unwrap_or_default();
                    holes.variables.push((variable.into(), value));
                }
                None => faults.push(by.fault(
                    &format!("{variable} does not say where it is"),
                    Some("sudo may have left it out: sudo -E"),
                )),
            }
        };
    open(&files.ssh_agent, "SSH_AUTH_SOCK", &|it| Some(it.into()));
    open(&files.x11, "DISPLAY", &x11_socket);
    let directory = host.get(OsStr::new("XDG_RUNTIME_DIR")).cloned();
    open(&files.wayland, "WAYLAND_DISPLAY", &|name| {
        // An absolute path stands for itself.
        Some(Path::new(&directory.clone().unwrap_or_default()).join(name))
            .filter(|it| it.is_absolute())
    });
    if let Some(by) = &files.x11 {
        // The proof of being allowed in, as programs find it.
        let home = host.get(OsStr::new("HOME")).map(PathBuf::from);
        let file = host.get(OsStr::new("XAUTHORITY")).map(PathBuf::from);
        let file = file.or_else(|| Some(home?.join(".Xauthority")));
        if let Some(what) = file.filter(|it| it.exists()) {
            let value = what.clone().into();
            holes.variables.push(("XAUTHORITY".into(), value));
            let by = by.clone();
            holes.sockets.push(Wish { what, by });
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
    files: Files,
    (identity, directory): (&Identity, &PathBuf),
    home: Option<&Path>,
    sockets: Vec<Wish<PathBuf>>,
) -> Result<View, Vec<String>> {
    View::plan(&Asked {
        identity,
        home: home.map(Path::to_owned),
        directory,
        writable: files.writable,
        mounts: files.mounts,
        hide: files.hide,
        expose: files.expose,
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
        let files = Files {
            ssh_agent: Some(By::Flag("--ssh-agent")),
            x11: Some(By::Flag("--x11")),
            wayland: Some(By::Flag("--wayland")),
            ..Files::default()
        };
        let mut faults = Vec::new();
        let found = holes(&files, &host, &mut faults);
        let expected = [
            ("/tmp/ssh-1/agent.1", "--ssh-agent"),
            ("/tmp/.X11-unix/X1", "--x11"),
            ("/run/user/7/wayland-0", "--wayland"),
        ];
        assert_eq!(
            found.sockets,
            expected.map(|(path, flag)| Wish {
                what: path.into(),
                by: By::Flag(flag)
            })
        );
        assert_eq!(found.variables.len(), 3);
        assert_eq!(faults, [""; 0]);

        let found = holes(&files, &Variables::new(), &mut faults);
        assert!(found.sockets.is_empty() && faults.len() == 3, "{faults:?}");
        assert_eq!(x11_socket(OsStr::new("elsewhere:0")), None);
        assert_eq!(x11_socket(OsStr::new(":../0")), None);
    }
}
