// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finds the rules of one list that are about a host, without looking at the others.
//!
//! Every rule for names ends with labels that are fixed: those are the key. A name of n labels is looked up n times,
//! however many rules there are; an address once for each length of a network that occurs.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use crate::{
    Name, Rule,
    rule::{Network, Spec, Target},
};

/// A list of rules.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    rules: Vec<(Rule, Spec)>,
    /// Places in `rules`, in their order, by [`Target::suffix`].
    by_suffix: HashMap<Box<str>, Vec<usize>>,
    /// The same, by network.
    by_network: HashMap<Network, Vec<usize>>,
    /// How many bits count in them: the narrowest first.
    bits: BTreeSet<Reverse<u8>>,
}

impl Index {
    pub(crate) fn add(&mut self, rule: Rule, spec: Spec) {
        let place = self.rules.len();
        match &spec.target {
            Target::Network(network) => {
                self.by_network.entry(*network).or_default().push(place);
                self.bits.insert(Reverse(network.bits()));
            }
            Target::Name { .. } | Target::Pattern(_) => {
                let suffix = spec.target.suffix().unwrap_or_default();
                self.by_suffix.entry(suffix.into()).or_default().push(place);
            }
        }
        self.rules.push((rule, spec));
    }

    /// Rules about a name: those with the longer fixed part first, then in the order of the list.
    pub(crate) fn about<'a, 'n>(
        &'a self,
        name: &'n Name,
    ) -> impl Iterator<Item = (&'a Rule, &'a Spec)> + use<'a, 'n> {
        suffixes(name.as_str())
            .filter_map(|suffix| self.by_suffix.get(suffix))
            .flatten()
            .map(|place| self.at(*place))
            .filter(|(_, spec)| spec.target.has(name))
    }

    /// Rules that list an address, alone or in a network: the narrower ones first.
    pub(crate) fn listing(&self, address: IpAddr) -> impl Iterator<Item = (Network, &Rule, &Spec)> {
        let around = self
            .bits
            .iter()
            .filter_map(move |it| Network::around(address, it.0));
        around.flat_map(move |network| {
            let places = self.by_network.get(&network).into_iter().flatten();
            places.map(move |place| {
                let (rule, spec) = self.at(*place);
                (network, rule, spec)
            })
        })
    }

    /// All rules, in their order.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().map(|it| &it.0)
    }

    fn at(&self, place: usize) -> (&Rule, &Spec) {
        let (rule, spec) = &self.rules[place];
        (rule, spec)
    }
}

/// `a.b.c`, `b.c`, `c`.
fn suffixes(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |it| it.split_once('.').map(|it| it.1))
}
