// SPDX-License-Identifier: GPL-3.0-or-later
//! Whom the workload runs as.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow, bail};
use nix::unistd::{Gid, Uid, User};

/// The user of the workload. It gets no supplementary groups: a membership in `docker`, say, is root by another name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Real, effective and saved user id.
    pub uid: Uid,
    /// Real, effective and saved group id.
    pub gid: Gid,
    /// `USER` and `LOGNAME`, if the host knows the user.
    pub name: Option<OsString>,
    /// `HOME`.
    pub home: PathBuf,
    /// `SHELL`.
    pub shell: Option<PathBuf>,
}

impl Identity {
    /// Finds out whom to run as: `--user` if given, else the user who called sudo.
    ///
    /// `sudo` holds `SUDO_UID` and `SUDO_GID`. They are believed only because whoever runs keyward is root already.
    pub fn resolve(requested: Option<&str>, sudo: Option<(&str, &str)>) -> Result<Self> {
        match (requested, sudo) {
            (Some(text), _) => Self::parse(text).with_context(|| format!("--user {text}")),
            (None, Some((uid, gid))) => {
                let uid = uid
                    .parse()
                    .with_context(|| format!("SUDO_UID={uid} is not a number"))?;
                let gid = gid
                    .parse()
                    .with_context(|| format!("SUDO_GID={gid} is not a number"))?;
                Self::from_ids(uid, Some(gid))
            }
            (None, None) => bail!(
                "refusing to run the command as root without being told to\n  \
                 hint: call keyward through sudo as the user whose command it is, or name one: --user NAME \
                 (root itself: --user root)"
            ),
        }
    }

    /// `NAME`, `UID`, `NAME:GID` or `UID:GID`.
    fn parse(text: &str) -> Result<Self> {
        let (user, gid) = match text.split_once(':') {
            Some((user, gid)) => {
                let gid = gid
                    .parse()
                    .with_context(|| format!("{gid:?} is not a numeric group id"))?;
                (user, Some(gid))
            }
            None => (text, None),
        };
        if let Ok(uid) = user.parse() {
            return Self::from_ids(uid, gid);
        }
        let user = User::from_name(user)
            .with_context(|| format!("cannot look up the user {user:?}"))?
            .ok_or_else(|| anyhow!("there is no user {user:?} on this host"))?;
        Ok(Self::from_user(user, gid))
    }

    fn from_ids(uid: u32, gid: Option<u32>) -> Result<Self> {
        let found = User::from_uid(Uid::from_raw(uid))
            .with_context(|| format!("cannot look up the user id {uid}"))?;
        match (found, gid) {
            (Some(user), gid) => Ok(Self::from_user(user, gid)),
            (None, Some(gid)) => Ok(Self {
                uid: Uid::from_raw(uid),
                gid: Gid::from_raw(gid),
                name: None,
                home: PathBuf::from("/"),
                shell: None,
            }),
            (None, None) => bail!(
                "no user of this host has the id {uid}, so its group is not known\n  \
                 hint: name the group too: --user {uid}:GID"
            ),
        }
    }

    fn from_user(user: User, gid: Option<u32>) -> Self {
        Self {
            uid: user.uid,
            gid: gid.map_or(user.gid, Gid::from_raw),
            name: Some(user.name.into()),
            home: user.dir,
            shell: Some(user.shell),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_never_assumed() {
        let error = Identity::resolve(None, None).unwrap_err();
        assert!(error.to_string().contains("--user NAME"), "{error}");
    }

    #[test]
    fn the_user_who_called_sudo_is_taken() {
        let identity = Identity::resolve(None, Some(("4242", "4343"))).unwrap();
        assert_eq!((identity.uid.as_raw(), identity.gid.as_raw()), (4242, 4343));
    }

    #[test]
    fn an_explicit_user_beats_sudo() {
        let identity = Identity::resolve(Some("root"), Some(("4242", "4343"))).unwrap();
        assert_eq!((identity.uid.as_raw(), identity.gid.as_raw()), (0, 0));
        assert_eq!(identity.home, PathBuf::from("/root"));
    }

    #[test]
    fn faults_name_what_is_wrong() {
        for (text, expected) in [
            ("no-such-user", "there is no user \"no-such-user\""),
            ("4242", "--user 4242:GID"),
            ("root:wheel", "\"wheel\" is not a numeric group id"),
            ("-1", "there is no user"),
            ("4294967296:1", "there is no user"),
            ("", "there is no user"),
        ] {
            let error = Identity::resolve(Some(text), None).unwrap_err();
            assert!(format!("{error:#}").contains(expected), "{text}: {error:#}");
        }
        assert!(Identity::resolve(None, Some(("x", "1"))).is_err());
    }
}
