// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sizes and times, with the reasoning for each default.

use std::time::Duration;

use super::RawLimits;

/// Sizes in bytes and times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Longest request body. 10 MiB: existing users' limit; above it prompts with images are rare.
    pub body: u64,
    /// Longest request head, request line included. 16 KiB: twice what the most talkative client
    /// sends.
    pub head: usize,
    /// Most connections of the workload at a time; further ones wait in the kernel's queue. 4096 keeps
    /// a workload that leaks connections below the usual limit of descriptors.
    pub connections: usize,
    /// Most connections at the doors for egress by host name at a time; further ones wait in the kernel's queue. 16384:
    /// more than a source address has ports for at once by default is no use.
    pub tunnels: usize,
    /// From a head's first byte to its last. 10 s: a client on the same host takes microseconds.
    pub head_time: Duration,
    /// How long a connection may wait for its next request. 10 minutes: agents think between turns.
    pub keep_alive: Duration,
    /// Longest pause inside a request body.
    pub body_idle: Duration,
    /// Name, TCP and TLS of an upstream connection together.
    pub connect: Duration,
    /// From the request sent to the response's head. 10 minutes: a model that does not stream thinks
    /// before the first byte.
    pub first_byte: Duration,
    /// Longest pause inside a response body. Providers ping event streams about every 15 s; without
    /// pings a reasoning model has been seen silent for minutes.
    pub upstream_idle: Duration,
    /// Longest silence in both directions of a WebSocket. One hour: the socket of a whole agent run
    /// stays open while tools work.
    pub websocket_idle: Duration,
    /// How long a drain waits for running requests.
    pub drain: Duration,
    /// How long a redirected connection has to say whom it is for. 10 s: a client sends its ClientHello at once.
    pub first_bytes: Duration,
    /// Longest silence in both directions of a tunnel. One hour, as for WebSockets: an ssh session waits while its
    /// user thinks.
    pub tunnel_idle: Duration,
    /// Longest life of a tunnel. One day.
    pub tunnel_total: Duration,
    /// Longest exchange with a provider, from the request's head to the end of its answer. One hour: no
    /// model answers for longer, and an answer that drips on for ever would keep its connection. A
    /// WebSocket has no such end: it is the whole run's.
    pub total: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 10 * 1024 * 1024,
            head: 16 * 1024,
            connections: 4096,
            tunnels: 16_384,
            head_time: Duration::from_secs(10),
            keep_alive: Duration::from_secs(600),
            body_idle: Duration::from_secs(60),
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(600),
            upstream_idle: Duration::from_secs(300),
            websocket_idle: Duration::from_secs(3600),
            drain: Duration::from_secs(30),
            first_bytes: Duration::from_secs(10),
            tunnel_idle: Duration::from_secs(3600),
            tunnel_total: Duration::from_secs(86_400),
            total: Duration::from_secs(3600),
        }
    }
}

impl Limits {
    /// Checks what was set; what was not takes the default.
    pub(super) fn parse(raw: &RawLimits, faults: &mut Vec<String>) -> Self {
        let default = Self::default();
        let mut size = |name: &str, value: Option<u64>, default: u64, least: u64, most: u64| {
            let value = value.unwrap_or(default);
            if !(least..=most).contains(&value) {
                faults.push(format!(
                    "limits.{name}: {value} is not between {least} and {most}"
                ));
            }
            value
        };
        let body = size("body", raw.body, default.body, 0, 1 << 40);
        // hyper keeps a head in one buffer; a MiB is far beyond any client and still harmless.
        let head = size("head", raw.head, to_u64(default.head), 256, 1 << 20);
        let connections = size(
            "connections",
            raw.connections,
            to_u64(default.connections),
            1,
            1 << 20,
        );
        let tunnels = size("tunnels", raw.tunnels, to_u64(default.tunnels), 1, 1 << 20);
        let mut time = |name: &str, value: Option<f64>, default: Duration| match value {
            None => default,
            Some(seconds) if (0.001..=86_400.0).contains(&seconds) => {
                Duration::from_secs_f64(seconds)
            }
            Some(seconds) => {
                faults.push(format!(
                    "limits.{name}: {seconds} is not between 0.001 and 86400"
                ));
                default
            }
        };
        Self {
            body,
            head: usize::try_from(head).unwrap_or(default.head),
            connections: usize::try_from(connections).unwrap_or(default.connections),
            tunnels: usize::try_from(tunnels).unwrap_or(default.tunnels),
            head_time: time("head-seconds", raw.head_seconds, default.head_time),
            keep_alive: time(
                "keep-alive-seconds",
                raw.keep_alive_seconds,
                default.keep_alive,
            ),
            body_idle: time(
                "body-idle-seconds",
                raw.body_idle_seconds,
                default.body_idle,
            ),
            connect: time("connect-seconds", raw.connect_seconds, default.connect),
            first_byte: time(
                "first-byte-seconds",
                raw.first_byte_seconds,
                default.first_byte,
            ),
            upstream_idle: time(
                "upstream-idle-seconds",
                raw.upstream_idle_seconds,
                default.upstream_idle,
            ),
            websocket_idle: time(
                "websocket-idle-seconds",
                raw.websocket_idle_seconds,
                default.websocket_idle,
            ),
            drain: time("drain-seconds", raw.drain_seconds, default.drain),
            first_bytes: time(
                "first-bytes-seconds",
                raw.first_bytes_seconds,
                default.first_bytes,
            ),
            tunnel_idle: time(
                "tunnel-idle-seconds",
                raw.tunnel_idle_seconds,
                default.tunnel_idle,
            ),
            tunnel_total: time(
                "tunnel-total-seconds",
                raw.tunnel_total_seconds,
                default.tunnel_total,
            ),
            total: time("total-seconds", raw.total_seconds, default.total),
        }
    }
}

fn to_u64(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}
