// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the upstream, or from here, to the workload.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::{Broken, RequestBody, broken};
use crate::{
    gateway::mask::{Masked, Repeated},
    patience::Patience,
    refusal::UpstreamFault,
    request_log::Record,
    upstream::Lease,
};

/// The answer's body. It carries the request's record,
/// which is written when the body is gone.
pub(crate) struct ResponseBody {
    source: Source,
    record: Option<Box<Record>>,
}

enum Source {
    /// Our own words.
    Own(Option<Bytes>),
    /// The upstream's.
    Relayed {
        /// What was read of it already.
        first: Option<Bytes>,
        incoming: Incoming,
        lease: Option<Lease<RequestBody>>,
        patience: Patience,
        /// Covers the credential in it.
        masked: Option<Masked>,
    },
}

impl ResponseBody {
    pub(in crate::gateway) fn own(bytes: Bytes, record: Option<Box<Record>>) -> Self {
        Self {
            source: Source::Own(Some(bytes).filter(|it| !it.is_empty())),
            record,
        }
    }

    /// Relays what was read already and the rest; when that ended cleanly, the connection that it came over is given back.
    pub(in crate::gateway) fn relayed(
        (first, incoming): (Option<Bytes>, Incoming),
        lease: Option<Lease<RequestBody>>,
        patience: Patience,
        masked: Option<Masked>,
        record: Box<Record>,
    ) -> Self {
        Self {
            source: Source::Relayed {
                first,
                incoming,
                lease,
                patience,
                masked,
            },
            record: Some(record),
        }
    }

    fn ended(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.complete();
        }
        if let Source::Relayed { lease, .. } = &mut self.source
            && let Some(lease) = lease.take()
        {
            lease.give_back();
        }
    }

    fn broke(&mut self, fault: UpstreamFault) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(mut record) = self.record.take() {
            record.broke(fault.into());
        }
        broken(fault.into())
    }
}

impl Source {
    /// The next piece as it comes.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, UpstreamFault>>> {
        Poll::Ready(match self {
            Self::Own(bytes)
            | Self::Relayed {
                first: bytes @ Some(_),
                ..
            } => bytes.take().map(Ok),
            Self::Relayed {
                incoming, patience, ..
            } => match Pin::new(incoming).poll_frame(cx) {
                Poll::Ready(next) => {
                    patience.stop();
                    next.and_then(|it| match it {
                        Ok(frame) => frame.into_data().ok().map(Ok),
                        Err(error) => {
                            tracing::debug!(%error, "answer broke off");
                            Some(Err(UpstreamFault::BodyBroken))
                        }
                    })
                }
                Poll::Pending => {
                    ready!(patience.poll(cx));
                    Some(Err(if patience.is_at_end() {
                        UpstreamFault::TotalTimedOut
                    } else {
                        UpstreamFault::IdleTimedOut
                    }))
                }
            },
        })
    }

    /// The next piece that can go on. Never an empty one.
    fn poll_masked(
        &mut self,
        cx: &mut Context<'_>,
        record: &mut Option<Box<Record>>,
    ) -> Poll<Option<Result<Bytes, UpstreamFault>>> {
        loop {
            let next = ready!(self.poll_piece(cx));
            let Self::Relayed {
                masked: Some(masked),
                ..
            } = self
            else {
                return Poll::Ready(next);
            };
            let is_last = next.is_none();
            let passed = match next {
                Some(Ok(data)) => masked.pass(data),
                Some(Err(fault)) => return Poll::Ready(Some(Err(fault))),
                None => Ok(masked.finish()),
            };
            if masked.has_covered()
                && let Some(record) = record
            {
                record.masked();
            }
            match passed {
                Ok(data) if !data.is_empty() => return Poll::Ready(Some(Ok(data))),
                Ok(_) if is_last => return Poll::Ready(None),
                Ok(_) => {}
                Err(Repeated) => return Poll::Ready(Some(Err(UpstreamFault::CredentialRepeated))),
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        let next = ready!(this.source.poll_masked(cx, &mut this.record));
        match next {
            Some(Ok(data)) => {
                if let Some(record) = &mut this.record {
                    record.sent(&data);
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Err(fault)) => this.broke(fault),
            None => {
                this.ended();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(bytes) => bytes.is_none(),
            Source::Relayed {
                first,
                incoming,
                masked,
                ..
            } => {
                let waits = masked.as_ref().is_some_and(|it| !it.is_empty());
                first.is_none() && !waits && incoming.is_end_stream()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
            Source::Relayed {
                first: None,
                incoming,
                masked,
                ..
            } if masked.as_ref().is_none_or(Masked::is_empty) => incoming.size_hint(),
            // Its length stands in the head, if it is known.
            Source::Relayed { .. } => SizeHint::default(),
        }
    }
}

impl Drop for ResponseBody {
    /// hyper does not ask again for a body that says that it is at its end.
    fn drop(&mut self) {
        if self.is_end_stream() {
            self.ended();
        }
    }
}
