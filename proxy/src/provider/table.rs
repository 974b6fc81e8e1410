// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table itself: one row a provider, in the order of the ports.
//!
//! A route stands here only if it is part of inference: what is left out (files, fine-tuning, batches,
//! organisation and admin APIs, webhooks) can read or change what belongs to the account rather than
//! to the run.

use super::{Injection, Provider, Route, Upstream, Versions, When};

/// Every provider, in the order of the ports. Always the five rows of the gateway.
#[must_use]
pub fn providers() -> &'static [Provider] {
    &PROVIDERS
}

static PROVIDERS: [Provider; 5] = [OPENAI, ANTHROPIC, COPILOT, GEMINI, VERTEX];

const OPENAI: Provider = Provider {
    name: "openai",
    port: 10000,
    credential_variables: &["OPENAI_API_KEY"],
    withheld_variables: &[
        "CODEX_API_KEY",
        "CODEX_ACCESS_TOKEN",
        "AZURE_OPENAI_API_KEY",
        "OPENAI_ADMIN_KEY",
    ],
    target_variable: "OPENAI_API_TARGET",
    base_path_variable: "OPENAI_API_BASE_PATH",
    placeholder: "sk-placeholder-for-api-proxy",
    // Codex that finds neither of these goes to its maker's host by itself, without a proxy.
    placeholder_variables: &["OPENAI_API_KEY", "CODEX_API_KEY"],
    base_url_variables: &["OPENAI_BASE_URL"],
    further_variables: &[],
    upstream: Some(Upstream {
        host: "api.openai.com",
        base_path: "/v1",
        versions: Versions {
            known: &["/v1"],
            default: "/v1",
            always: false,
        },
        injections: &[
            Injection {
                when: When::HostEnds(".openai.azure.com"),
                header: "api-key",
                scheme: "",
                merge: None,
            },
            Injection {
                when: When::HostEnds(".cognitiveservices.azure.com"),
                header: "api-key",
                scheme: "",
                merge: None,
            },
            Injection {
                when: When::Always,
                header: "authorization",
                scheme: "Bearer ",
                merge: None,
            },
        ],
        defaults: &[],
        routes: &[
            Route {
                methods: READ,
                path: "/v1/models",
                below: true,
            },
            // A response is read, deleted, cancelled, compacted below its own path; GET is also how
            // a WebSocket begins.
            Route {
                methods: &["GET", "HEAD", "POST", "DELETE"],
                path: "/v1/responses",
                below: true,
            },
            Route {
                methods: POST,
                path: "/v1/chat/completions",
                below: false,
            },
            Route {
                methods: POST,
                path: "/v1/completions",
                below: false,
            },
            Route {
                methods: POST,
                path: "/v1/embeddings",
                below: false,
            },
        ],
    }),
};

const ANTHROPIC: Provider = Provider {
    name: "anthropic",
    port: 10001,
    credential_variables: &["ANTHROPIC_API_KEY"],
    withheld_variables: &[
        "ANTHROPIC_AUTH_TOKEN",
        "CLAUDE_CODE_OAUTH_TOKEN",
        "ANTHROPIC_ADMIN_KEY",
    ],
    target_variable: "ANTHROPIC_API_TARGET",
    base_path_variable: "ANTHROPIC_API_BASE_PATH",
    placeholder: "sk-ant-placeholder-key-for-credential-isolation",
    // Workflows look for the first; OpenCode and the maker's own libraries are content only with the
    // second. Claude Code sends both headers then, which is fine: both are stripped.
    placeholder_variables: &["ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY"],
    base_url_variables: &["ANTHROPIC_BASE_URL"],
    further_variables: &[],
    upstream: Some(Upstream {
        host: "api.anthropic.com",
        base_path: "",
        versions: Versions {
            known: &["/v1"],
            default: "/v1",
            always: true,
        },
        injections: &[
            Injection {
                when: When::CredentialStarts("sk-ant-oat"),
                header: "authorization",
                scheme: "Bearer ",
                merge: Some(("anthropic-beta", "oauth-2025-04-20")),
            },
            Injection {
                when: When::Always,
                header: "x-api-key",
                scheme: "",
                merge: None,
            },
        ],
        defaults: &[("anthropic-version", "2023-06-01")],
        routes: &[
            Route {
                methods: READ,
                path: "/v1/models",
                below: true,
            },
            Route {
                methods: POST,
                path: "/v1/messages",
                below: false,
            },
            Route {
                methods: POST,
                path: "/v1/messages/count_tokens",
                below: false,
            },
            Route {
                methods: POST,
                path: "/v1/complete",
                below: false,
            },
        ],
    }),
};

const COPILOT: Provider = Provider {
    name: "copilot",
    port: 10002,
    credential_variables: &["COPILOT_GITHUB_TOKEN", "COPILOT_PROVIDER_API_KEY"],
    withheld_variables: &["COPILOT_TOKEN"],
    target_variable: "COPILOT_API_TARGET",
    base_path_variable: "COPILOT_API_BASE_PATH",
    // The client looks at the shape: "ghu_" and 36 more.
    placeholder: "ghu_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    placeholder_variables: &[
        "COPILOT_TOKEN",
        "COPILOT_GITHUB_TOKEN",
        "COPILOT_PROVIDER_API_KEY",
    ],
    base_url_variables: &["COPILOT_API_URL", "COPILOT_PROVIDER_BASE_URL"],
    further_variables: &[("COPILOT_OFFLINE", "true")],
    upstream: None,
};

const GEMINI: Provider = Provider {
    name: "gemini",
    port: 10003,
    credential_variables: &["GEMINI_API_KEY"],
    withheld_variables: &["GOOGLE_GENERATIVE_AI_API_KEY"],
    target_variable: "GEMINI_API_TARGET",
    base_path_variable: "GEMINI_API_BASE_PATH",
    placeholder: "gemini-api-key-placeholder-for-credential-isolation",
    placeholder_variables: &["GEMINI_API_KEY"],
    base_url_variables: &["GOOGLE_GEMINI_BASE_URL", "GEMINI_API_BASE_URL"],
    further_variables: &[],
    upstream: None,
};

const VERTEX: Provider = Provider {
    name: "vertex",
    port: 10004,
    credential_variables: &["GOOGLE_API_KEY"],
    withheld_variables: &[],
    target_variable: "VERTEX_API_TARGET",
    base_path_variable: "VERTEX_API_BASE_PATH",
    placeholder: "google-api-key-placeholder-for-credential-isolation",
    placeholder_variables: &["GOOGLE_API_KEY"],
    base_url_variables: &["GOOGLE_VERTEX_BASE_URL"],
    further_variables: &[],
    upstream: None,
};

const READ: &[&str] = &["GET", "HEAD"];
const POST: &[&str] = &["POST"];
