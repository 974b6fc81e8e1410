// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host's own resolver: what `getaddrinfo(3)` says, and so nsswitch.conf, /etc/hosts, resolv.conf and its search
//! domains, read again by the C library when they change.

use std::{io, net::ToSocketAddrs as _, sync::Arc};

use keyward_policy::Name;
use tokio::sync::Semaphore;

use super::{Failure, Found, Landed};

/// Most look-ups at a time: each has a thread, for as long as a dead server makes it wait.
const AT_A_TIME: usize = 32;

/// Asks the host.
#[derive(Debug)]
pub(super) struct HostResolver(Arc<Semaphore>);

impl Default for HostResolver {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_A_TIME)))
    }
}

impl HostResolver {
    pub(super) async fn look_up(&self, name: &Name) -> Landed {
        let failed = |error: &dyn ToString| Failure::Failed(error.to_string().into());
        let turn = Arc::clone(&self.0).acquire_owned().await;
        let turn = turn.map_err(|closed| failed(&closed))?;
        let name = name.clone();
        let found = tokio::task::spawn_blocking(move || {
            let found = (name.as_str(), 0).to_socket_addrs();
            drop(turn);
            found.map(|it| it.map(|it| it.ip()).collect::<Vec<_>>())
        });
        match found.await.map_err(|panicked| failed(&panicked))? {
            Ok(addresses) if addresses.is_empty() => Err(Failure::NotFound),
            Ok(addresses) => Ok(Found {
                addresses,
                ttl: None,
            }),
            Err(error) if says_not_found(&error) => Err(Failure::NotFound),
            Err(error) => Err(failed(&error)),
        }
    }
}

/// Whether this is the C library's way of saying that there is no such name. The standard library passes on the text and
/// not the number (`EAI_NONAME`, `EAI_NODATA`); it is never translated, for no locale is set. The first two are glibc's,
/// the others musl's. Anything else is a failure, which is the cautious reading.
fn says_not_found(error: &io::Error) -> bool {
    const TEXTS: [&str; 4] = [
        "Name or service not known",
        "No address associated with hostname",
        "Name does not resolve",
        "Name has no usable address",
    ];
    let text = error.to_string();
    TEXTS.iter().any(|it| text.contains(it))
}
