// SPDX-License-Identifier: GPL-3.0-or-later
//! A rule set as one netlink transaction: it takes effect whole, or not at all.

use rustables::expr::ExpressionList;
use rustables::{
    Batch, Chain as NlChain, ChainPolicy, ChainType, Hook as NlHook, HookClass, MsgType,
    ProtocolFamily, Rule as NlRule, Table,
};

use super::TABLE;
use super::error::NftError;
use super::ruleset::{Chain, Hook, Ruleset};

/// The priority that nft calls `filter`.
pub(super) const PRIORITY: i32 = 0;

/// Makes keyward's table hold `ruleset` and nothing else.
///
/// Add, delete, add: the deletion would fail if there were no table, and the first addition changes nothing if there
/// is one.
pub(super) fn replace(ruleset: &Ruleset) -> Result<(), NftError> {
    let table = table();
    let mut batch = Batch::new();
    batch.add(&table, MsgType::Add);
    batch.add(&table, MsgType::Del);
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
    let table = table();
    let mut batch = Batch::new();
    batch.add(&table, MsgType::Add);
    batch.add(&table, MsgType::Del);
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
