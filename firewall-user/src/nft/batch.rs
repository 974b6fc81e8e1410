// SPDX-License-Identifier: GPL-3.0-or-later
//! A rule set as one netlink transaction: it takes effect whole, or not at all.

use rustables::expr::ExpressionList;
use rustables::{
    Batch, Chain as NlChain, ChainPolicy, ChainType, Hook as NlHook, HookClass, MsgType,
    ProtocolFamily, Rule as NlRule, Table,
};

use super::TABLE;
use super::dump::Reader;
use super::error::NftError;
use super::found;
use super::ruleset::{Chain, Hook, Ruleset};

/// The priority that nft calls `filter`.
pub(super) const PRIORITY: i32 = 0;

/// Makes keyward's table hold `ruleset` and nothing else.
///
/// A table that is there is deleted in the same transaction. One that is not there is not, as the deletion is what
/// takes time: the kernel lets nobody close the netlink socket before all processors have forgotten the old rules,
/// about 10 ms. Should a table appear between the look and the transaction, its rules would stay, and the comparison
/// that follows would fail.
pub(super) fn replace(ruleset: &Ruleset) -> Result<(), NftError> {
    let table = table();
    let mut batch = Batch::new();
    if found::table(&Reader::open()?)?.is_some() {
        batch.add(&table, MsgType::Del);
    }
    batch.add(&table, MsgType::Add);
    for chain in ruleset.chains() {
        let netlink = netlink_chain(chain, &table);
        batch.add(&netlink, MsgType::Add);
    }
    // After all chains, since a rule may jump to any of them.
    for chain in ruleset.chains() {
        let netlink = netlink_chain(chain, &table);
        for rule in chain.rules() {
            let mut added = NlRule::new(&netlink).map_err(NftError::build)?;
            let expressions: ExpressionList = rule.expressions().to_vec().into();
            added.set_expressions(expressions);
            batch.add(&added, MsgType::Add);
        }
    }
    batch.send().map_err(NftError::send)
}

/// Removes keyward's table, if there is one.
pub(super) fn remove() -> Result<(), NftError> {
    if found::table(&Reader::open()?)?.is_none() {
        return Ok(());
    }
    let mut batch = Batch::new();
    batch.add(&table(), MsgType::Del);
    batch.send().map_err(NftError::send)
}

pub(super) fn table() -> Table {
    Table::new(ProtocolFamily::Inet).with_name(TABLE)
}

pub(super) fn netlink_chain(chain: &Chain, table: &Table) -> NlChain {
    let netlink = NlChain::new(table).with_name(chain.name());
    match chain.hook() {
        None => netlink,
        Some(hook) => netlink
            .with_hook(NlHook::new(class(hook), PRIORITY))
            .with_type(ChainType::Filter)
            .with_policy(ChainPolicy::Drop),
    }
}

pub(super) fn class(hook: Hook) -> HookClass {
    match hook {
        Hook::Input => HookClass::In,
        Hook::Forward => HookClass::Forward,
        Hook::Output => HookClass::Out,
    }
}
