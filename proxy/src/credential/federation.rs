// SPDX-License-Identifier: MIT OR Apache-2.0
//! Credentials that the proxy fetches for itself: where from and with what, checked. The secrets that this takes
//! are not here; they have slots, `PROVIDER.part`.

use crate::{
    percent,
    settings::{RawFederation, Scheme, Target, is_identifier},
};

/// Slots of what a credential is fetched with, behind the provider's name and a dot.
pub(super) const CLIENT_SECRET: &str = "client-secret";
pub(super) const REFRESH_TOKEN: &str = "refresh-token";
pub(super) const OIDC_TOKEN: &str = "oidc-token";

/// How a provider's credential is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Federation(pub(super) Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// RFC 6749: a refresh token, or, without one, the client's own secret.
    Oauth {
        token: Url,
        client_id: String,
        scope: Option<String>,
    },
    /// The identity of a job of GitHub Actions, exchanged for a token.
    Github {
        request: Url,
        audience: String,
        exchange: Exchange,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Exchange {
    Azure {
        token: Url,
        client_id: String,
        scope: String,
    },
    Gcp {
        token: Url,
        audience: String,
        impersonate: Option<Url>,
    },
    /// AWS Security Token Service: temporary access keys.
    Aws {
        token: Url,
        role: String,
        session: String,
    },
    Anthropic {
        token: Url,
        rule: String,
        organization: String,
        service_account: Option<String>,
        workspace: Option<String>,
    },
}

/// `https://host[:port]/path[?query]`. A token host is always spoken to in verified TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) target: Target,
    /// Path and query.
    pub(super) path: String,
}

impl Url {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let rest = text
            .strip_prefix("https://")
            .ok_or("it must begin with https://")?;
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (target, _) = Target::parse(authority, false)?;
        if target.scheme != Scheme::Https {
            return Err("it must begin with https://");
        }
        let path = match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("/{path}"),
        };
        // What the library that sends it takes; it allows no white space and no control characters.
        if path.contains('#') || path.parse::<http::uri::PathAndQuery>().is_err() {
            return Err("the path cannot be sent");
        }
        Ok(Self { target, path })
    }

    /// With one more parameter.
    pub(super) fn with(&self, name: &str, value: &str) -> Self {
        let mark = if self.path.contains('?') { '&' } else { '?' };
        let mut path = format!("{}{mark}{name}=", self.path);
        percent::encode(value.as_bytes(), &mut path);
        Self {
            target: self.target.clone(),
            path,
        }
    }
}

impl Federation {
    /// Checks what is written. `region`: of the provider's target, if it has one. `None`: there is a fault.
    pub(crate) fn parse(
        raw: &RawFederation,
        region: Option<&str>,
        fault: &mut impl FnMut(&str, &str),
    ) -> Option<Self> {
        let mut fields = Fields {
            raw,
            region,
            taken: vec!["kind"],
            faults: Vec::new(),
        };
        let kind = fields.kind();
        fields.refuse_others();
        for (name, what) in &fields.faults {
            fault(&format!("credential.{name}"), what);
        }
        kind.filter(|_| fields.faults.is_empty()).map(Self)
    }

    /// Whether what is fetched signs, rather than being sent.
    pub(crate) fn is_access_key(&self) -> bool {
        let aws = |it: &Exchange| matches!(it, Exchange::Aws { .. });
        matches!(&self.0, Kind::Github { exchange, .. } if aws(exchange))
    }

    /// The slots that it needs, behind the provider's name and a dot.
    pub(crate) fn parts(&self) -> &'static [&'static str] {
        match &self.0 {
            Kind::Oauth { .. } => &[CLIENT_SECRET, REFRESH_TOKEN],
            Kind::Github { .. } => &[OIDC_TOKEN],
        }
    }
}

/// What is written, and what of it was asked for.
struct Fields<'a> {
    raw: &'a RawFederation,
    region: Option<&'a str>,
    taken: Vec<&'static str>,
    faults: Vec<(&'static str, String)>,
}

