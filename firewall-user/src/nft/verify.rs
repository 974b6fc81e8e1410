// SPDX-License-Identifier: GPL-3.0-or-later
//! Reads keyward's table back and compares it with what was meant: table, chains, rules, in their order.
//!
//! Counters differ by nature and are left out. Tables and chains are read by [`super::found`], whose documentation says why.

use std::collections::BTreeMap;

use rustables::expr::{ExpressionVariant, RawExpression};
use rustables::query::list_objects_with_data;
use rustables::sys::NFT_MSG_GETRULE;

use super::TABLE;
use super::batch::{PRIORITY, class};
use super::dump::Reader;
use super::error::{Difference, NftError};
use super::found::{self, FoundChain, FoundHook};
use super::rule::Rule;
use super::ruleset::{Chain, Ruleset};

/// `NFT_CHAIN_BASE` of `linux/netfilter/nf_tables.h`; any other flag changes what a chain does.
const BASE_CHAIN: u32 = 1;

/// `NF_DROP` of `linux/netfilter.h`.
const DROP: u32 = 0;

/// Proof that a rule set was applied, read back, and found to be the one that was meant.
///
/// Only this module makes one; what must not start unprotected asks for it.
#[derive(Debug)]
#[must_use]
pub struct Enforced(());

/// Compares what the kernel holds in the calling thread's network namespace with `ruleset`.
///
/// # Errors
///
/// The rules cannot be read, or differ; [`NftError::Differs`] names the first difference.
pub fn verify(ruleset: &Ruleset) -> Result<Enforced, NftError> {
    let reader = Reader::open()?;
    verify_table(&reader)?;
    verify_chains(&reader, ruleset.chains())?;
    let found = read_rules()?;
    for chain in ruleset.chains() {
        let found = found.get(chain.name()).map_or(&[][..], Vec::as_slice);
        verify_rules(chain, found)?;
    }
    Ok(Enforced(()))
}

impl Reader {
    /// How many packets the rules have refused so far: the sum of the table's counters.
    ///
    /// # Errors
    ///
    /// The rules cannot be read, or there is no table of keyward's.
    pub fn denied_packets(&self) -> Result<u64, NftError> {
        verify_table(self)?;
        found::counted_packets(self)
    }
}

fn verify_table(reader: &Reader) -> Result<(), NftError> {
    match found::table(reader)? {
        Some(table) if table.flags == 0 => Ok(()),
        Some(table) => Err(NftError::Differs(Difference::TableFlags {
            flags: table.flags,
        })),
        None => Err(NftError::Differs(Difference::NoTable)),
    }
}

fn verify_chains(reader: &Reader, meant: &[Chain]) -> Result<(), NftError> {
    let found = found::chains(reader)?;
    if !meant
        .iter()
        .map(Chain::name)
        .eq(found.iter().map(|chain| chain.name.as_str()))
    {
        return Err(NftError::Differs(Difference::Chains {
            meant: meant.iter().map(|chain| chain.name().to_owned()).collect(),
            found: found.into_iter().map(|chain| chain.name).collect(),
        }));
    }
    for (meant, found) in meant.iter().map(as_found).zip(found) {
        if meant != found {
            return Err(NftError::Differs(Difference::Chain {
                meant: meant.to_string(),
                found: found.to_string(),
                chain: found.name,
            }));
        }
    }
    Ok(())
}

/// What the kernel should tell of a chain.
fn as_found(chain: &Chain) -> FoundChain {
    let name = chain.name().to_owned();
    match chain.hook() {
        None => FoundChain {
            table: TABLE.to_owned(),
            name,
            ..FoundChain::default()
        },
        Some(hook) => FoundChain {
            table: TABLE.to_owned(),
            name,
            hook: Some(FoundHook {
                number: u32::try_from(class(hook) as i32).ok(),
                priority: Some(PRIORITY),
            }),
            kind: Some("filter".to_owned()),
            policy: Some(DROP),
            flags: BASE_CHAIN,
        },
    }
}

fn verify_rules(chain: &Chain, found: &[Vec<RawExpression>]) -> Result<(), NftError> {
    for (index, meant) in chain.rules().iter().enumerate() {
        if !found.get(index).is_some_and(|found| is_rule(meant, found)) {
            return Err(NftError::Differs(Difference::Rule {
                chain: chain.name().to_owned(),
                position: index + 1,
                meant: meant.to_string(),
            }));
        }
    }
    if found.len() > chain.rules().len() {
        return Err(NftError::Differs(Difference::ExtraRules {
            chain: chain.name().to_owned(),
            meant: chain.rules().len(),
            found: found.len(),
        }));
    }
    Ok(())
}

fn is_rule(meant: &Rule, found: &[RawExpression]) -> bool {
    meant.expressions().len() == found.len()
        && meant
            .expressions()
            .iter()
            .zip(found)
            .all(|(meant, found)| meant == found || (is_counter(meant) && is_counter(found)))
}

/// The expressions of each rule of keyward's table, in order, by chain.
fn read_rules() -> Result<BTreeMap<String, Vec<Vec<RawExpression>>>, NftError> {
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let get = u16::try_from(NFT_MSG_GETRULE).unwrap_or(u16::MAX);
    let add = |rule: rustables::Rule, found: &mut BTreeMap<_, Vec<_>>| {
        if let (Some(table), Some(chain)) = (rule.get_table(), rule.get_chain())
            && table == TABLE
        {
            let expressions = rule.get_expressions().into_iter().flat_map(|it| it.iter());
            let expressions = expressions.cloned().collect();
            found.entry(chain.clone()).or_default().push(expressions);
        }
        Ok(())
    };
    list_objects_with_data(get, &add, None, &mut found).map_err(NftError::read)?;
    Ok(found)
}

fn is_counter(expression: &RawExpression) -> bool {
    matches!(expression.get_data(), Some(ExpressionVariant::Counter(_)))
}
