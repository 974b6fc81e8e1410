// SPDX-License-Identifier: GPL-3.0-or-later
//! One line of a log. `docs/logs.md` says what each field means.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

/// A line of `audit.jsonl`. Fields that this version does not know are left out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Line {
    /// When it was written; of a connection, when it ended.
    #[serde(deserialize_with = "timestamp")]
    pub time: Option<Timestamp>,
    /// The run's name.
    pub run: String,
    /// What the line tells.
    pub event: Event,
    /// Where it was decided.
    pub door: String,
    /// In the kernel: the hook.
    pub hook: String,
    /// In the kernel: what was denied if it was going nowhere yet, such as `raw socket`.
    pub what: Option<String>,
    /// What was decided.
    pub verdict: Verdict,
    /// It was allowed, but only because nothing is denied in this mode: the reason that it would have been denied for.
    pub audited: Option<String>,
    /// The name, or the address if there is no name.
    pub host: Option<String>,
    /// What the name was answered with, or where a connection without a name was going.
    pub address: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// `tcp`, `udp` …
    pub protocol: Option<String>,
    /// What the connection spoke: `tls`, `http`, `tcp`, `dns`.
    pub scheme: Option<String>,
    /// Of plain HTTP.
    pub method: Option<String>,
    /// Of plain HTTP, without the query.
    pub path: Option<String>,
    /// The record type that was asked for.
    #[serde(rename = "type")]
    pub record_type: Option<String>,
    /// The rule that decided.
    pub rule: Option<String>,
    /// Where it stands.
    pub rule_at: Option<String>,
    /// Why it was denied.
    pub reason: Option<String>,
    /// The rule that would allow it.
    pub remedy: Option<String>,
    /// Who asked.
    pub pid: Option<u32>,
    /// Who asked: the command name.
    pub comm: Option<String>,
    /// Who asked: the program's path.
    pub exe: Option<String>,
    /// Bytes from the workload.
    pub bytes_up: u64,
    /// Bytes to the workload.
    pub bytes_down: u64,
    /// From the first byte to the last.
    pub duration_ms: Option<f64>,
    /// The address that was dialled.
    pub upstream: Option<String>,
    /// At the start: the command's name.
    pub program: Option<String>,
    /// At the start: whom the command runs as.
    pub user: Option<String>,
    /// At the start: `enforce` or `audit`.
    pub mode: Option<String>,
    /// At the end: the exit status.
    pub status: Option<i64>,
    /// After a reload: whether the new policy is in force.
    pub ok: Option<bool>,
    /// After a reload: why it is not.
    pub error: Option<String>,
    /// After a reload: how many rules there are.
    pub rules: Option<u64>,
    /// After a reload: how many open connections it ended.
    pub ended: Option<u64>,
    /// How many lines are missing at this place.
    pub lines: u64,
}

/// What a line tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Something was allowed or denied.
    #[serde(alias = "denial")]
    Decision,
    /// The run began.
    Start,
    /// The run is over.
    End,
    /// The policy was read again.
    Reload,
    /// What program a process runs that used a door.
    Process,
    /// Lines are missing: they came faster than they could be written.
    LinesLost,
    /// Something that this version does not know.
    #[default]
    #[serde(other)]
    Other,
}

/// What was decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It went through.
    Allow,
    /// It did not.
    Deny,
    /// Neither is said.
    #[default]
    #[serde(other)]
    Unknown,
}

/// A line of `requests.jsonl`: one request at the gateway.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Request {
    /// When its answer ended.
    #[serde(deserialize_with = "timestamp")]
    pub time: Option<Timestamp>,
    /// `request`, or something else that is of no interest here.
    pub event: String,
    /// Whose gateway.
    pub provider: String,
    /// The model, if the request named one.
    pub model: Option<String>,
    /// The method.
    pub method: Option<String>,
    /// The path, without the query.
    pub path: Option<String>,
    /// The answer's status.
    pub status: Option<u16>,
    /// `forwarded`, `denied`, `answered`, `failed`.
    pub decision: String,
    /// Why it was not simply forwarded.
    pub reason: Option<String>,
    /// From the head to the end of the answer.
    pub duration_ms: Option<f64>,
    /// From the head to the answer's head.
    pub first_byte_ms: Option<f64>,
    /// Bytes from the workload.
    pub request_bytes: u64,
    /// Bytes to the workload.
    pub response_bytes: u64,
    /// Tokens that went in, if they were counted.
    pub input_tokens: Option<u64>,
    /// Tokens that came out, if they were counted.
    pub output_tokens: Option<u64>,
    /// Tokens that the provider read from its cache, if they were counted.
    pub cache_read_tokens: Option<u64>,
    /// Tokens that the provider wrote to its cache, if they were counted.
    pub cache_write_tokens: Option<u64>,
    /// Tokens of what was thought and not shown, if they were counted.
    pub reasoning_tokens: Option<u64>,
    /// Who asked.
    pub comm: Option<String>,
}

// === impl Line ===

impl Line {
    /// Reads a line; `None` if it is none of ours.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Whether it is a decision.
    pub fn is_decision(&self) -> bool {
        self.event == Event::Decision
    }

    /// Whether somebody asked for a name, and no more.
    pub fn is_lookup(&self) -> bool {
        self.door == "dns"
    }

    /// Whether the kernel kept a UDP socket from being tied to an address.
    pub fn is_udp_connect(&self) -> bool {
        self.door == "kernel"
            && self.protocol.as_deref() == Some("udp")
            && matches!(self.hook.as_str(), "connect4" | "connect6")
    }

    /// The reason, whether the denial was carried out or not.
    pub fn any_reason(&self) -> Option<&str> {
        self.audited.as_deref().or(self.reason.as_deref())
    }
}

// === impl Request ===

impl Request {
    /// Reads a line; `None` if it is no request.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes)
            .ok()
            .filter(|request: &Self| request.event == "request")
    }
}

/// A time that cannot be read is no reason to leave the line out.
fn timestamp<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Timestamp>, D::Error> {
    Ok(String::deserialize(source)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_version_are_read() {
        let line = Line::parse(
            br#"{"time":"2026-11-23T18:00:00.123Z","run":"a1b2c3d4e5f6","event":"decision","door":"dns",
            "verdict":"deny","host":"registry.example.com","type":"AAAA","reason":"host_not_allowed",
            "comm":"npm","new_field":{"a":[1]}}"#,
        )
        .unwrap();
        assert!(line.is_decision() && line.is_lookup());
        assert_eq!(line.verdict, Verdict::Deny);
        assert_eq!(line.record_type.as_deref(), Some("AAAA"));
        assert_eq!(line.time.unwrap().to_string(), "2026-11-23T18:00:00.123Z");

        let old =
            Line::parse(br#"{"event":"denial","verdict":"deny","time":"yesterday"}"#).unwrap();
        assert!(old.is_decision() && old.time.is_none());
        let newer = Line::parse(br#"{"event":"eclipse","verdict":"perhaps"}"#).unwrap();
        assert_eq!(
            (newer.event, newer.verdict),
            (Event::Other, Verdict::Unknown)
        );
        for torn in ["", "{\"event\":\"deci", "null", "[]x", "{\"port\":99999}"] {
            assert!(Line::parse(torn.as_bytes()).is_none(), "{torn}");
        }
    }

    #[test]
    fn only_requests_are_requests() {
        assert!(
            Request::parse(br#"{"event":"request","provider":"openai","status":200}"#).is_some()
        );
        assert!(Request::parse(br#"{"event":"lines_lost","lines":3}"#).is_none());
    }
}
