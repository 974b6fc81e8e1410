// SPDX-License-Identifier: GPL-3.0-or-later
//! Reading the logs of a run, for the report at its end and for the commands that look at it later.
//!
//! A log may be of a run that goes on, that was killed in the middle of a line, or that another version of keyward
//! made: what cannot be read is counted and passed over, and nothing here fails because of it. Nothing here keeps
//! more in memory than a thousand hosts need, however long the log is.

mod filter;
mod line;
mod lines;
mod names;
mod place;
mod remedy;
mod requests;
mod shown;
mod spans;
mod tally;
mod timeline;
mod tokens;
pub mod units;

pub use filter::{Filter, VerdictFilter};
pub use line::{Event, Line, Request, Verdict};
pub use lines::Lines;
pub use names::{Names, is_probe};
pub use place::{PlaceError, RunLog, find, list};
pub use remedy::{Advice, advice, help};
pub use requests::{ModelTally, Requests};
pub use shown::Shown;
pub use spans::Spans;
pub use tally::{Denials, HostTally, ReasonTally, Tally, Thing, ThingTally, Totals, sentence};
pub use timeline::{Slot, Timeline};
pub use tokens::{Account, AllSpent, Spent, money};
