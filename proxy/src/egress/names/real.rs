// SPDX-License-Identifier: MIT OR Apache-2.0
//! Real addresses: which names were answered with which.

use std::{collections::HashMap, net::IpAddr, time::Instant};

use keyward_policy::Name;

/// Most addresses that are remembered.
const MOST: usize = 65_536;

/// Most names of one address; the oldest goes. A content network answers for very many, but a workload that uses more
/// than this at once, at one address, without saying which, is not served by guessing.
const MOST_NAMES: usize = 64;

/// Names by address, newest first, each until it is forgotten.
#[derive(Debug, Default)]
pub(super) struct Real(HashMap<IpAddr, Vec<(Name, Instant)>>);

impl Real {
    /// False when there is no room.
    pub(super) fn remember(
        &mut self,
        name: &Name,
        addresses: &[IpAddr],
        now: Instant,
        until: Instant,
    ) -> bool {
        if self.0.len() + addresses.len() > MOST {
            self.0.retain(|_, names| {
                names.retain(|it| it.1 > now);
                !names.is_empty()
            });
            if self.0.len() + addresses.len() > MOST {
                return false;
            }
        }
        for address in addresses {
            let names = self.0.entry(address.to_canonical()).or_default();
            names.retain(|(it, end)| it != name && *end > now);
            names.insert(0, (name.clone(), until));
            names.truncate(MOST_NAMES);
        }
        true
    }

    pub(super) fn behind(&self, address: IpAddr, now: Instant) -> Vec<Name> {
        let names = self.0.get(&address).into_iter().flatten();
        names
            .filter(|it| it.1 > now)
            .map(|it| it.0.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_newest_name_comes_first_and_old_ones_go() {
        let (mut real, now) = (Real::default(), Instant::now());
        let (a, b): (Name, Name) = ("a.test".parse().unwrap(), "b.test".parse().unwrap());
        let at: IpAddr = "192.0.2.1".parse().unwrap();
        let second = |it| now + Duration::from_secs(it);
        assert!(real.remember(&a, &[at], now, second(10)));
        assert!(real.remember(&b, &["::ffff:192.0.2.1".parse().unwrap()], now, second(20)));
        assert_eq!(real.behind(at, now), [b.clone(), a.clone()]);
        assert!(real.remember(&a, &[at], second(1), second(15)));
        assert_eq!(real.behind(at, second(1)), [a, b.clone()]);
        assert_eq!(real.behind(at, second(16)), [b]);
        assert!(real.behind(at, second(21)).is_empty());
        assert!(real.behind("192.0.2.2".parse().unwrap(), now).is_empty());
    }

    #[test]
    fn there_is_an_end_to_what_is_remembered() {
        let (mut real, now) = (Real::default(), Instant::now());
        let until = now + Duration::from_secs(1);
        let a: Name = "a.test".parse().unwrap();
        let at: Vec<IpAddr> = (0..65_536_u32)
            .map(|it| std::net::Ipv4Addr::from_bits(it).into())
            .collect();
        assert!(real.remember(&a, &at, now, until));
        let one = ["::1".parse().unwrap()];
        assert!(!real.remember(&a, &one, now, until));
        assert!(real.remember(&a, &one, until, until + Duration::from_secs(1)));
    }
}
