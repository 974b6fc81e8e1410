// SPDX-License-Identifier: MIT OR Apache-2.0
//! The proxy from outside: in this process over real TLS, and as a process of its own.

#[cfg(test)]
mod contract;
#[cfg(test)]
mod credentials;
#[cfg(test)]
mod dns;
#[cfg(test)]
mod doors;
#[cfg(test)]
mod explicit;
#[cfg(test)]
mod gateway;
#[cfg(test)]
mod holes;
#[cfg(test)]
mod http_door;
#[cfg(test)]
mod malformed;
#[cfg(test)]
mod mask;
#[cfg(test)]
mod orders;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod process;
#[cfg(test)]
mod retry;
#[cfg(test)]
mod rewrite;
#[cfg(test)]
mod scan;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod signing;
#[cfg(test)]
mod soak;
#[cfg(test)]
mod spend;
#[cfg(test)]
mod streaming;
#[cfg(test)]
mod support;
#[cfg(test)]
mod telemetry;
#[cfg(test)]
mod transparent;
#[cfg(test)]
mod upstream;
#[cfg(test)]
mod usage;
#[cfg(test)]
mod via;
#[cfg(test)]
mod websocket;
#[cfg(test)]
mod wire;
