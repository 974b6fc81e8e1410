// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes requests on their way, if the settings ask for it.
//!
//! Only what a rule needs is collected and read. What is not JSON, or is in an encoding that is not known, goes on as
//! it is: these rules make requests better or cheaper, they keep nothing out.

mod ansi;
mod cache;
mod object;
mod tools;

use std::{borrow::Cow, sync::Arc};

use http::{HeaderMap, HeaderValue, Method, header, request::Parts};

use self::object::Object;
use super::{
    Link,
    betas::{self, Asked, Refused},
    body::RequestBody,
    inspect::{Stop, decoded},
};
use crate::{provider::Dialect, settings::Rewrite};

/// They speak of a body that is not sent any more.
const DIGESTS: [&str; 4] = ["content-digest", "repr-digest", "digest", "content-md5"];

/// Drops values of `anthropic-beta`, before the injection: what that adds stays. What is left is returned if it may turn
/// out to be refused.
pub(super) fn head(rules: &Rewrite, refused: &Refused, headers: &mut HeaderMap) -> Option<Asked> {
    let idle = rules.drop_beta.is_empty() && !rules.drop_refused_beta;
    if idle || !headers.contains_key(betas::NAME) {
        return None;
    }
    betas::retain(headers, |it| {
        let is_refused = rules.drop_refused_beta && refused.contains(it);
        !is_refused && !rules.drop_beta.iter().any(|dropped| dropped == it)
    });
    let asked = betas::values(headers).map(Asked);
    asked.filter(|_| rules.drop_refused_beta)
}

/// Changes the body, and what the head says of it.
pub(super) async fn body(
    link: &Arc<Link>,
    parts: &mut Parts,
    body: &mut RequestBody,
) -> Result<(), Stop> {
    let shared = link.shared();
    let rules = Rules::new(&shared.rewrite, link.provider().dialect, parts.uri.path());
    if rules.is_idle() || parts.method != Method::POST || !is_json(&parts.headers) {
        return Ok(());
    }
    let all = body.collect().await?;
    let length = {
        let text = match decoded(&parts.headers, &all, shared.limits.body) {
            Ok(text) => text,
            // Not readable here. What is too large when it is read is refused.
            Err(Stop::Denied(_)) => Cow::Borrowed(&[][..]),
            Err(fault) => return Err(fault),
        };
        let changed = rules.apply(&text);
        changed.map_or(all.len(), |changed| {
            let length = changed.len();
            body.replace(changed.into());
            // It is sent as it was read.
            parts.headers.remove(header::CONTENT_ENCODING);
            for name in DIGESTS {
                parts.headers.remove(name);
            }
            length
        })
    };
    parts
        .headers
        .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    Ok(())
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE);
    let Some(text) = value.and_then(|it| it.to_str().ok()) else {
        return false;
    };
    let kind = text.split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// The rules for one request.
struct Rules<'a> {
    cache: bool,
    ansi: bool,
    tools: &'a [String],
}

impl<'a> Rules<'a> {
    fn new(rules: &'a Rewrite, dialect: Dialect, path: &str) -> Self {
        let known = matches!(
            dialect,
            Dialect::Openai | Dialect::Anthropic | Dialect::Gemini
        );
        Self {
            cache: rules.anthropic_cache
                && dialect == Dialect::Anthropic
                && path.ends_with("/messages"),
            ansi: known && rules.strip_ansi,
            tools: if known { &rules.remove_tools } else { &[] },
        }
    }

    fn is_idle(&self) -> bool {
        !self.cache && !self.ansi && self.tools.is_empty()
    }

    /// The body as the rules want it. `None`: as it is.
    fn apply(&self, body: &[u8]) -> Option<Vec<u8>> {
        let text = str::from_utf8(body).ok()?;
        let mut request = Object::parse(text)?;
        let mut changed = !self.tools.is_empty() && tools::remove(&mut request, self.tools);
        if self.ansi {
            for (name, value) in &mut request.0 {
                if matches!(name.as_str(), "messages" | "input" | "contents")
                    && let Some(stripped) = ansi::stripped(value)
                {
                    *value = Cow::Owned(stripped);
                    changed = true;
                }
            }
        }
        if self.cache {
            changed |= cache::mark(text, &mut request);
        }
        changed.then(|| request.text().into_bytes())
    }
}

#[cfg(test)]
mod tests;
