// SPDX-License-Identifier: MIT OR Apache-2.0
//! The gateway's own paths: `/health`, `/metrics`, `/reflect`. They are never forwarded, on no port,
//! with no method.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Value, json};

use super::Link;
use crate::{
    provider::{Provider, Route},
    refusal::Refusal,
};

/// The answer, if `path` (normalised) is one of the gateway's own.
pub(super) fn answer(
    link: &Link,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Option<Result<Response<Bytes>, Refusal>> {
    let make: fn(&Link, &HeaderMap) -> Response<Bytes> = match path {
        "/health" => |link, _| health(link),
        "/metrics" => metrics,
        "/reflect" => |link, _| reflect(link),
        _ => return None,
    };
    if method != Method::GET && method != Method::HEAD {
        return Some(Err(Refusal::Method));
    }
    Some(Ok(make(link, headers)))
}

/// Whether this port can serve; on the first port, what all of them can.
fn health(link: &Link) -> Response<Bytes> {
    let serving = link.gateway.serving.as_ref();
    let (status, word) = match serving.map(|it| it.current.is_ready()) {
        Some(true) => (StatusCode::OK, "healthy"),
        Some(false) => (StatusCode::SERVICE_UNAVAILABLE, "credential_not_ready"),
        None => (StatusCode::SERVICE_UNAVAILABLE, "not_configured"),
    };
    let mut body = json!({
        "status": word,
        "service": "keyward",
        "provider": link.provider().name,
        "port": link.provider().port,
    });
    if is_first(link)
        && let Value::Object(body) = &mut body
    {
        let shared = link.shared();
        let providers: serde_json::Map<String, Value> = shared
            .providers
            .iter()
            .map(|it| (it.name.clone(), shared.configured.contains(&it.name).into()))
            .collect();
        body.insert("providers".to_owned(), providers.into());
        body.insert("metrics_summary".to_owned(), shared.metrics.summary());
        body.insert("rate_limits".to_owned(), shared.spend.shown());
        body.insert(
            "uptime_seconds".to_owned(),
            shared.started.elapsed().as_secs().into(),
        );
    }
    json_response(status, &body)
}

/// Counters: Prometheus text, or JSON for those who accept that. On the first port only; elsewhere the
/// path is still ours, and answers that there is nothing.
fn metrics(link: &Link, headers: &HeaderMap) -> Response<Bytes> {
    if !is_first(link) {
        let first = link.shared().providers.first_port();
        let body =
            json!({ "error": "Not Found", "message": format!("metrics are on port {first}") });
        return json_response(StatusCode::NOT_FOUND, &body);
    }
    let accept = headers.get(header::ACCEPT).and_then(|it| it.to_str().ok());
    if accept.is_some_and(|it| it.contains("application/json")) {
        return json_response(StatusCode::OK, &link.shared().metrics.json());
    }
    let mut response = Response::new(Bytes::from(link.shared().metrics.prometheus()));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// What there is to ask. Models are `null`: the gateway does not spend the credential to find out;
/// `models_url` is where to ask.
fn reflect(link: &Link) -> Response<Bytes> {
    let endpoints: Vec<Value> = link
        .shared()
        .providers
        .iter()
        .map(|provider| {
            let configured = link.shared().configured.contains(&provider.name);
            let addresses = provider.environment.iter().filter(|it| it.1.is_address());
            json!({
                "provider": provider.name,
                "port": provider.port,
                "configured": configured,
                "base_url_variables": addresses.map(|it| &it.0).collect::<Vec<_>>(),
                "models": null,
                "models_url": models_url(provider).filter(|_| configured),
            })
        })
        .collect();
    json_response(
        StatusCode::OK,
        &json!({ "endpoints": endpoints, "models_fetch_complete": false }),
    )
}

/// Where the provider lists its models, if it does and that may be asked.
fn models_url(provider: &Provider) -> Option<String> {
    let default = &provider.versions.default;
    let lists = |it: &&Route| it.method() == "GET" && it.path().ends_with("/models");
    let path = provider.routes.iter().find(lists)?.path();
    // A route without a version is the same in all of them.
    match path {
        "/models" => Some(format!("{default}{path}")),
        _ if path.strip_suffix("/models") == Some(default) => Some(path.to_owned()),
        _ => None,
    }
}

fn is_first(link: &Link) -> bool {
    link.shared().providers.first_port() == link.provider().port
}

fn json_response(status: StatusCode, body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
