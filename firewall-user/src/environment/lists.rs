// SPDX-License-Identifier: GPL-3.0-or-later
//! Which of the host's variables pass without being asked for, and which never pass.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

/// What programs need to behave on the user's terminal and in the user's language, and where the host has the
/// certificates that it trusts; which model clients are to ask; nothing that says who he is.
const PASS: &[&str] = &[
    "ANTHROPIC_MODEL",
    "CI",
    "COLORTERM",
    "COLUMNS",
    "COPILOT_MODEL",
    "CURL_CA_BUNDLE",
    "EDITOR",
    "FORCE_COLOR",
    "GEMINI_MODEL",
    "GIT_SSL_CAINFO",
    "LANG",
    "LANGUAGE",
    "LINES",
    "LS_COLORS",
    "NODE_EXTRA_CA_CERTS",
    "NO_COLOR",
    "PAGER",
    "PATH",
    "PIP_CERT",
    "PWD",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TERM",
    "TERM_PROGRAM",
    "TZ",
    "VISUAL",
];

/// Every locale category.
const PASS_PREFIXES: &[&str] = &["LC_"];

/// Credentials of the code host and of the CI service, and what would send a client to the host's own proxy.
/// Those of the providers are in the provider table.
const WITHHELD: &[&str] = &[
    "ACTIONS_RESULTS_URL",
    "ACTIONS_RUNTIME_TOKEN",
    "ALL_PROXY",
    "FTP_PROXY",
    "GH_ACCESS_TOKEN",
    "GH_ENTERPRISE_TOKEN",
    "GH_TOKEN",
    "GITHUB_API_TOKEN",
    "GITHUB_ENTERPRISE_TOKEN",
    "GITHUB_PAT",
    "GITHUB_PERSONAL_ACCESS_TOKEN",
    "GITHUB_TOKEN",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "SSH_AUTH_SOCK",
    "all_proxy",
    "ftp_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// The CI service's identity tokens, sudo's account of who called, and keyward's own settings.
const WITHHELD_PREFIXES: &[&str] = &["ACTIONS_ID_TOKEN_REQUEST_", "KEYWARD_", "SUDO_"];

pub(super) fn passes_by_default(name: &OsStr) -> bool {
    matches(name, PASS, PASS_PREFIXES)
}

pub(super) fn is_withheld(name: &OsStr) -> bool {
    matches(name, WITHHELD, WITHHELD_PREFIXES)
}

fn matches(name: &OsStr, whole: &[&str], prefixes: &[&str]) -> bool {
    let name = name.as_bytes();
    whole.iter().any(|it| it.as_bytes() == name)
        || prefixes.iter().any(|it| name.starts_with(it.as_bytes()))
}
