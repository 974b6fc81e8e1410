// SPDX-License-Identifier: GPL-3.0-or-later
//! Tables, chains and counters as the kernel holds them.
//!
//! Not by rustables: its decoder takes the policy `drop` for `accept` (`ChainPolicy::deserialize`, version 0.9.0), so
//! that a chain which lets everything pass would look like ours; and it keeps the family of what it found to itself.

use std::fmt;

use rustables::sys::{
    NFT_MSG_GETCHAIN, NFT_MSG_GETRULE, NFT_MSG_GETTABLE, NFT_MSG_NEWCHAIN, NFT_MSG_NEWRULE,
    NFT_MSG_NEWTABLE, NFTA_CHAIN_FLAGS, NFTA_CHAIN_HOOK, NFTA_CHAIN_NAME, NFTA_CHAIN_POLICY,
    NFTA_CHAIN_TABLE, NFTA_CHAIN_TYPE, NFTA_COUNTER_PACKETS, NFTA_EXPR_DATA, NFTA_EXPR_NAME,
    NFTA_HOOK_HOOKNUM, NFTA_HOOK_PRIORITY, NFTA_RULE_EXPRESSIONS, NFTA_RULE_TABLE,
    NFTA_TABLE_FLAGS, NFTA_TABLE_NAME,
};

use super::TABLE;
use super::dump::{Attributes, Kind, Reader, long_number, number, text};
use super::error::NftError;

/// A table. Numbers are in host order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FoundTable {
    name: String,
    pub(super) flags: u32,
}

/// A chain. Numbers are in host order; what only base chains have is `None` in others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FoundChain {
    pub(super) table: String,
    pub(super) name: String,
    pub(super) hook: Option<FoundHook>,
    pub(super) kind: Option<String>,
    pub(super) policy: Option<u32>,
    pub(super) flags: u32,
}

/// Where the kernel calls a base chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FoundHook {
    /// `NF_INET_*` of `linux/netfilter.h`.
    pub(super) number: Option<u32>,
    pub(super) priority: Option<i32>,
}

/// keyward's table, if there is one.
pub(super) fn table(reader: &Reader) -> Result<Option<FoundTable>, NftError> {
    let kind = Kind {
        get: NFT_MSG_GETTABLE,
        new: NFT_MSG_NEWTABLE,
    };
    Ok(reader
        .dump(kind, FoundTable::read)?
        .into_iter()
        .find(|table| table.name == TABLE))
}

/// The chains of keyward's table, in the order in which they were made.
pub(super) fn chains(reader: &Reader) -> Result<Vec<FoundChain>, NftError> {
    let kind = Kind {
        get: NFT_MSG_GETCHAIN,
        new: NFT_MSG_NEWCHAIN,
    };
    let mut chains = reader.dump(kind, FoundChain::read)?;
    chains.retain(|chain| chain.table == TABLE);
    Ok(chains)
}

/// How many packets the counters in the rules of keyward's table have seen.
pub(super) fn counted_packets(reader: &Reader) -> Result<u64, NftError> {
    let kind = Kind {
        get: NFT_MSG_GETRULE,
        new: NFT_MSG_NEWRULE,
    };
    Ok(reader.dump(kind, packets_of_rule)?.into_iter().sum())
}

fn packets_of_rule(attributes: Attributes<'_>) -> Result<u64, NftError> {
    let (mut is_ours, mut packets) = (false, 0);
    for attribute in attributes {
        match attribute? {
            (NFTA_RULE_TABLE, value) => is_ours = text(value)? == TABLE,
            (NFTA_RULE_EXPRESSIONS, list) => {
                for element in Attributes(list) {
                    packets += packets_of_expression(Attributes(element?.1))?;
                }
            }
            _ => {}
        }
    }
    Ok(if is_ours { packets } else { 0 })
}

fn packets_of_expression(attributes: Attributes<'_>) -> Result<u64, NftError> {
    let (mut is_counter, mut data) = (false, Attributes(&[]));
    for attribute in attributes {
        match attribute? {
            (NFTA_EXPR_NAME, value) => is_counter = text(value)? == "counter",
            (NFTA_EXPR_DATA, value) => data = Attributes(value),
            _ => {}
        }
    }
    if !is_counter {
        return Ok(0);
    }
    for attribute in data {
        if let (NFTA_COUNTER_PACKETS, value) = attribute? {
            return long_number(value);
        }
    }
    Ok(0)
}

impl FoundTable {
    fn read(attributes: Attributes<'_>) -> Result<Self, NftError> {
        let mut table = Self::default();
        for attribute in attributes {
            match attribute? {
                (NFTA_TABLE_NAME, value) => table.name = text(value)?,
                (NFTA_TABLE_FLAGS, value) => table.flags = number(value)?,
                // Handle, use count, user data: they decide about no packet.
                _ => {}
            }
        }
        Ok(table)
    }
}

