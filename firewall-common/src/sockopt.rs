// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which socket options a workload may not set.
//!
//! Three kinds are refused: those that give a packet another way than its destination says, those
//! that put data into a packet before a connection is judged, and those that make the kernel itself
//! send packets which belong to no socket (group memberships).

use crate::Reason;

/// `SOL_SOCKET`.
const SOCKET: i32 = 1;
/// `SOL_IP`.
const IP: i32 = 0;
/// `SOL_TCP`.
const TCP: i32 = 6;
/// `SOL_IPV6`.
const IPV6: i32 = 41;

/// Level and name of every refused option, with the numbers of Linux on all architectures that
/// number `SOL_SOCKET` 1 (not MIPS, SPARC, PA-RISC and Alpha, which have numbers of their own).
pub const REFUSED: &[(i32, i32)] = &[
    // Another way out than the destination's route.
    (SOCKET, 25), // SO_BINDTODEVICE
    (SOCKET, 36), // SO_MARK
    (SOCKET, 62), // SO_BINDTOIFINDEX
    (IP, 50),     // IP_UNICAST_IF
    (IPV6, 76),   // IPV6_UNICAST_IF
    // A header of the workload's own, or of somebody else's address.
    (IP, 3),    // IP_HDRINCL
    (IP, 19),   // IP_TRANSPARENT
    (IPV6, 36), // IPV6_HDRINCL
    (IPV6, 75), // IPV6_TRANSPARENT
    (TCP, 19),  // TCP_REPAIR
    // Source routes and the extension headers that can carry them or data.
    (IP, 4),    // IP_OPTIONS
    (IP, 5),    // IP_ROUTER_ALERT
    (IPV6, 3),  // IPV6_2292HOPOPTS
    (IPV6, 4),  // IPV6_2292DSTOPTS
    (IPV6, 5),  // IPV6_2292RTHDR
    (IPV6, 6),  // IPV6_2292PKTOPTIONS
    (IPV6, 9),  // IPV6_NEXTHOP
    (IPV6, 22), // IPV6_ROUTER_ALERT
    (IPV6, 54), // IPV6_HOPOPTS
    (IPV6, 55), // IPV6_RTHDRDSTOPTS
    (IPV6, 57), // IPV6_RTHDR
    (IPV6, 59), // IPV6_DSTOPTS
    // A tunnel of the kernel's.
    (IP, 16),   // IP_IPSEC_POLICY
    (IP, 17),   // IP_XFRM_POLICY
    (IPV6, 34), // IPV6_IPSEC_POLICY
    (IPV6, 35), // IPV6_XFRM_POLICY
    // A socket that was judged as one family and becomes another.
    (IPV6, 1), // IPV6_ADDRFORM
    // Data in a SYN that no earlier exchange vouches for.
    (TCP, 34), // TCP_FASTOPEN_NO_COOKIE
    // The kernel reports memberships to the network, in packets of its own.
    (IP, 35),   // IP_ADD_MEMBERSHIP
    (IP, 39),   // IP_ADD_SOURCE_MEMBERSHIP
    (IP, 42),   // MCAST_JOIN_GROUP
    (IP, 46),   // MCAST_JOIN_SOURCE_GROUP
    (IPV6, 20), // IPV6_JOIN_GROUP
    (IPV6, 27), // IPV6_JOIN_ANYCAST
    (IPV6, 42), // MCAST_JOIN_GROUP
    (IPV6, 46), // MCAST_JOIN_SOURCE_GROUP
];

/// Names above this are in no set; the greatest refused one is 76.
const NAMES: i32 = 128;

/// One bit a name: a lookup is a shift, where a scan of the list would be a loop in the hook.
const fn set(level: i32) -> [u64; 2] {
    let mut set = [0; 2];
    let mut at = 0;
    while at < REFUSED.len() {
        let (refused_level, name) = REFUSED[at];
        assert!(0 <= name && name < NAMES, "the set is too small");
        if refused_level == level {
            if name < 64 {
                set[0] |= 1 << name;
            } else {
                set[1] |= 1 << (name - 64);
            }
        }
        at += 1;
    }
    set
}

const SOCKET_SET: [u64; 2] = set(SOCKET);
const IP_SET: [u64; 2] = set(IP);
const TCP_SET: [u64; 2] = set(TCP);
const IPV6_SET: [u64; 2] = set(IPV6);

/// Decides on `setsockopt(level, name)`.
///
/// # Errors
///
/// The reason to refuse the option.
#[inline(always)]
pub const fn decide_sockopt(level: i32, name: i32) -> Result<(), Reason> {
    let [low, high] = match level {
        SOCKET => SOCKET_SET,
        IP => IP_SET,
        TCP => TCP_SET,
        IPV6 => IPV6_SET,
        _ => return Ok(()),
    };
    let refused = match name {
        0..64 => low >> name & 1 == 1,
        64..NAMES => high >> (name - 64) & 1 == 1,
        _ => false,
    };
    if refused {
        Err(Reason::SocketOption)
    } else {
        Ok(())
    }
}

/// Whether this option is `IPV6_V6ONLY`, which the connect hook must know of.
#[inline(always)]
#[must_use]
pub const fn is_v6only(level: i32, name: i32) -> bool {
    const V6ONLY: i32 = 26;
    level == IPV6 && name == V6ONLY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_listed_and_nothing_else() {
        for level in (-1..300).chain([i32::MIN, i32::MAX]) {
            for name in (-1..300).chain([i32::MIN, i32::MAX]) {
                let expected = REFUSED.contains(&(level, name));
                assert_eq!(
                    decide_sockopt(level, name).is_err(),
                    expected,
                    "{level} {name}"
                );
            }
        }
    }

    #[test]
    fn everyday_options_pass() {
        // SO_REUSEADDR, SO_KEEPALIVE, SO_LINGER, TCP_NODELAY, TCP_FASTOPEN, IP_TOS, IPV6_V6ONLY.
        for (level, name) in [(1, 2), (1, 9), (1, 13), (6, 1), (6, 23), (0, 1), (41, 26)] {
            assert_eq!(decide_sockopt(level, name), Ok(()));
        }
        assert!(is_v6only(41, 26));
    }
}
