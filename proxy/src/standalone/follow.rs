// SPDX-License-Identifier: MIT OR Apache-2.0
//! What references lead to: at the start, and whenever it changes.

use std::{sync::Arc, time::Duration};

use zeroize::Zeroizing;

use crate::{
    credential::{
        Credential, Rotation,
        follow::{Followed, Reference, Stamp, read_file},
        runner::Runner,
    },
    provider::Providers,
};

/// How often a file is looked at, unless the settings say otherwise. Looking is one system call.
const FILE: Duration = Duration::from_secs(1);

/// How often a command is run again: tokens that commands print last an hour in most places.
const COMMAND: Duration = Duration::from_secs(600);

/// Reads what a reference leads to.
pub(super) fn read(
    reference: &Reference,
    runner: Option<&Runner>,
    variable: &impl Fn(&str) -> Option<Zeroizing<Vec<u8>>>,
) -> Result<Zeroizing<Vec<u8>>, String> {
    match reference {
        Reference::Variable(name) => variable(name).ok_or_else(|| format!("{name} is not set")),
        Reference::File(path) => read_file(path),
        Reference::Command(words) => match runner {
            Some(runner) => runner.run(words),
            None => Err("commands cannot be run".to_owned()),
        },
    }
}

/// Looks again and again, and has the proxy serve with what is new. What cannot be read or is no credential leaves
/// the last one in force.
pub(crate) async fn follow(
    followed: Followed,
    runner: Option<Arc<Runner>>,
    providers: Providers,
    rotation: Rotation,
) {
    let usual = match followed.reference {
        Reference::Variable(_) => return,
        Reference::File(_) => FILE,
        Reference::Command(_) => COMMAND,
    };
    let every = followed.refresh.unwrap_or(usual);
    let mut before = None;
    loop {
        tokio::time::sleep(every).await;
        if let Reference::File(path) = &followed.reference {
            // Gone for a moment while it is replaced: it is looked at again.
            let Some(now) = Stamp::of(path).filter(|it| Some(*it) != before) else {
                continue;
            };
            before = Some(now);
        }
        let (reference, runner) = (followed.reference.clone(), runner.clone());
        let reading = move || read(&reference, runner.as_deref(), &|_| None);
        let read = tokio::task::spawn_blocking(reading).await;
        let read = read.unwrap_or_else(|_panic| Err("the reading thread panicked".to_owned()));
        let value =
            read.and_then(|it| Credential::real(it, &providers).map_err(|fault| fault.to_string()));
        let put = value.and_then(|it| {
            let replaced = rotation.replace(&followed.slot, &it);
            replaced.map_err(|stray| stray.to_string())
        });
        if let Err(fault) = put {
            tracing::warn!(
                setting = followed.setting,
                fault,
                "the credential before stays"
            );
        }
    }
}
