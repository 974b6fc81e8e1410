// SPDX-License-Identifier: MIT OR Apache-2.0
//! Everything that is looked for, as one automaton.
//!
//! The automaton holds the credentials in the clear, as the rest of this process does, and for as long; what it is made
//! of is wiped.

use std::{collections::HashMap, sync::Arc};

use aho_corasick::{
    Anchored, MatchKind, PatternID,
    automaton::{Automaton, StateID},
    nfa::contiguous::NFA,
};
use zeroize::Zeroizing;

use super::{
    Finding,
    encodings::{self, SHORTEST, Secret},
    shapes::{self, Shape},
};
use crate::{credential::Credential, provider::Providers};

/// What a pattern means.
pub(super) enum Meaning {
    /// A credential: found.
    Credential(Finding),
    /// The beginning of a shape, by its index.
    Prefix(usize),
}

/// Everything that is looked for.
pub(super) struct Patterns {
    automaton: NFA,
    start: StateID,
    meanings: Vec<Meaning>,
    /// How much of a pattern has been seen when the automaton is in this state.
    depths: HashMap<StateID, usize>,
    shapes: Vec<(Finding, Shape)>,
    /// What begins like one of these is nobody's secret.
    allowed: Vec<Vec<u8>>,
    longest: usize,
    /// For names, where letters have no case.
    names: Option<(NFA, Vec<Finding>)>,
}

impl Patterns {
    pub(super) fn new(
        allow: &[String],
        credentials: &[(String, Credential)],
        providers: &Providers,
    ) -> Result<Self, String> {
        let mut literals: Vec<Secret> = Vec::new();
        let mut meanings = Vec::new();
        let mut in_names: Vec<Secret> = Vec::new();
        let mut names = Vec::new();
        let secrets = credentials
            .iter()
            .flat_map(|(slot, it)| it.secrets().map(move |secret| (slot, secret)))
            .filter(|(_, secret)| secret.len() >= SHORTEST);
        for (slot, secret) in secrets {
            let finding = Finding(Arc::from(format!("credential.{slot}")));
            for form in encodings::of(secret) {
                literals.push(form);
                meanings.push(Meaning::Credential(finding.clone()));
            }
            for form in encodings::in_names(secret) {
                in_names.push(form);
                names.push(finding.clone());
            }
        }
        let shapes = shapes::builtin()?;
        for (index, shape) in shapes.iter().enumerate() {
            for prefix in &shape.prefixes {
                literals.push(Zeroizing::new(prefix.clone().into_bytes()));
                meanings.push(Meaning::Prefix(index));
            }
        }
        let named = |it: Shape| (Finding(Arc::from(it.name.as_str())), it);
        let placeholders = providers
            .iter()
            .map(|it| it.placeholder.as_bytes().to_vec());
        let allowed: Vec<_> = allow
            .iter()
            .map(|it| it.as_bytes().to_vec())
            .chain(placeholders)
            .filter(|it| !it.is_empty())
            .collect();
        let build = |literals: &[Secret], fold: bool| {
            let literals = literals.iter().map(|it| it.as_slice());
            NFA::builder()
                .match_kind(MatchKind::Standard)
                .ascii_case_insensitive(fold)
                .prefilter(false)
                .build(literals)
                .map_err(|error| format!("patterns: {error}"))
        };
        let automaton = build(&literals, false)?;
        let start = automaton
            .start_state(Anchored::No)
            .map_err(|error| format!("patterns: {error}"))?;
        let mut depths = HashMap::new();
        for literal in &literals {
            let mut state = start;
            for (depth, byte) in (1..).zip(literal.iter()) {
                state = automaton.next_state(Anchored::No, state, *byte);
                depths.insert(state, depth);
            }
        }
        let names = match in_names.is_empty() {
            true => None,
            false => Some((build(&in_names, true)?, names)),
        };
        Ok(Self {
            start,
            meanings,
            depths,
            shapes: shapes.into_iter().map(named).collect(),
            longest: allowed.iter().map(Vec::len).max().unwrap_or_default(),
            allowed,
            automaton,
            names,
        })
    }

    pub(super) fn start(&self) -> StateID {
        self.start
    }

    /// The state after another byte.
    pub(super) fn next(&self, state: StateID, byte: u8) -> StateID {
        self.automaton.next_state(Anchored::No, state, byte)
    }

    /// The patterns that end in this state, with their lengths.
    pub(super) fn ending(&self, state: StateID) -> impl Iterator<Item = (&Meaning, usize)> {
        let count = match self.automaton.is_match(state) {
            true => self.automaton.match_len(state),
            false => 0,
        };
        (0..count).filter_map(move |index| {
            let pattern: PatternID = self.automaton.match_pattern(state, index);
            let meaning = self.meanings.get(pattern.as_usize())?;
            Some((meaning, self.automaton.pattern_len(pattern)))
        })
    }

    /// How many of the last bytes could be the beginning of something.
    pub(super) fn depth(&self, state: StateID) -> usize {
        self.depths.get(&state).copied().unwrap_or_default()
    }

    pub(super) fn shape(&self, index: usize) -> Option<&(Finding, Shape)> {
        self.shapes.get(index)
    }

    /// How long a token can get before it is decided.
    pub(super) fn enough(&self, shape: &Shape, prefix: usize) -> usize {
        self.longest.max(prefix + shape.least)
    }

    /// Whether a token that begins like this is allowed; `None`: it depends on what follows.
    pub(super) fn is_allowed(&self, token: &[u8]) -> Option<bool> {
        if self.allowed.iter().any(|it| token.starts_with(it)) {
            return Some(true);
        }
        match self.allowed.iter().any(|it| it.starts_with(token)) {
            true => None,
            false => Some(false),
        }
    }

    /// What is in a name, whose dots can be anywhere.
    pub(super) fn find_in_name(&self, name: &str) -> Option<Finding> {
        let (automaton, findings) = self.names.as_ref()?;
        let mut state = automaton.start_state(Anchored::No).ok()?;
        for byte in name.bytes().filter(|it| *it != b'.') {
            state = automaton.next_state(Anchored::No, state, byte);
            if automaton.is_match(state) {
                let pattern = automaton.match_pattern(state, 0);
                return findings.get(pattern.as_usize()).cloned();
            }
        }
        None
    }
}
