// SPDX-License-Identifier: MIT OR Apache-2.0
//! Asks token hosts: one request on a connection of its own, no redirect, a short answer or none.
//!
//! What goes wrong is told without a word of what was sent or answered: either may hold a secret.

use std::{pin::Pin, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use http::{HeaderValue, Method, Request, StatusCode, header};
use hyper::body::{Body as _, Incoming};
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{
    Credential, Credentials,
    federation::{CLIENT_SECRET, Exchange, Federation, Kind, OIDC_TOKEN, REFRESH_TOKEN, Url},
    keep::{Source, Token},
};
use crate::{
    egress::Resolver,
    percent,
    refusal::UpstreamFault,
    settings::UpstreamSettings,
    upstream::{Connector, tls::Tls},
};

/// For one request, from the name to the last byte of the answer.
const TIME: Duration = Duration::from_secs(30);

/// Longest answer that is read. Tokens are a few kilobytes.
const MAX_ANSWER: usize = 64 * 1024;

/// For a token that does not say how long it lives: short, so that it is not used long after its end.
const UNKNOWN_LIFE: Duration = Duration::from_secs(300);

/// What is asked of Google for the token of a service account; it gives what is asked for, or nothing.
const GCP_LIFE: Duration = Duration::from_secs(3600);
const GCP_SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// Identity tokens are the longest secret there is.
const MAX_IDENTITY: usize = 16 * 1024;

/// How long an access key of a role lives: what every role allows, and what it is unless asked for otherwise.
const AWS_LIFE: Duration = Duration::from_secs(3600);

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";
const XML: &str = "text/xml";

/// Error codes of RFC 6749, section 5.2, of RFC 8693, and of AWS STS: what else a host says is not repeated.
const CODES: [&str; 17] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "invalid_scope",
    "invalid_target",
    "unauthorized_client",
    "unsupported_grant_type",
    "access_denied",
    "server_error",
    "temporarily_unavailable",
    "AccessDenied",
    "ExpiredTokenException",
    "IDPCommunicationError",
    "IDPRejectedClaim",
    "InvalidIdentityToken",
    "RegionDisabledException",
    "ValidationError",
];

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{host}: {}", fault.name())]
    Upstream { host: String, fault: UpstreamFault },
    #[error("{host}: no answer in time")]
    Late { host: String },
    #[error("{host} answered {status} {code}")]
    Status {
        host: String,
        status: StatusCode,
        code: &'static str,
    },
    #[error("{host}: {what}")]
    Answer { host: String, what: &'static str },
    #[error("the {0} is missing")]
    Missing(&'static str),
}

/// What can be reached, and how.
pub(crate) struct Client {
    pub(crate) upstream: UpstreamSettings,
    pub(crate) tls: Tls,
    pub(crate) resolver: Resolver,
    pub(crate) connect: Duration,
}

/// Fetches one provider's tokens.
pub(crate) struct Fetcher {
    client: Client,
    provider: String,
    federation: Federation,
    inputs: Arc<ArcSwap<Credentials>>,
    /// A token host may give another refresh token in place of the one that was used. It is good until the
    /// configured one is replaced.
    renewed: Option<(Credential, Credential)>,
}

/// The answer of a token host.
#[derive(Deserialize)]
struct Granted {
    #[serde(alias = "accessToken")]
    access_token: String,
    token_type: Option<String>,
    expires_in: Option<u64>,
    refresh_token: Option<String>,
}

#[derive(Deserialize)]
struct Identity {
    value: String,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
}

impl Source for Fetcher {
    async fn fetch(&mut self) -> Result<Token, Failure> {
        let federation = self.federation.clone();
        match &federation.0 {
            Kind::Oauth {
                token,
                client_id,
                scope,
            } => self.oauth(token, client_id, scope.as_deref()).await,
            Kind::Github {
                request,
                audience,
                exchange,
            } => {
                let identity = self.identity(&request.with("audience", audience)).await?;
                self.exchange(exchange, &identity).await
            }
        }
    }
}

impl Fetcher {
    pub(crate) fn new(
        client: Client,
        provider: &str,
        federation: Federation,
        inputs: Arc<ArcSwap<Credentials>>,
    ) -> Self {
        Self {
            client,
            provider: provider.to_owned(),
            federation,
            inputs,
            renewed: None,
        }
    }

    fn input(&self, part: &'static str) -> Option<Credential> {
        let slot = format!("{}.{part}", self.provider);
        self.inputs.load().get(&slot).cloned()
    }

    async fn oauth(
        &mut self,
        url: &Url,
        client_id: &str,
        scope: Option<&str>,
    ) -> Result<Token, Failure> {
        let secret = self.input(CLIENT_SECRET);
        let configured = self.input(REFRESH_TOKEN);
        let renewed = self
            .renewed
            .take()
            .filter(|it| Some(&it.0) == configured.as_ref());
        let refresh = renewed.as_ref().map(|it| &it.1).or(configured.as_ref());
        let mut body = Form::default();
        match refresh {
            Some(token) => body
                .add("grant_type", b"refresh_token")
                .add("refresh_token", token.expose()),
            None if secret.is_some() => body.add("grant_type", b"client_credentials"),
            None => return Err(Failure::Missing("refresh token or client secret")),
        };
        body.add("client_id", client_id.as_bytes());
        if let Some(secret) = &secret {
            body.add("client_secret", secret.expose());
        }
        if let Some(scope) = scope {
            body.add("scope", scope.as_bytes());
        }
        let granted = self.client.call(url, &[], None, Some((FORM, body.0))).await;
        // Until another is given, the last one stays.
        self.renewed = renewed;
        let mut granted: Granted = parse(url, &granted?)?;
        let next = granted.refresh_token.take().map(String::into_bytes);
        let next = next.and_then(|it| Credential::new(it).ok());
        if let Some(pair) = configured.zip(next) {
            self.renewed = Some(pair);
        }
        token(url, granted, None)
    }

    /// Who this job is, signed by GitHub for `audience`.
    async fn identity(&self, url: &Url) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let bearer = self
            .input(OIDC_TOKEN)
            .ok_or(Failure::Missing("identity token of the job"))?;
        let answer = self
            .client
            .call(url, &[], Some(bearer.expose()), None)
            .await?;
        let identity: Identity = parse(url, &answer)?;
        let identity = Zeroizing::new(identity.value.into_bytes());
        let plain = identity.iter().all(u8::is_ascii_graphic);
        match plain && (1..=MAX_IDENTITY).contains(&identity.len()) {
            true => Ok(identity),
            false => Err(answered(url, "the identity is not a token")),
        }
    }

    async fn exchange(&self, exchange: &Exchange, identity: &[u8]) -> Result<Token, Failure> {
        let text = str::from_utf8(identity).unwrap_or_default();
        match exchange {
            Exchange::Azure {
                token: url,
                client_id,
                scope,
            } => {
                let mut body = Form::default();
                body.add("grant_type", b"client_credentials")
                    .add("client_id", client_id.as_bytes())
                    .add("scope", scope.as_bytes())
                    .add(
                        "client_assertion_type",
                        b"urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                    )
                    .add("client_assertion", identity);
                let answer = self
                    .client
                    .call(url, &[], None, Some((FORM, body.0)))
                    .await?;
                token(url, parse(url, &answer)?, None)
            }
            Exchange::Gcp {
                token: url,
                audience,
                impersonate,
            } => {
                let mut body = Form::default();
                body.add(
                    "grant_type",
                    b"urn:ietf:params:oauth:grant-type:token-exchange",
                )
                .add("audience", audience.as_bytes())
                .add("scope", GCP_SCOPE.as_bytes())
                .add(
                    "requested_token_type",
                    b"urn:ietf:params:oauth:token-type:access_token",
                )
                .add(
                    "subject_token_type",
                    b"urn:ietf:params:oauth:token-type:jwt",
                )
                .add("subject_token", identity);
                let answer = self
                    .client
                    .call(url, &[], None, Some((FORM, body.0)))
                    .await?;
                let federated = token(url, parse(url, &answer)?, None)?;
                let Some(url) = impersonate else {
                    return Ok(federated);
                };
                let life = format!("{}s", GCP_LIFE.as_secs());
                let body = json!({ "scope": [GCP_SCOPE], "lifetime": life }).to_string();
                let bearer = Some(federated.credential.expose());
                let answer = self
                    .client
                    .call(url, &[], bearer, Some((JSON, body)))
                    .await?;
                token(url, parse(url, &answer)?, Some(GCP_LIFE))
            }
            Exchange::Aws {
                token: url,
                role,
                session,
            } => {
                let mut body = Form::default();
                body.add("Action", b"AssumeRoleWithWebIdentity")
                    .add("Version", b"2011-06-15")
                    .add("RoleArn", role.as_bytes())
                    .add("RoleSessionName", session.as_bytes())
                    .add("DurationSeconds", AWS_LIFE.as_secs().to_string().as_bytes())
                    .add("WebIdentityToken", identity);
                let answer = self
                    .client
                    .call(url, &[ACCEPT_XML], None, Some((FORM, body.0)))
                    .await?;
                let credential = access_key(&answer)
                    .ok_or_else(|| answered(url, "the answer is not understood"))?;
                Ok(Token {
                    credential,
                    life: AWS_LIFE,
                })
            }
            Exchange::Anthropic {
                token: url,
                rule,
                organization,
                service_account,
                workspace,
            } => {
                let mut body = json!({
                    "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
                    "assertion": text,
                    "federation_rule_id": rule,
                    "organization_id": organization,
                });
                for (name, value) in [
                    ("service_account_id", service_account),
                    ("workspace_id", workspace),
                ] {
                    if let (Some(value), Some(body)) = (value, body.as_object_mut()) {
                        body.insert(name.to_owned(), value.clone().into());
                    }
                }
                // Leads the request to the service that knows of federation.
                const BETA: (&str, &str) = (
                    "anthropic-beta",
                    "oauth-2025-04-20,oidc-federation-2026-04-01",
                );
                let body = Some((JSON, body.to_string()));
                let answer = self.client.call(url, &[BETA], None, body).await?;
                token(url, parse(url, &answer)?, None)
            }
        }
    }
}

impl Client {
    /// Sends one request; the answer's body if it was 200.
    async fn call(
        &self,
        url: &Url,
        headers: &[(&'static str, &'static str)],
        bearer: Option<&[u8]>,
        body: Option<(&'static str, String)>,
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let host = || url.target.host.clone();
        let late = |_late| Failure::Late { host: host() };
        let call = self.call_without_end(url, headers, bearer, body);
        let (status, answer) = timeout(TIME, call).await.map_err(late)??;
        if status == StatusCode::OK {
            return Ok(answer);
        }
        let refused: Option<Refused> = serde_json::from_slice(&answer).ok();
        let refused = refused.map(|it| it.error.into_bytes());
        let said = refused.as_deref().or_else(|| element(&answer, "Code"));
        let code = CODES
            .iter()
            .find(|it| said.is_some_and(|said| said == it.as_bytes()));
        Err(Failure::Status {
            host: host(),
            status,
            code: code.copied().unwrap_or(""),
        })
    }

    async fn call_without_end(
        &self,
        url: &Url,
        headers: &[(&'static str, &'static str)],
        bearer: Option<&[u8]>,
        body: Option<(&'static str, String)>,
    ) -> Result<(StatusCode, Zeroizing<Vec<u8>>), Failure> {
        let failed = |fault| Failure::Upstream {
            host: url.target.host.clone(),
            fault,
        };
        let connector = Connector::new(
            url.target.clone(),
            &self.upstream,
            self.tls.clone(),
            self.resolver.clone(),
            self.connect,
        );
        let (mut sender, _) = connector.connect_for_upgrade().await.map_err(failed)?;
        let mut request = Request::builder()
            .method(if body.is_some() {
                Method::POST
            } else {
                Method::GET
            })
            .uri(&url.path)
            .header(header::HOST, url.target.authority())
            .header(header::USER_AGENT, "keyward");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !headers.contains(&ACCEPT_XML) {
            request = request.header(header::ACCEPT, JSON);
        }
        if let Some(bearer) = bearer {
            let text = Zeroizing::new([b"Bearer ", bearer].concat());
            let value = HeaderValue::from_bytes(&text);
            let mut value = value.map_err(|_cause| answered(url, "the token is no header"))?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        let (kind, body) = body.unwrap_or_default();
        if !kind.is_empty() {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let request = request
            .body(body)
            .map_err(|_cause| answered(url, "the request cannot be made"))?;
        let reset = |_broken| failed(UpstreamFault::Reset);
        let response = sender.send_request(request).await.map_err(reset)?;
        let status = response.status();
        let body = read(response.into_body())
            .await
            .map_err(|what| answered(url, what))?;
        Ok((status, body))
    }
}

/// The body, if it is not too long.
async fn read(mut body: Incoming) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_ANSWER));
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|_cause| "the answer broke off")?;
        if let Ok(data) = frame.into_data() {
            if bytes.len() + data.len() > MAX_ANSWER {
                return Err("the answer is too long");
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes)
}

fn answered(url: &Url, what: &'static str) -> Failure {
    Failure::Answer {
        host: url.target.host.clone(),
        what,
    }
}

fn parse<'a, T: Deserialize<'a>>(url: &Url, answer: &'a [u8]) -> Result<T, Failure> {
    // The parser's own words would quote what it read.
    serde_json::from_slice(answer).map_err(|_cause| answered(url, "the answer is not understood"))
}

fn token(url: &Url, granted: Granted, life: Option<Duration>) -> Result<Token, Failure> {
    let access = Zeroizing::new(granted.access_token.into_bytes());
    let bearer = |it: &String| it.eq_ignore_ascii_case("bearer");
    if !granted.token_type.as_ref().is_none_or(bearer) {
        return Err(answered(url, "the token is not a bearer token"));
    }
    let credential =
        Credential::new(access).map_err(|_cause| answered(url, "the token is not one"))?;
    let life = life.or(granted.expires_in.map(Duration::from_secs));
    let life = life.unwrap_or(UNKNOWN_LIFE);
    if life.is_zero() {
        return Err(answered(url, "the token has expired already"));
    }
    Ok(Token { credential, life })
}

/// STS answers in XML.
const ACCEPT_XML: (&str, &str) = ("accept", XML);

/// What STS answers: elements without attributes, whose text needs no escape.
fn access_key(answer: &[u8]) -> Option<Credential> {
    let credentials = element(answer, "Credentials")?;
    let part = |name| Some(Zeroizing::new(element(credentials, name)?.to_vec()));
    let token = part("SessionToken")?;
    Credential::access_key(part("AccessKeyId")?, part("SecretAccessKey")?, Some(token)).ok()
}

/// What is in the only element of this name. Any mark-up in there is a part of no key.
fn element<'a>(xml: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let (begin, end) = (format!("<{name}>"), format!("</{name}>"));
    let text = str::from_utf8(xml).ok()?;
    let (_, behind) = text.split_once(&begin)?;
    let (inside, rest) = behind.split_once(&end)?;
    let is_only = !inside.contains(&begin) && !rest.contains(&begin);
    is_only.then_some(inside.as_bytes())
}

/// A form as it is sent. What sends it keeps copies, so that wiping this one would be for show.
#[derive(Default)]
struct Form(String);

impl Form {
    fn add(&mut self, name: &str, value: &[u8]) -> &mut Self {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.push_str(name);
        self.0.push('=');
        percent::encode(value, &mut self.0);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_key_is_whole_or_none() {
        let answer = |inside: &str| {
            let text = format!("<A xmlns=\"x\">\n<B><Credentials>{inside}</Credentials></B></A>");
            access_key(text.as_bytes())
        };
        let (id, secret) = (
            "<AccessKeyId>ASIA1</AccessKeyId>",
            "<SecretAccessKey>a/b+c</SecretAccessKey>",
        );
        let token = "<SessionToken>\n t0ken==</SessionToken><Expiration>x</Expiration>";
        let key = answer(&[id, secret, token].concat()).unwrap();
        assert!(key.matches(b"a/b+c") && key.matches(b"t0ken=="));
        for wrong in [
            [id, secret, ""].concat(),
            [id, token, ""].concat(),
            [id, secret, secret, token].concat(),
            [id, secret, "<SessionToken><x>y</x> z</SessionToken>"].concat(),
            [id, secret, "<SessionToken>"].concat(),
            [id, "<SecretAccessKey></SecretAccessKey>", token].concat(),
            String::new(),
        ] {
            assert!(answer(&wrong).is_none(), "{wrong}");
        }
        assert!(access_key(b"{}").is_none());
    }
}
