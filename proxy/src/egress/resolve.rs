// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of upstreams to addresses, as the host would.

use std::{io, net::IpAddr};

use keyward_policy::Name;

/// Looks names up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resolver {}

impl Resolver {
    /// The addresses of a name.
    pub(crate) async fn resolve(&self, name: &Name) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
        Ok(found.map(|it| it.ip()).collect())
    }
}
