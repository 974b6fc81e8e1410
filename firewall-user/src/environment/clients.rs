// SPDX-License-Identifier: GPL-3.0-or-later
//! Switches that particular clients need to be content with the gateway alone.

/// Variables for whatever asks for hosts by name.
pub(super) const SWITCHES: &[(&str, &str)] = &[
    // npm takes a name that does not exist for a passing trouble: it asks again after ten seconds and after a minute more.
    ("npm_config_fetch_retry_mintimeout", "500"),
    ("npm_config_fetch_retry_maxtimeout", "5000"),
];
