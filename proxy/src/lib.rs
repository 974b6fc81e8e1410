// SPDX-License-Identifier: MIT OR Apache-2.0
//! The gateway that holds the credentials.
//!
//! A workload that holds placeholders talks plain HTTP to the gateway's ports; the gateway strips every
//! credential it brought, injects the real one for this provider, and speaks verified TLS to the
//! provider. This crate is the whole of it, usable without the firewall: a library, and a small binary
//! `keyward-proxy` around it. It holds no `unsafe` code and needs no privilege.
#![forbid(unsafe_code)]

mod accept;
mod backoff;
pub mod binding;
mod calendar;
pub mod client_hello;
mod coding;
pub mod control;
pub mod credential;
pub mod dns;
mod egress;
mod explicit;
mod frame;
pub mod gateway;
pub mod harden;
mod http_door;
mod metrics;
mod patience;
pub mod peers;
mod percent;
pub mod process;
pub mod provider;
pub mod refusal;
pub mod request_log;
mod respond;
mod scan;
pub mod server;
pub mod settings;
pub mod spend;
pub mod standalone;
pub mod status;
mod telemetry;
mod timer;
mod transparent;
mod upstream;
pub mod usage;