impl FoundChain {
    fn read(attributes: Attributes<'_>) -> Result<Self, NftError> {
        let mut chain = Self::default();
        for attribute in attributes {
            match attribute? {
                (NFTA_CHAIN_TABLE, value) => chain.table = text(value)?,
                (NFTA_CHAIN_NAME, value) => chain.name = text(value)?,
                (NFTA_CHAIN_HOOK, value) => chain.hook = Some(FoundHook::read(Attributes(value))?),
                (NFTA_CHAIN_TYPE, value) => chain.kind = Some(text(value)?),
                (NFTA_CHAIN_POLICY, value) => chain.policy = Some(number(value)?),
                (NFTA_CHAIN_FLAGS, value) => chain.flags = number(value)?,
                // Handle, use count, counters, user data: they decide about no packet.
                _ => {}
            }
        }
        Ok(chain)
    }
}

impl FoundHook {
    fn read(attributes: Attributes<'_>) -> Result<Self, NftError> {
        let mut hook = Self::default();
        for attribute in attributes {
            match attribute? {
                (NFTA_HOOK_HOOKNUM, value) => hook.number = Some(number(value)?),
                (NFTA_HOOK_PRIORITY, value) => {
                    hook.priority = Some(number(value)?.cast_signed());
                }
                // Devices, which only chains of the family netdev have.
                _ => {}
            }
        }
        Ok(hook)
    }
}

/// Near to nft's words; numbers stay numbers, since anything may be found.
impl fmt::Display for FoundChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(hook) = self.hook else {
            return write!(f, "without hook, flags {}", self.flags);
        };
        let number = |n: Option<i64>| n.map_or_else(|| "none".to_owned(), |n| n.to_string());
        write!(
            f,
            "type {} hook {} priority {} policy {} flags {}",
            self.kind.as_deref().unwrap_or("none"),
            number(hook.number.map(i64::from)),
            number(hook.priority.map(i64::from)),
            match self.policy {
                Some(0) => "drop".to_owned(),
                Some(1) => "accept".to_owned(),
                policy => number(policy.map(i64::from)),
            },
            self.flags
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::dump::tests::attribute;
    use super::*;

    fn base_chain() -> Vec<u8> {
        let hook = [
            attribute(NFTA_HOOK_HOOKNUM, &3u32.to_be_bytes()),
            attribute(NFTA_HOOK_PRIORITY, &(-150i32).to_be_bytes()),
        ]
        .concat();
        [
            attribute(NFTA_CHAIN_TABLE, b"keyward\0"),
            attribute(NFTA_CHAIN_NAME, b"output\0"),
            attribute(NFTA_CHAIN_HOOK | 0x8000, &hook),
            attribute(NFTA_CHAIN_POLICY, &0u32.to_be_bytes()),
            attribute(NFTA_CHAIN_TYPE, b"filter\0"),
            attribute(NFTA_CHAIN_FLAGS, &1u32.to_be_bytes()),
        ]
        .concat()
    }

    #[test]
    fn a_base_chain_is_read_whole() {
        let meant = FoundChain {
            table: "keyward".into(),
            name: "output".into(),
            hook: Some(FoundHook {
                number: Some(3),
                priority: Some(-150),
            }),
            kind: Some("filter".into()),
            policy: Some(0),
            flags: 1,
        };
        assert_eq!(FoundChain::read(Attributes(&base_chain())).unwrap(), meant);
    }

    #[test]
    fn a_cut_chain_never_passes_for_the_whole_one() {
        let bytes = base_chain();
        let whole = FoundChain::read(Attributes(&bytes)).unwrap();
        for end in 0..bytes.len() {
            if let Ok(cut) = FoundChain::read(Attributes(&bytes[..end])) {
                assert_ne!(cut, whole, "{end}");
            }
        }
    }

    #[test]
    fn packets_are_summed_up_in_rules_of_our_own_table() {
        let expression = |name: &[u8], packets: u64| {
            let data = attribute(NFTA_COUNTER_PACKETS, &packets.to_be_bytes());
            let parts = [
                attribute(NFTA_EXPR_NAME, name),
                attribute(NFTA_EXPR_DATA | 0x8000, &data),
            ];
            attribute(1, &parts.concat())
        };
        let rule = |table: &[u8]| {
            let list = [
                expression(b"counter\0", 3),
                expression(b"limit\0", 100),
                expression(b"counter\0", 1 << 40),
            ];
            let parts = [
                attribute(NFTA_RULE_TABLE, table),
                attribute(NFTA_RULE_EXPRESSIONS | 0x8000, &list.concat()),
            ];
            packets_of_rule(Attributes(&parts.concat())).unwrap()
        };
        assert_eq!(rule(b"keyward\0"), (1 << 40) + 3);
        assert_eq!(rule(b"another\0"), 0);
    }

    #[test]
    fn the_policies_drop_and_accept_are_told_apart() {
        let read = |policy: u32| {
            let bytes = attribute(NFTA_CHAIN_POLICY, &policy.to_be_bytes());
            FoundChain::read(Attributes(&bytes)).unwrap().policy
        };
        assert_eq!((read(0), read(1)), (Some(0), Some(1)));
    }
}
