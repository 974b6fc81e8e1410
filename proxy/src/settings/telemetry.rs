// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where telemetry is sent to, as it is written and checked.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::Target;

/// Where telemetry is sent to.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct RawTelemetry {
    /// A collector that speaks OTLP over HTTP: `https://host:port/path`, or `http://` and a loopback address. `/v1/metrics`
    /// and `/v1/traces` are put behind it. Absent: nothing is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp: Option<String>,
    /// Whether a span is sent for each request at the gateway, too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub traces: bool,
    /// How often it is sent (default 10).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_seconds: Option<f64>,
    /// Where the token is that is sent as `Authorization: Bearer`. Followed at the start, as a provider's credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer: Option<String>,
    /// Where the values of further headers are.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// Where telemetry is sent to, checked.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TelemetrySettings {
    /// The collector.
    pub target: Target,
    /// In front of each signal's path.
    pub base_path: String,
    /// Whether spans are sent.
    pub traces: bool,
    /// Between two times.
    pub interval: Duration,
}

/// In seconds.
const INTERVAL: f64 = 10.0;

impl TelemetrySettings {
    /// `None`: not asked for, or a fault.
    pub(super) fn parse(raw: &RawTelemetry, faults: &mut Vec<String>) -> Option<Self> {
        let interval = raw.interval_seconds.unwrap_or(INTERVAL);
        let sensible = (0.1..=3600.0).contains(&interval);
        if !sensible {
            faults.push(format!(
                "telemetry.interval-seconds: {interval} is not between 0.1 and 3600"
            ));
        }
        let Some(otlp) = &raw.otlp else {
            if *raw != RawTelemetry::default() {
                faults.push("telemetry: without otlp there is nowhere to send it to".to_owned());
            }
            return None;
        };
        match Target::parse(otlp, true) {
            Ok((target, base_path)) if sensible => Some(Self {
                target,
                base_path,
                traces: raw.traces,
                interval: Duration::from_secs_f64(interval),
            }),
            Ok(_) => None,
            Err(what) => {
                faults.push(format!("telemetry.otlp: {what}"));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(toml: &str) -> (Option<TelemetrySettings>, Vec<String>) {
        let mut faults = Vec::new();
        let raw = toml::from_str(toml).unwrap();
        (TelemetrySettings::parse(&raw, &mut faults), faults)
    }

    #[test]
    fn nothing_is_the_default_and_faults_are_named() {
        assert_eq!(parse(""), (None, Vec::new()));
        let (some, faults) = parse("otlp = 'https://collector.example:4318/otlp/'");
        let some = some.unwrap();
        assert_eq!(some.target.to_string(), "https://collector.example:4318");
        assert_eq!(some.base_path, "/otlp");
        assert!(faults.is_empty() && !some.traces);
        assert!(parse("otlp = 'http://127.0.0.1:4318'").0.is_some());
        for (toml, fault) in [
            ("otlp = 'http://collector.example'", "telemetry.otlp: "),
            ("otlp = 'https://u:p@collector.example'", "telemetry.otlp: "),
            ("traces = true", "telemetry: "),
            (
                "otlp = 'https://x.example'\ninterval-seconds = 0",
                "telemetry.interval-seconds: ",
            ),
        ] {
            let (none, faults) = parse(toml);
            assert_eq!(none, None, "{toml}");
            assert!(faults[0].starts_with(fault), "{toml}: {faults:?}");
            assert!(!faults[0].contains("u:p"));
        }
        assert!(toml::from_str::<RawTelemetry>("endpoint = 'x'").is_err());
    }
}
