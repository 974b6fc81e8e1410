// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a method and path may be asked of a provider. Pure.
//!
//! Asked with the path in its one spelling, before anything is stripped or injected: a refused request
//! never meets the credential.

use http::Method;

use super::path::ApiPath;
use crate::{provider::Route, refusal::Refusal};

/// Judges one request; `websocket` if it asks for an upgrade.
///
/// # Errors
///
/// [`Refusal::PathNotAllowed`]; or, for a WebSocket where only plain requests are served,
/// [`Refusal::WebSocketNotCarried`]: clients take that as "ask again without", at once.
pub(crate) fn authorize(
    method: &Method,
    path: &ApiPath<'_>,
    websocket: bool,
    routes: &[Route],
) -> Result<(), Refusal> {
    // Methods first: that is the cheaper half.
    let is_asked = |it: &Route| it.method() == method.as_str() && path.is_at(it);
    if routes.iter().any(is_asked) {
        return Ok(());
    }
    // With another method it is served.
    let is_known = || routes.iter().any(|it| path.is_at(it));
    Err(match websocket && is_known() {
        true => Refusal::WebSocketNotCarried,
        false => Refusal::PathNotAllowed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Providers;

    fn judge(name: &str, method: &str, path: &str, opened: &[&str]) -> Result<(), Refusal> {
        let table = Providers::builtin();
        let provider = table.get(name).unwrap();
        let path = ApiPath::new(path, &provider.base_path, &provider.versions);
        let mut routes = provider.routes.clone();
        routes.extend(opened.iter().map(|it| Route::parse(it).unwrap()));
        authorize(&method.parse().unwrap(), &path, false, &routes)
    }

    #[test]
    fn inference_is_allowed_and_the_account_is_not() {
        for (name, method, path) in [
            ("openai", "POST", "/v1/responses"),
            ("openai", "POST", "/responses"),
            ("openai", "POST", "/v1/responses/compact"),
            ("openai", "GET", "/v1/responses/resp_1/input_items"),
            ("openai", "DELETE", "/v1/responses/resp_1"),
            ("openai", "POST", "/v1/chat/completions"),
            ("openai", "POST", "/completions"),
            ("openai", "POST", "/v1/embeddings"),
            ("openai", "GET", "/v1/models"),
            ("openai", "HEAD", "/models/gpt-5"),
            ("anthropic", "POST", "/v1/messages"),
            ("anthropic", "POST", "/messages"),
            ("anthropic", "POST", "/v1/v1/messages"),
            ("anthropic", "POST", "/v1/messages/count_tokens"),
            ("anthropic", "GET", "/v1/models/claude"),
            ("copilot", "GET", "/models"),
            ("copilot", "POST", "/chat/completions"),
            ("copilot", "POST", "/responses"),
            ("copilot", "POST", "/v1/messages"),
            ("copilot", "POST", "/mcp/readonly"),
            (
                "gemini",
                "POST",
                "/v1/models/gemini-2.5-pro:generateContent",
            ),
            ("gemini", "POST", "/v1beta/models/g:streamGenerateContent"),
            ("gemini", "POST", "/models/g:countTokens"),
            ("gemini", "POST", "/v1beta/models/g:embedContent"),
            (
                "vertex",
                "POST",
                "/v1beta1/publishers/google/models/g:generateContent",
            ),
            (
                "vertex",
                "POST",
                "/v1/projects/p/locations/l/publishers/google/models/g:countTokens",
            ),
            ("bedrock", "POST", "/model/anthropic.claude-v2%3A0/converse"),
            (
                "bedrock",
                "POST",
                "/model/arn%3Aaws%3Abedrock%3A%3A1%3Aprofile%2Fx/invoke",
            ),
        ] {
            assert_eq!(
                judge(name, method, path, &[]),
                Ok(()),
                "{name} {method} {path}"
            );
        }
        for (name, method, path) in [
            ("openai", "GET", "/v1/files"),
            ("openai", "POST", "/v1/files"),
            ("openai", "DELETE", "/v1/models/ft:mine"),
            ("openai", "GET", "/v1/chat/completions"),
            ("openai", "POST", "/v1/fine_tuning/jobs"),
            ("openai", "GET", "/v1/organization/users"),
            ("openai", "PATCH", "/v1/responses"),
            ("openai", "post", "/v1/responses"),
            ("openai", "POST", "/v1/messages"),
            ("openai", "GET", "/"),
            ("openai", "GET", "/v1"),
            ("anthropic", "POST", "/v1/messages/batches"),
            ("anthropic", "GET", "/v1/organizations/api_keys"),
            ("anthropic", "POST", "/api/event_logging/v2/batch"),
            ("openai", "POST", "/openai/deployments/d/chat/completions"),
            ("copilot", "POST", "/mcp"),
            ("copilot", "GET", "/copilot_internal/user"),
            ("gemini", "POST", "/v1beta/files"),
            ("gemini", "POST", "/v1beta/cachedContents"),
            ("gemini", "POST", "/v1beta/models/g:batchGenerateContent"),
            ("gemini", "DELETE", "/v1beta/tunedModels/t"),
            ("vertex", "GET", "/v1/projects/p/locations/l/endpoints"),
            (
                "vertex",
                "POST",
                "/v1/projects/p/locations/l/publishers/google/models/g/x:predict",
            ),
            ("bedrock", "POST", "/model/m/async-invoke"),
            ("bedrock", "GET", "/model/m/converse"),
            ("bedrock", "POST", "/guardrail/g/version/1/apply"),
        ] {
            let expected = Err(Refusal::PathNotAllowed);
            assert_eq!(
                judge(name, method, path, &[]),
                expected,
                "{name} {method} {path}"
            );
        }
    }

    #[test]
    fn azures_paths_are_served_at_azure() {
        let raw = toml::from_str("[openai]\ntarget = 'acme.openai.azure.com'").unwrap();
        let table = Providers::parse(&raw, &mut Vec::new());
        let openai = table.get("openai").unwrap();
        for (path, allowed) in [
            ("/openai/deployments/d/chat/completions", true),
            ("/openai/v1/responses", true),
            ("/v1/responses", true),
            ("/openai/deployments/d", false),
            ("/openai/files", false),
        ] {
            let path = ApiPath::new(path, &openai.base_path, &openai.versions);
            let judged = authorize(&Method::POST, &path, false, &openai.routes);
            assert_eq!(judged.is_ok(), allowed, "{path:?}");
        }
    }

    #[test]
    fn the_policy_opens_routes_by_name() {
        let opened = ["POST /v1/files/*"];
        assert_eq!(judge("openai", "POST", "/files", &opened), Ok(()));
        assert_eq!(judge("openai", "POST", "/v1/files/f1", &opened), Ok(()));
        assert_eq!(
            judge("openai", "GET", "/v1/files", &opened),
            Err(Refusal::PathNotAllowed)
        );
        assert_eq!(
            judge("openai", "POST", "/v1/filesystem", &opened),
            Err(Refusal::PathNotAllowed)
        );
    }

    #[test]
    fn a_websocket_where_only_post_is_served_is_told_so() {
        let table = Providers::builtin();
        let openai = table.get("openai").unwrap();
        let judge = |path| {
            let path = ApiPath::new(path, "/v1", &openai.versions);
            authorize(&Method::GET, &path, true, &openai.routes)
        };
        assert_eq!(judge("/v1/responses"), Ok(()));
        assert_eq!(
            judge("/v1/chat/completions"),
            Err(Refusal::WebSocketNotCarried)
        );
        assert_eq!(judge("/v1/realtime"), Err(Refusal::PathNotAllowed));
    }
}
