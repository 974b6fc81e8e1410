// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finds out which model a request is for, and whether the run may still afford it.
//!
//! A body is collected and read only if a rule needs the model and the path does not name it. What is read is what the
//! provider will read, or it is refused: JSON in one reading, in an encoding that is known, a model named once.

mod decode;
mod json;
mod place;

use std::sync::Arc;

use http::{HeaderValue, Uri, header, request::Parts};

pub(super) use self::decode::decoded;
pub(crate) use self::json::{message, replaced};
use self::place::Kind;
use super::{Link, body::RequestBody};
use crate::{
    provider::Dialect,
    refusal::{Fault, Refusal},
    request_log::Record,
    spend::{BACKGROUND, Denied, Spend},
};

/// Why a request goes no further.
pub(super) enum Stop {
    /// As everywhere.
    Fault(Fault),
    /// A limit, or a rule for models.
    Denied(Box<Denied>),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Fault(refusal.into())
    }
}

impl From<Box<Denied>> for Stop {
    fn from(denied: Box<Denied>) -> Self {
        Self::Denied(denied)
    }
}

/// It cannot be known for which model a request is.
fn unreadable(why: &str) -> Stop {
    Box::new(Denied::model(Refusal::ModelUnreadable, why, None)).into()
}

/// Admits a request, which is complete but for its body. Aliases are replaced in the path and in the body.
pub(super) async fn admit(
    link: &Arc<Link>,
    parts: &mut Parts,
    body: &mut RequestBody,
    record: &mut Record,
) -> Result<(), Stop> {
    let spend = &link.shared().spend;
    if spend.is_idle() {
        return Ok(());
    }
    let kind = place::kind(&parts.method, parts.uri.path());
    if kind == Kind::Other {
        return Ok(());
    }
    let mut model = None;
    if spend.needs_model() {
        let dialect = link.provider().dialect;
        model = in_path(spend, dialect, parts)?;
        // These two say it in the path alone; the others' servers may read the body's all the same.
        let enough = matches!(dialect, Dialect::Gemini | Dialect::Bedrock);
        if model.is_none() || !enough {
            let most = link.shared().limits.body;
            let named = in_body(spend, parts, body, most, model.is_some()).await?;
            model = model.or(named);
        }
    }
    if !spend.needs_model() && spend.limits_use() && link.provider().dialect == Dialect::Openai {
        let most = link.shared().limits.body;
        model = in_body(spend, parts, body, most, true).await?;
    }
    if kind == Kind::Inference {
        record.admitted(spend.admit(model, false)?);
    }
    Ok(())
}

/// Admits the handshake of a WebSocket. Which models are asked for is in its messages, or in its query.
pub(super) fn admit_socket(link: &Link, parts: &Parts, record: &mut Record) -> Result<(), Stop> {
    let spend = &link.shared().spend;
    if spend.is_idle() {
        return Ok(());
    }
    let mut model = None;
    if spend.needs_model() {
        let query = parts.uri.query().unwrap_or_default();
        for (name, value) in query.split('&').filter_map(|it| it.split_once('=')) {
            // An escaped name could be this one, too.
            let plain = !name.contains('%') && !value.contains('%');
            let named = ["model", "deployment"];
            let is_model = named.iter().any(|it| name.eq_ignore_ascii_case(it));
            match is_model || name.contains('%') {
                // An alias would have to be replaced; nobody needs one here.
                true if plain && model.is_none() && spend.alias(value).is_none() => {
                    model = Some(spend.judge(value)?)
                }
                true => return Err(unreadable("the query names the model in more than one way")),
                false => {}
            }
        }
    }
    record.admitted(spend.admit(model, true)?);
    Ok(())
}

/// The model in the path, judged.
fn in_path(spend: &Spend, dialect: Dialect, parts: &mut Parts) -> Result<Option<String>, Stop> {
    let path = parts.uri.path();
    let Some(place) = place::model(dialect, path) else {
        return Ok(None);
    };
    let read = |range: std::ops::Range<usize>| {
        let text = path.get(range).unwrap_or_default();
        place::decoded(text).ok_or_else(|| unreadable("the model in the path is not text"))
    };
    let Some(name) = spend.alias(&read(place.name.clone())?).map(str::to_owned) else {
        return Ok(Some(spend.judge(&read(place.full)?)?));
    };
    let model = spend.judge(&name)?;
    let mut text = path.to_owned();
    text.replace_range(place.name, &place::encoded(&name));
    if let Some(query) = parts.uri.query() {
        text.push('?');
        text.push_str(query);
    }
    let mut uri = parts.uri.clone().into_parts();
    uri.path_and_query = text.parse().ok();
    parts.uri =
        Uri::from_parts(uri).map_err(|_error| Fault::Internal("an alias that makes no URI"))?;
    Ok(Some(model))
}

/// The model in the body, judged. The body is collected for it; `optional`: there may be none.
async fn in_body(
    spend: &Spend,
    parts: &mut Parts,
    body: &mut RequestBody,
    most: u64,
    optional: bool,
) -> Result<Option<String>, Stop> {
    let all = body.collect().await?;
    let text = decoded(&parts.headers, &all, most)?;
    let said = json::body(&text).map_err(unreadable)?;
    if said.background && spend.limits_use() {
        return Err(unreadable(BACKGROUND));
    }
    let names = said.models;
    let mut model = None;
    for (name, _) in &names {
        let judged = spend.judge(name)?;
        model.get_or_insert(judged);
    }
    if model.is_none() && !optional {
        return Err(unreadable("the request names no model"));
    }
    let changes = names.iter();
    let changes = changes.filter_map(|(name, at)| Some((at.clone(), spend.alias(name)?)));
    let mut length = all.len();
    if let Some(changed) = replaced(&text, changes) {
        length = changed.len();
        body.replace(changed.into());
        // It is sent as it was read.
        parts.headers.remove(header::CONTENT_ENCODING);
    }
    parts
        .headers
        .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    Ok(model)
}
