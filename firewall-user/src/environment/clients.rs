// SPDX-License-Identifier: GPL-3.0-or-later
//! Switches that particular clients need to be content with the gateway alone.

/// Variables for whatever asks for hosts by name.
pub(super) const SWITCHES: &[(&str, &str)] = &[
    // npm takes a name that does not exist for a passing trouble: it asks again after ten seconds and after a minute more.
    ("npm_config_fetch_retry_mintimeout", "500"),
    ("npm_config_fetch_retry_maxtimeout", "5000"),
];

/// Variables for the clients of a provider.
pub(super) fn switches(provider: &str) -> &'static [(&'static str, &'static str)] {
    match provider {
        // Claude Code talks to its maker besides the base URL: metrics, updates, feature switches.
        "anthropic" => &[("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")],
        // Not for OpenAI alone, but harmless: OpenCode would fetch its model list from its maker.
        "openai" => &[
            ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
            ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
        ],
        _ => &[],
    }
}
