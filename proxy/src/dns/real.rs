// SPDX-License-Identifier: MIT OR Apache-2.0
//! Real answers: the addresses that an allowed name has, without those that it could not be reached at.

use std::{io, net::IpAddr, time::Duration};

use hickory_proto::rr::RecordType;
use keyward_policy::{Name, Policy};

use super::{TTL, answer::Answer};
use crate::egress::{Egress, Found};

/// Looks a name up that the policy allows, and remembers what it is answered with.
pub(super) async fn answer(
    egress: &Egress,
    policy: &Policy,
    name: &Name,
    kind: RecordType,
) -> Answer {
    let found = match egress.dialler.fixed(name) {
        // Fixed by whoever started the proxy, who may mean any network.
        Some(address) => Ok(Found {
            addresses: vec![address],
            ttl: None,
        }),
        None => {
            let rule = policy.resolves(name).rule;
            let found = egress.dialler.resolver().look_up(name).await;
            found.map(|it| Found {
                addresses: it
                    .addresses
                    .into_iter()
                    .map(|it| it.to_canonical())
                    .filter(|it| policy.may_answer(rule, *it))
                    .collect(),
                ttl: it.ttl,
            })
        }
    };
    match found {
        Ok(found) => {
            let family = |it: &IpAddr| (kind == RecordType::A) == it.is_ipv4();
            let addresses: Vec<IpAddr> = found.addresses.into_iter().filter(family).collect();
            let most = Duration::from_secs(TTL.into());
            let ttl = found.ttl.unwrap_or(most).min(most);
            if !egress.names.remember(name, &addresses, ttl) {
                tracing::warn!(%name, "no room to remember what it was answered with");
                return Answer::failed();
            }
            let seconds = u32::try_from(ttl.as_secs()).unwrap_or(TTL);
            Answer::addresses(addresses, seconds)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Answer::no_such_name(),
        Err(error) => {
            tracing::warn!(%name, %error, "name not resolved");
            Answer::failed()
        }
    }
}
