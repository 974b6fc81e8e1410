// SPDX-License-Identifier: GPL-3.0-or-later
//! Switches that particular clients need to be content with the gateway alone. What the user has set stays.

use keyward_proxy::credential::Credentials;
use keyward_proxy::provider::Providers;

/// Names and values.
type Switches = &'static [(&'static str, &'static str)];

/// For all that ask a model.
const MODELS: Switches = &[
    // OpenCode would fetch its list of models, and itself, from its maker.
    ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
    ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
    // Without a terminal, Gemini CLI asks nobody whether it may trust the directory, and ends.
    ("GEMINI_CLI_TRUST_WORKSPACE", "true"),
];

/// For Google's clients where there is a key of Vertex's and none of Gemini's: unless they are told, they would take it
/// for the latter, and ask a host that is out of reach.
const VERTEX: Switches = &[("GOOGLE_GENAI_USE_VERTEXAI", "true")];

/// For whatever asks for hosts by name.
const NAMES: Switches = &[
    // npm takes a name that does not exist for a passing trouble: it asks again after ten seconds and after a minute more.
    ("npm_config_fetch_retry_mintimeout", "500"),
    ("npm_config_fetch_retry_maxtimeout", "5000"),
];

/// Those of a run. `by_name` says whether hosts can be asked for by name.
pub(super) fn switches(
    providers: &Providers,
    credentials: &Credentials,
    by_name: bool,
) -> impl Iterator<Item = (&'static str, &'static str)> {
    let serves = |name| providers.get(name).is_some_and(|it| credentials.serve(it));
    let any = providers.iter().any(|it| credentials.serve(it));
    let vertex_alone = serves("vertex") && !serves("gemini");
    [(MODELS, any), (VERTEX, vertex_alone), (NAMES, by_name)]
        .into_iter()
        .filter(|(_, wanted)| *wanted)
        .flat_map(|(switches, _)| switches.iter().copied())
}
