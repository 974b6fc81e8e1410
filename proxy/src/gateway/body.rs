// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bodies on their way: passed on piece by piece, counted, limited, and collected only where all of one has to be
//! known before the first byte leaves.

mod request;
mod response;

use std::task::Poll;

pub(crate) use self::{request::RequestBody, response::ResponseBody};
use crate::refusal::Fault;

/// Why a body broke off. hyper then breaks off the message it belongs to, instead of ending it as if
/// it were whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("body broke off: {}", .0.name())]
pub(crate) struct Broken(Fault);

fn broken<T>(fault: Fault) -> Poll<Option<Result<T, Broken>>> {
    Poll::Ready(Some(Err(Broken(fault))))
}
