// SPDX-License-Identifier: GPL-3.0-or-later
//! Which name an address was given for: the kernel sees addresses, people think in names.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use super::line::{Line, Verdict};

/// Most addresses that are remembered.
const MAX_NAMES: usize = 4096;

/// Names by the address that our DNS answered with.
#[derive(Clone, Debug, Default)]
pub struct Names(HashMap<String, String>);

impl Names {
    /// Remembers what a line tells, if the proxy allowed a name that it had given an address.
    pub fn learn(&mut self, line: &Line) {
        if line.door == "kernel" || line.verdict != Verdict::Allow {
            return;
        }
        if let (Some(address), Some(host)) = (&line.address, &line.host)
            && (self.0.len() < MAX_NAMES || self.0.contains_key(address))
        {
            self.0.insert(address.clone(), host.clone());
        }
    }

    /// The name that the address was last given for.
    pub fn of(&self, address: &str) -> Option<&str> {
        let found = self.0.get(address).or_else(|| {
            let address = embedded(address)?;
            self.0.get(&address.to_string())
        });
        found.map(String::as_str)
    }
}

/// Whether a line is of a UDP socket that was tied to an address that stands for a name, which sends nothing: the C
/// library compares the addresses of a name in this way before it connects. With real addresses only the names tell,
/// see [`super::Thing::is_probe`].
pub fn is_probe(line: &Line) -> bool {
    let of_pool = |host: &str| match host.parse() {
        Ok(IpAddr::V4(address)) => is_synthetic(address),
        Ok(IpAddr::V6(_)) => embedded(host).is_some(),
        Err(_) => false,
    };
    line.is_udp_connect() && line.host.as_deref().is_some_and(of_pool)
}

/// 198.18.0.0/15.
fn is_synthetic(address: Ipv4Addr) -> bool {
    let [a, b, _, _] = address.octets();
    a == 198 && b & 0xfe == 18
}

/// The IPv4 address in an IPv6 address of the synthetic pool: a name is given one of each, which end alike, and the log
/// has the first.
fn embedded(address: &str) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address.parse().ok()? else {
        return None;
    };
    let [first, _, _, _, 0, 0, high, low] = address.segments() else {
        return None;
    };
    let [a, b] = high.to_be_bytes();
    let [c, d] = low.to_be_bytes();
    let address = Ipv4Addr::new(a, b, c, d);
    (first >> 8 == 0xfd && is_synthetic(address)).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_an_address_of_each_family() {
        let mut names = Names::default();
        let line = r#"{"event":"decision","door":"dns","verdict":"allow","host":"github.com","address":"198.18.0.7"}"#;
        names.learn(&Line::parse(line.as_bytes()).unwrap());
        for address in ["198.18.0.7", "fd6b:6579:7761:7265::c612:7"] {
            assert_eq!(names.of(address), Some("github.com"), "{address}");
        }
        for address in [
            "198.18.0.8",
            "fd6b:6579:7761:7265::c612:8",
            "2001:db8::c612:7",
            "fd6b:6579:7761:7265:1::c612:7",
            "",
            "github.com",
        ] {
            assert_eq!(names.of(address), None, "{address}");
        }
    }
}