impl Fields<'_> {
    fn kind(&mut self) -> Option<Kind> {
        match self.raw.kind.as_str() {
            "oauth" => {
                let token = self.url("token-url");
                let client_id = self.text("client-id");
                let scope = self.optional("scope");
                Some(Kind::Oauth {
                    token: token?,
                    client_id: client_id?,
                    scope,
                })
            }
            "github-oidc" => {
                let request = self.url("request-url");
                let (audience, exchange) = self.exchange()?;
                let audience = self.optional("oidc-audience").unwrap_or(audience);
                Some(Kind::Github {
                    request: request?,
                    audience,
                    exchange,
                })
            }
            _ => self.fault("kind", "it is neither oauth nor github-oidc"),
        }
    }

    /// With the audience that the identity is asked for by default.
    fn exchange(&mut self) -> Option<(String, Exchange)> {
        let which = self.text("exchange")?;
        match which.as_str() {
            "azure" => {
                let tenant = self.identifier("tenant");
                let client_id = self.identifier("client-id");
                let scope = self.text("scope");
                let url = format!(
                    "https://login.microsoftonline.com/{}/oauth2/v2.0/token",
                    tenant?
                );
                let exchange = Exchange::Azure {
                    token: Url::parse(&url).ok()?,
                    client_id: client_id?,
                    scope: scope?,
                };
                Some(("api://AzureADTokenExchange".to_owned(), exchange))
            }
            "gcp" => {
                let audience = self.text("audience");
                let account = match self.raw.fields.contains_key("service-account") {
                    true => Some(self.email("service-account")?),
                    false => None,
                };
                let impersonate = account.map(|it| {
                    Url::parse(&format!(
                        "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{it}:generateAccessToken"
                    ))
                });
                let audience = audience?;
                let audience = audience.strip_prefix("https:").unwrap_or(&audience);
                if !audience.starts_with("//iam.googleapis.com/projects/") {
                    return self.fault(
                        "audience",
                        "it must be //iam.googleapis.com/projects/…/providers/NAME",
                    );
                }
                let exchange = Exchange::Gcp {
                    token: Url::parse("https://sts.googleapis.com/v1/token").ok()?,
                    audience: audience.to_owned(),
                    impersonate: impersonate.transpose().ok()?,
                };
                Some((format!("https:{audience}"), exchange))
            }
            "aws" => {
                let role = self.role("role-arn");
                let session = match self.raw.fields.contains_key("role-session-name") {
                    true => self.identifier("role-session-name")?,
                    false => "keyward".to_owned(),
                };
                let Some(region) = self.region else {
                    return self.fault("exchange", "aws needs the provider's region");
                };
                let china = if region.starts_with("cn-") { ".cn" } else { "" };
                let exchange = Exchange::Aws {
                    token: Url::parse(&format!("https://sts.{region}.amazonaws.com{china}/"))
                        .ok()?,
                    role: role?,
                    session,
                };
                Some(("sts.amazonaws.com".to_owned(), exchange))
            }
            "anthropic" => {
                let rule = self.identifier("federation-rule-id");
                let organization = self.identifier("organization-id");
                let exchange = Exchange::Anthropic {
                    token: Url::parse("https://api.anthropic.com/v1/oauth/token").ok()?,
                    rule: rule?,
                    organization: organization?,
                    service_account: self.optional("service-account-id"),
                    workspace: self.optional("workspace-id"),
                };
                Some(("https://api.anthropic.com".to_owned(), exchange))
            }
            _ => self.fault("exchange", "it is none of anthropic, aws, azure, gcp"),
        }
    }

    fn optional(&mut self, name: &'static str) -> Option<String> {
        self.taken.push(name);
        self.raw.fields.get(name).cloned()
    }

    fn text(&mut self, name: &'static str) -> Option<String> {
        match self.optional(name).filter(|it| !it.is_empty()) {
            Some(text) => Some(text),
            None => self.fault(name, "it is needed"),
        }
    }

    /// Something that becomes a part of a path.
    fn identifier(&mut self, name: &'static str) -> Option<String> {
        let text = self.text(name)?;
        match is_identifier(&text, 128) {
            true => Some(text),
            false => self.fault(name, "it is not 1 to 128 of [A-Za-z0-9_.-]"),
        }
    }

    fn email(&mut self, name: &'static str) -> Option<String> {
        let text = self.text(name)?;
        match text
            .split_once('@')
            .is_some_and(|(user, host)| is_identifier(user, 128) && is_identifier(host, 128))
        {
            true => Some(text),
            false => self.fault(name, "it is not the address of a service account"),
        }
    }

    fn role(&mut self, name: &'static str) -> Option<String> {
        let text = self.text(name)?;
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        match parts.as_slice() {
            ["arn", _, "iam", "", _, role] if role.starts_with("role/") => Some(text),
            _ => self.fault(name, "it is not arn:aws:iam::ACCOUNT:role/NAME"),
        }
    }

    fn url(&mut self, name: &'static str) -> Option<Url> {
        match Url::parse(&self.text(name)?) {
            Ok(url) => Some(url),
            Err(what) => self.fault(name, what),
        }
    }

    fn fault<T>(&mut self, name: &'static str, what: &str) -> Option<T> {
        self.faults.push((name, what.to_owned()));
        None
    }

    /// A misspelt name is a fault; and so is a reference that should have been followed before this.
    fn refuse_others(&mut self) {
        let strays: Vec<_> = self
            .raw
            .fields
            .keys()
            .filter(|it| !self.taken.contains(&it.as_str()))
            .map(|it| format!("{it:?} does not belong here"))
            .collect();
        // With other faults, what belongs here is not known.
        if self.faults.is_empty() {
            self.faults
                .extend(strays.into_iter().map(|it| ("kind", it)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(toml: &str) -> (Option<Federation>, Vec<String>) {
        let raw: RawFederation = toml::from_str(toml).unwrap();
        let mut faults = Vec::new();
        let mut fault = |at: &str, what: &str| faults.push(format!("{at}: {what}"));
        let found = Federation::parse(&raw, Some("eu-west-1"), &mut fault);
        (found, faults)
    }

    #[test]
    fn each_kind_says_what_it_needs() {
        for (toml, faults) in [
            ("kind = 'x'", "credential.kind: "),
            ("kind = 'oauth'", "credential.token-url: "),
            (
                "kind = 'oauth'\nclient-id = 'a'\ntoken-url = 'http://t.test/'",
                "credential.token-url: it must begin with https",
            ),
            (
                "kind = 'oauth'\nclient-id = 'a'\ntoken-url = 'https://t.test/a b'",
                "credential.token-url: the path",
            ),
            (
                "kind = 'oauth'\nclient-id = 'a'\ntoken-url = 'https://t.test/a'\nclient-secret = 'env:X'",
                "\"client-secret\" does not belong",
            ),
            (
                "kind = 'github-oidc'\nrequest-url = 'https://t.test'\nexchange = 'x'",
                "credential.exchange: ",
            ),
            (
                "kind = 'github-oidc'\nrequest-url = 'https://t.test'\nexchange = 'aws'\nrole-arn = 'role/x'",
                "credential.role-arn: it is not arn:",
            ),
            (
                "kind = 'github-oidc'\nrequest-url = 'https://t.test'\nexchange = 'azure'\ntenant = 'a/../b'\nclient-id = 'c'\nscope = 's'",
                "credential.tenant: ",
            ),
            (
                "kind = 'github-oidc'\nrequest-url = 'https://t.test'\nexchange = 'gcp'\naudience = '//evil.test/'",
                "credential.audience: ",
            ),
        ] {
            let (found, all) = parse(toml);
            assert!(found.is_none(), "{toml}");
            assert!(all.join("\n").contains(faults), "{toml}: {all:?}");
        }
    }

    #[test]
    fn aws_is_asked_in_the_providers_region() {
        let toml = "kind = 'github-oidc'\nrequest-url = 'https://t.test'\nexchange = 'aws'\n\
                    role-arn = 'arn:aws:iam::123456789012:role/ci/agent'";
        for (region, host) in [
            (Some("eu-west-1"), Some("sts.eu-west-1.amazonaws.com")),
            (Some("cn-north-1"), Some("sts.cn-north-1.amazonaws.com.cn")),
            (None, None),
        ] {
            let raw: RawFederation = toml::from_str(toml).unwrap();
            let found = Federation::parse(&raw, region, &mut |_, _| ());
            let found = found.map(|it| {
                assert!(it.is_access_key());
                it.0
            });
            let asked = match found {
                Some(Kind::Github {
                    audience,
                    exchange: Exchange::Aws { token, session, .. },
                    ..
                }) => {
                    assert_eq!(
                        (audience.as_str(), session.as_str()),
                        ("sts.amazonaws.com", "keyward")
                    );
                    Some(token.target.host)
                }
                _ => None,
            };
            assert_eq!(asked.as_deref(), host);
        }
    }

    #[test]
    fn a_token_host_belongs_to_its_kind() {
        let (found, faults) = parse(
            "kind = 'github-oidc'\nrequest-url = 'https://t.test/a?v=1'\nexchange = 'azure'\n\
             tenant = 'T-1'\nclient-id = 'c'\nscope = 'https://x/.default'",
        );
        assert_eq!(faults, Vec::<String>::new());
        let Kind::Github {
            request,
            audience,
            exchange: Exchange::Azure { token, .. },
        } = found.unwrap().0
        else {
            unreachable!()
        };
        assert_eq!(token.target.host, "login.microsoftonline.com");
        assert_eq!(token.path, "/T-1/oauth2/v2.0/token");
        assert_eq!(
            request.with("audience", &audience).path,
            "/a?v=1&audience=api%3A%2F%2FAzureADTokenExchange"
        );
    }
}
