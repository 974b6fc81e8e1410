// SPDX-License-Identifier: MIT OR Apache-2.0
//! The door with real sockets: a workload, a policy, and an upstream that shows what reached it.

mod carried;
mod decided;
mod world;
