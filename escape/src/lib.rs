// SPDX-License-Identifier: GPL-3.0-or-later
//! Ways out of keyward: a catalogue of attempts as data, a lab to make them in, and the judge of what came of them.
//!
//! - [`catalogue`]: the attempts, one file a group in `attempts/`. An attempt is a small hostile program and what is
//!   claimed of it: what stops it, what it is told, what the log says.
//! - [`lab`]: a host and its outside in namespaces of their own, with decoys of everything that a workload could want.
//! - [`round`]: attempts made in one mode, with the firewall or, as their control, without.
//! - [`judge`]: what came of an attempt, by what arrived, leaked or changed; never by what the program says of itself.
//! - [`report`]: the results, for a terminal and for the documentation.
//!
//! keyward itself is a path to a binary here. What it consists of, layer by layer, is the caller's to provide
//! ([`round::Layers`]).

pub mod catalogue;
pub mod judge;
pub mod lab;
pub mod report;
pub mod round;
pub mod suite;
