// SPDX-License-Identifier: MIT OR Apache-2.0
//! Synthetic addresses: a pool in which each stands for one name.
//!
//! IPv4 comes from 198.18.0.0/15, which is set aside for benchmarks (RFC 2544) and so is nobody's; addresses that end
//! in .0 or .255 are left out, for some programs take them for a network's. IPv6 comes from a unique local /64 next to
//! the one that the proxy's own address is in, with the IPv4 address as its last 32 bits:
//! `fd6b:6579:7761:7265::c612:1` is 198.18.0.1.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Instant,
};

use firewall_common::{NAMES_V4, NAMES_V6};
use keyward_policy::Name;

use super::{Behind, QUARANTINE};

/// 198.18.0.0.
const V4: u32 = NAMES_V4;

/// 255.254.0.0.
const V4_MASK: u32 = 0xfffe_0000;

/// `fd6b:6579:7761:7265::`, "keyware" in letters.
const V6: u128 = (NAMES_V6[0] as u128) << 96 | (NAMES_V6[1] as u128) << 64;

/// The /64 around it.
const V6_MASK: u128 = 0xffff_ffff_ffff_ffff_0000_0000_0000_0000;

/// Addresses of each 256 that are given out.
const HOSTS: u32 = 254;

/// Most names at a time: half the pool, and some ten megabytes.
const MOST: usize = 65_536;

/// How many addresses are looked at for one that is free again. A workload that makes up names must not make each
/// answer expensive.
const LOOKED_AT: usize = 256;

/// Which name has which address. An address is its place in `slots`.
#[derive(Debug)]
pub(super) struct Pool {
    slots: Vec<Slot>,
    places: HashMap<Name, usize>,
    /// Where to look next for an address that is free again.
    hand: usize,
    most: usize,
}

#[derive(Debug)]
struct Slot {
    name: Name,
    /// When it was last given, or a connection was made to it.
    used: Instant,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            places: HashMap::new(),
            hand: 0,
            most: MOST,
        }
    }
}

impl Pool {
    pub(super) fn give(&mut self, name: &Name, now: Instant) -> Option<(Ipv4Addr, Ipv6Addr)> {
        let place = match self.places.get(name) {
            Some(place) => {
                if let Some(slot) = self.slots.get_mut(*place) {
                    slot.used = now;
                }
                *place
            }
            None => self.take(name, now)?,
        };
        address(place).map(|it| (it, twin(it)))
    }

    pub(super) fn given(&self, name: &Name) -> Option<Ipv4Addr> {
        self.places.get(name).copied().and_then(address)
    }

    pub(super) fn behind(&mut self, to: IpAddr, now: Instant) -> Behind {
        let v4 = match to {
            IpAddr::V4(v4) if v4.to_bits() & V4_MASK == V4 => Some(v4),
            IpAddr::V6(v6) if v6.to_bits() & V6_MASK == V6 => {
                let low = v6.to_bits() & !V6_MASK;
                // The rest of the /64 is ours too, and never given.
                u32::try_from(low).ok().map(Ipv4Addr::from_bits)
            }
            IpAddr::V4(_) | IpAddr::V6(_) => return Behind::Nothing,
        };
        let slot = v4.and_then(place).and_then(|it| self.slots.get_mut(it));
        slot.map_or(Behind::Stale, |slot| {
            slot.used = now;
            Behind::Name(slot.name.clone())
        })
    }

    /// A place for a new name: one that nobody had, or one whose name is long out of use.
    fn take(&mut self, name: &Name, now: Instant) -> Option<usize> {
        let slot = Slot {
            name: name.clone(),
            used: now,
        };
        let place = if self.slots.len() < self.most {
            self.slots.push(slot);
            self.slots.len() - 1
        } else {
            let place = self.free_again(now)?;
            let before = std::mem::replace(self.slots.get_mut(place)?, slot);
            self.places.remove(&before.name);
            place
        };
        self.places.insert(name.clone(), place);
        Some(place)
    }

    /// Goes round the pool, a stretch each time.
    fn free_again(&mut self, now: Instant) -> Option<usize> {
        for _ in 0..LOOKED_AT.min(self.slots.len()) {
            let place = self.hand;
            self.hand = (self.hand + 1) % self.slots.len();
            let idle = now.saturating_duration_since(self.slots.get(place)?.used);
            if idle > QUARANTINE {
                return Some(place);
            }
        }
        None
    }
}

/// The address of a place.
fn address(place: usize) -> Option<Ipv4Addr> {
    let place = u32::try_from(place).ok()?;
    let v4 = V4.checked_add(place / HOSTS * 256 + place % HOSTS + 1)?;
    (v4 & V4_MASK == V4).then(|| Ipv4Addr::from_bits(v4))
}

/// The place of an address.
fn place(address: Ipv4Addr) -> Option<usize> {
    let offset = address.to_bits().checked_sub(V4)?;
    let (net, host) = (offset / 256, (offset % 256).checked_sub(1)?);
    let inside = address.to_bits() & V4_MASK == V4 && host < HOSTS;
    usize::try_from(net * HOSTS + host).ok().filter(|_| inside)
}

