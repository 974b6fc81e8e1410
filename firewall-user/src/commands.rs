// SPDX-License-Identifier: GPL-3.0-or-later
//! One file a subcommand.

pub mod doctor;
pub mod explain;
pub mod logs;
pub mod policy;
pub mod reload;
pub mod report;
pub mod run;
pub mod selftest;
pub mod status;
pub mod suggest;
mod table;
pub mod top;
pub mod version;
