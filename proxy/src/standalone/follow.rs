// SPDX-License-Identifier: MIT OR Apache-2.0
//! What references lead to: at the start, and whenever it changes.

use std::{sync::Arc, time::SystemTime};

use zeroize::Zeroizing;

use crate::{
    credential::{
        Rotation,
        follow::{Followed, Looked, Reference, read_file},
        runner::Runner,
    },
    provider::Providers,
};

/// Reads what a reference leads to.
pub(super) fn read(
    reference: &Reference,
    runner: Option<&Runner>,
    variable: &impl Fn(&str) -> Option<Zeroizing<Vec<u8>>>,
) -> Result<Zeroizing<Vec<u8>>, String> {
    reference.follow(&|it| match it {
        Reference::Variable(name) => variable(name).ok_or_else(|| format!("{name} is not set")),
        Reference::File(path) => read_file(path),
        Reference::Command(words) => match runner {
            Some(runner) => runner.run(words),
            None => Err("commands cannot be run".to_owned()),
        },
        Reference::AccessKey(_) => Err("its parts are read one by one".to_owned()),
    })
}

/// Looks again and again, and has the proxy serve with what is new. What cannot be read or is no credential leaves
/// the last one in force.
pub(crate) async fn follow(
    mut followed: Followed,
    runner: Option<Arc<Runner>>,
    providers: Providers,
    rotation: Rotation,
) {
    let mut looked = Looked::default();
    while let Some(wait) = followed.wait(SystemTime::now()) {
        tokio::time::sleep(wait).await;
        if !looked.is_new(&followed.reference) {
            continue;
        }
        let (reference, runner) = (followed.reference.clone(), runner.clone());
        let reading = move || read(&reference, runner.as_deref(), &|_| None);
        let read = tokio::task::spawn_blocking(reading).await;
        let read = read.unwrap_or_else(|_panic| Err("the reading thread panicked".to_owned()));
        let value = followed.credential(&providers, |_| read);
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