/// The IPv6 address that stands for the same name.
fn twin(address: Ipv4Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(V6 | u128::from(address.to_bits()))
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, time::Duration};

    use proptest::prelude::*;

    use super::*;

    fn name(number: usize) -> Name {
        format!("n{number}.example.com").parse().unwrap()
    }

    fn small(most: usize) -> Pool {
        Pool {
            most,
            ..Pool::default()
        }
    }

    #[test]
    fn addresses_are_of_the_pool_and_never_look_like_a_network() {
        let mut seen = HashSet::new();
        for at in 0..MOST {
            let v4 = address(at).unwrap();
            let [a, b, _, d] = v4.octets();
            assert!(a == 198 && (b == 18 || b == 19) && d != 0 && d != 255);
            assert!(seen.insert(v4));
            assert_eq!(place(v4), Some(at));
        }
        assert_eq!(address(0), Some(Ipv4Addr::new(198, 18, 0, 1)));
        assert_eq!(address(253), Some(Ipv4Addr::new(198, 18, 0, 254)));
        assert_eq!(address(254), Some(Ipv4Addr::new(198, 18, 1, 1)));
        assert_eq!(
            twin(Ipv4Addr::new(198, 18, 0, 1)).to_string(),
            "fd6b:6579:7761:7265::c612:1"
        );
        for never in ["198.18.0.0", "198.18.0.255", "198.20.0.1", "198.17.255.254"] {
            assert_eq!(place(never.parse().unwrap()), None, "{never}");
        }
        assert_eq!(address(512 * 254), None);
    }

    #[test]
    fn both_addresses_lead_back_and_others_do_not() {
        let (mut pool, now) = (Pool::default(), Instant::now());
        let (v4, v6) = pool.give(&name(1), now).unwrap();
        assert_eq!(pool.give(&name(1), now), Some((v4, v6)));
        assert_eq!(pool.given(&name(1)), Some(v4));
        assert_eq!(pool.given(&name(2)), None);
        for it in [IpAddr::V4(v4), IpAddr::V6(v6)] {
            assert_eq!(pool.behind(it, now), Behind::Name(name(1)));
        }
        for stale in [
            "198.18.0.2",
            "198.19.255.255",
            "198.18.0.0",
            "fd6b:6579:7761:7265::1",
            "fd6b:6579:7761:7265:1::c612:1",
        ] {
            assert_eq!(
                pool.behind(stale.parse().unwrap(), now),
                Behind::Stale,
                "{stale}"
            );
        }
        for other in [
            "198.17.0.1",
            "198.20.0.1",
            "127.0.0.1",
            "fd6b:6579:7761:7264::30",
            "::1",
        ] {
            assert_eq!(
                pool.behind(other.parse().unwrap(), now),
                Behind::Nothing,
                "{other}"
            );
        }
    }

    #[test]
    fn a_full_pool_gives_nothing_rather_than_what_is_in_use() {
        let (mut pool, start) = (small(3), Instant::now());
        let given: Vec<_> = (0..3)
            .map(|it| pool.give(&name(it), start).unwrap())
            .collect();
        assert_eq!(pool.give(&name(9), start + QUARANTINE), None);
        // A connection keeps it.
        let later = start + QUARANTINE;
        assert_eq!(pool.behind(given[0].0.into(), later), Behind::Name(name(0)));
        let late = later + Duration::from_secs(1);
        assert_eq!(pool.give(&name(9), late), Some(given[1]));
        assert_eq!(pool.behind(given[1].0.into(), late), Behind::Name(name(9)));
        assert_eq!(pool.given(&name(1)), None);
        assert_eq!(pool.given(&name(0)), Some(given[0].0));
    }

    proptest! {
        /// Whatever is asked and however time goes: one name an address, one address a name, and an address changes
        /// hands only after it was left alone.
        #[test]
        fn an_address_stands_for_one_name(
            steps in prop::collection::vec((0_usize..3, 0_usize..12, 0_u64..2500), 1..200),
        ) {
            let (mut pool, mut now) = (small(5), Instant::now());
            let mut owners: HashMap<Ipv4Addr, (Name, Instant)> = HashMap::new();
            for (step, number, seconds) in steps {
                now += Duration::from_secs(seconds);
                let asked = name(number);
                match step {
                    0 | 1 => {
                        if let Some((v4, v6)) = pool.give(&asked, now) {
                            if let Some((owner, used)) = owners.get(&v4)
                                && *owner != asked
                            {
                                prop_assert!(now - *used > QUARANTINE);
                            }
                            owners.retain(|_, (owner, _)| *owner != asked);
                            owners.insert(v4, (asked.clone(), now));
                            prop_assert_eq!(twin(v4), v6);
                        } else {
                            prop_assert!(!owners.values().any(|it| it.0 == asked));
                            prop_assert!(owners.values().all(|it| now - it.1 <= QUARANTINE));
                        }
                    }
                    _ => {
                        let known: Vec<_> = owners.keys().copied().collect();
                        if let Some(v4) = known.get(number % known.len().max(1)) {
                            let (owner, used) = owners.get_mut(v4).unwrap();
                            prop_assert_eq!(pool.behind((*v4).into(), now), Behind::Name(owner.clone()));
                            *used = now;
                        }
                    }
                }
                prop_assert_eq!(pool.places.len(), pool.slots.len());
                for (name, place) in &pool.places {
                    prop_assert_eq!(&pool.slots[*place].name, name);
                }
            }
        }
    }
}
