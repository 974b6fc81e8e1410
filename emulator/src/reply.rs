// SPDX-License-Identifier: MIT OR Apache-2.0
//! An answer as an HTTP response: status, headers, and a body that keeps the pace it was given.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use serde_json::Value;
use tokio::time::Sleep;

use crate::script::{Script, Usage};
use crate::ticker::Ticker;
use crate::{Behaviour, Ending};

/// What an API has to say to a request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// One JSON body.
    Json {
        status: StatusCode,
        body: Value,
        usage: Usage,
    },
    /// Events.
    Stream(Script),
    /// Events, as an AWS event stream.
    Frames(Script),
}

impl Answer {
    /// 200 with a body that used no tokens.
    pub(crate) fn json(body: Value) -> Self {
        Self::Json {
            status: StatusCode::OK,
            body,
            usage: Usage::default(),
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Json { status, .. } => *status,
            Self::Stream(_) | Self::Frames(_) => StatusCode::OK,
        }
    }

    pub(crate) fn usage(&self) -> Usage {
        match self {
            Self::Json { usage, .. } => *usage,
            Self::Stream(script) | Self::Frames(script) => script.usage,
        }
    }

    pub(crate) fn into_response(self, behaviour: &Behaviour) -> Response<Reply> {
        let mut response = self.on_time(behaviour);
        if let (Some(_), Some(seconds)) = (behaviour.status, behaviour.retry_after) {
            let headers = response.headers_mut();
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    fn on_time(self, behaviour: &Behaviour) -> Response<Reply> {
        match self {
            Self::Json { status, body, .. } => {
                let mut response = Response::new(Reply::whole(Bytes::from(body.to_string())));
                *response.status_mut() = status;
                response.headers_mut().insert(CONTENT_TYPE, JSON);
                response
            }
            Self::Stream(script) => {
                let events = script.until(behaviour.ending);
                let chunks = events.iter().map(crate::script::Event::to_sse).collect();
                let mut response =
                    Response::new(Reply::paced(chunks, behaviour.delay, behaviour.ending));
                response.headers_mut().insert(CONTENT_TYPE, EVENT_STREAM);
                response.headers_mut().insert(CACHE_CONTROL, NO_CACHE);
                response
            }
            Self::Frames(script) => {
                let events = script.until(behaviour.ending);
                let chunks = events.iter().map(crate::script::Event::to_frame).collect();
                let mut response =
                    Response::new(Reply::paced(chunks, behaviour.delay, behaviour.ending));
                response.headers_mut().insert(CONTENT_TYPE, FRAMES);
                response
            }
        }
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");
const FRAMES: HeaderValue = HeaderValue::from_static("application/vnd.amazon.eventstream");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

/// The body of a response.
#[derive(Debug)]
pub(crate) struct Reply {
    chunks: VecDeque<Bytes>,
    /// Known in advance, so that the response has a `Content-Length`.
    length: Option<u64>,
    delay: Duration,
    /// Runs while the next chunk has to wait.
    pause: Option<Pin<Box<Sleep>>>,
    ending: Ending,
    /// Makes one chunk after the other, without end.
    ticker: Option<Ticker>,
}

/// hyper throws away what it has not written yet when a body fails: this long it has to write what
/// came before the cut.
const BEFORE_CUT: Duration = Duration::from_millis(10);

/// A stream that was broken off on purpose.
#[derive(Debug, thiserror::Error)]
#[error("the stream was cut, as asked")]
pub(crate) struct CutOff;

impl Reply {
    /// A body in one piece.
    pub(crate) fn whole(body: Bytes) -> Self {
        Self {
            length: Some(body.len().try_into().unwrap_or(u64::MAX)),
            chunks: if body.is_empty() {
                VecDeque::new()
            } else {
                VecDeque::from([body])
            },
            delay: Duration::ZERO,
            pause: None,
            ending: Ending::Complete,
            ticker: None,
        }
    }

    /// That many bytes that mean nothing, made of one shared buffer.
    pub(crate) fn filler(length: usize) -> Self {
        const FILLER: Bytes = Bytes::from_static(&[b'.'; 64 << 10]);
        let mut chunks = VecDeque::from(vec![FILLER; length / FILLER.len()]);
        let rest = FILLER.slice(..length % FILLER.len());
        if !rest.is_empty() {
            chunks.push_back(rest);
        }
        Self {
            chunks,
            length: Some(length.try_into().unwrap_or(u64::MAX)),
            ..Self::whole(Bytes::new())
        }
    }

    /// Chunks one by one. The first comes at once: clients measure the time to it.
    /// An event stream that has no end.
    pub(crate) fn ticking(every: Duration) -> Response<Self> {
        let mut response = Response::new(Self {
            ticker: Some(Ticker::new(every)),
            ..Self::paced(VecDeque::new(), Duration::ZERO, Ending::Idle)
        });
        response.headers_mut().insert(CONTENT_TYPE, EVENT_STREAM);
        response.headers_mut().insert(CACHE_CONTROL, NO_CACHE);
        response
    }

    fn paced(chunks: VecDeque<Bytes>, delay: Duration, ending: Ending) -> Self {
        Self {
            chunks,
            length: None,
            delay,
            pause: None,
            ending,
            ticker: None,
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        if let Some(ticker) = &mut self.ticker {
            return ticker
                .poll(context)
                .map(|event| Some(Ok(Frame::data(event))));
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        if let Some(chunk) = self.chunks.pop_front() {
            if self.chunks.is_empty() && self.ending == Ending::Endless {
                self.chunks.push_back(chunk.clone());
            }
            let pause = match (self.chunks.is_empty(), self.ending) {
                (false, _) => self.delay,
                (true, Ending::Cut) => self.delay.max(BEFORE_CUT),
                (true, Ending::Complete | Ending::Idle | Ending::Endless) => Duration::ZERO,
            };
            if !pause.is_zero() {
                self.pause = Some(Box::pin(tokio::time::sleep(pause)));
            }
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        match self.ending {
            Ending::Complete => Poll::Ready(None),
            Ending::Cut => Poll::Ready(Some(Err(CutOff))),
            // Nothing will wake this task but the connection's end: that is what idle means.
            Ending::Idle | Ending::Endless => Poll::Pending,
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.length
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty() && self.ending == Ending::Complete
    }
}
