// SPDX-License-Identifier: GPL-3.0-or-later
//! What keyward's kernel and end-to-end tests are made of.
#![expect(clippy::panic, reason = "it is how a test says that it failed")]

pub mod demo;
pub mod host;
pub mod lab;
pub mod world;
