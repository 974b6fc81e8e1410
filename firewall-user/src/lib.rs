// SPDX-License-Identifier: GPL-3.0-or-later
//! keyward's supervisor: what `keyward run` does before, while and after a command runs behind the firewall.
//!
//! Start reading at [`run`]: it is the privilege timeline, one step after another.
#![deny(unsafe_code)]

pub mod audit;
pub mod beside;
pub mod cgroup;
pub mod cli;
pub mod commands;
pub mod confine;
pub mod credentials;
pub mod drift;
pub mod ebpf;
pub mod endpoints;
pub mod environment;
pub mod features;
pub mod files;
pub mod gateway;
pub mod logs;
pub mod network;
pub mod nft;
pub mod one_shot;
pub mod oom;
pub mod policy;
pub mod posture;
pub mod preflight;
pub mod proxy_process;
pub mod reading;
pub mod reload;
pub mod report;
pub mod rotation;
pub mod run;
pub mod runs;
pub mod sandbox;
pub mod settings;
pub mod sightings;
pub mod stdio;
pub mod supervise;
#[expect(unsafe_code, reason = "the one place for it; see the module")]
pub mod sys;
pub mod timings;
pub mod user;
pub mod workload;
