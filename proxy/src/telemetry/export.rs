// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sends the book to the collector, again and again, and a last time at the end. Who writes into the book never waits for
//! this. Metrics are sums since the start, so that one that is not taken is in the next; spans wait for another time as far
//! as there is room.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use http::{HeaderName, HeaderValue, Request, StatusCode, header};
use hyper::{
    body::{Body as _, Incoming},
    client::conn::http1::SendRequest,
};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::{Telemetry, now, otlp::Source};
use crate::{
    credential::{Credentials, TELEMETRY},
    refusal::UpstreamFault,
    settings::TelemetrySettings,
    upstream::Connector,
};

/// For all of one time.
const TIME: Duration = Duration::from_secs(10);

/// For the last time: somebody waits.
const LAST_TIME: Duration = Duration::from_secs(3);

/// Spans in one request: a few hundred kilobytes.
const BATCH: usize = 512;

/// Longest answer that is read; what it says is of no use.
const MAX_ANSWER: usize = 64 * 1024;

/// Sends what was written down.
pub(crate) struct Exporter {
    telemetry: Telemetry,
    settings: TelemetrySettings,
    connector: Connector,
    credentials: Arc<ArcSwap<Credentials>>,
    run: Option<String>,
    /// One at a time: two would tell the same spans, or none.
    sending: tokio::sync::Mutex<()>,
    /// Whether it went wrong the last time: each change is worth a line, and no more.
    failing: AtomicBool,
}

/// Why it was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Failure {
    #[error("{}", .0.name())]
    Upstream(UpstreamFault),
    #[error("no answer in time")]
    Late,
    #[error("a header that cannot be sent")]
    Header,
    #[error("answered {0}")]
    Status(StatusCode),
}

impl Failure {
    /// Whether another time may go better (OTLP, "Retryable Response Codes").
    fn is_passing(self) -> bool {
        match self {
            Self::Upstream(_) | Self::Late => true,
            Self::Header => false,
            Self::Status(status) => matches!(status.as_u16(), 429 | 502..=504),
        }
    }
}

impl Exporter {
    pub(crate) fn new(
        telemetry: Telemetry,
        settings: TelemetrySettings,
        connector: Connector,
        credentials: Arc<ArcSwap<Credentials>>,
        run: Option<String>,
    ) -> Self {
        Self {
            telemetry,
            settings,
            connector,
            credentials,
            run,
            sending: tokio::sync::Mutex::default(),
            failing: AtomicBool::new(false),
        }
    }

    /// Never ends.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            sleep(self.settings.interval).await;
            self.send(TIME).await;
        }
    }

    /// The last time.
    pub(crate) async fn finish(&self) {
        drop(timeout(LAST_TIME, self.send(LAST_TIME)).await);
    }

    async fn send(&self, time: Duration) {
        let _alone = self.sending.lock().await;
        let sent = self.send_all(time).await;
        let failed = sent.is_err();
        let host = &self.settings.target.host;
        match (sent, self.failing.swap(failed, Ordering::Relaxed)) {
            (Err(failure), false) => tracing::warn!(host, %failure, "telemetry is not taken"),
            (Ok(()), true) => tracing::info!(host, "telemetry is taken again"),
            (Ok(()), false) | (Err(_), true) => {}
        }
    }

    async fn send_all(&self, time: Duration) -> Result<(), Failure> {
        let Some((series, times)) = self.telemetry.book().map(|book| {
            let times = (book.began, now());
            (book.series.clone(), times)
        }) else {
            return Ok(());
        };
        let source = Source {
            run: self.run.as_deref(),
        };
        let connecting = timeout(time, self.connector.connect_for_upgrade());
        let (mut sender, _) = connecting
            .await
            .map_err(|_late| Failure::Late)?
            .map_err(Failure::Upstream)?;
        let metrics = source.metrics(&series, times);
        self.post(&mut sender, "/v1/metrics", &metrics, time)
            .await?;
        loop {
            let spans = self.telemetry.book().map(|mut it| it.take_spans(BATCH));
            let spans = spans.filter(|it| !it.is_empty());
            let Some(spans) = spans else { return Ok(()) };
            let traces = source.traces(&spans);
            let sent = self.post(&mut sender, "/v1/traces", &traces, time).await;
            if let (Err(failure), Some(mut book)) = (sent, self.telemetry.book()) {
                match failure.is_passing() {
                    true => book.give_back(spans),
                    false => {
                        book.drop_some("span", u64::try_from(spans.len()).unwrap_or(u64::MAX));
                    }
                }
                return Err(failure);
            }
        }
    }

    async fn post(
        &self,
        sender: &mut SendRequest<String>,
        path: &str,
        body: &Value,
        time: Duration,
    ) -> Result<(), Failure> {
        let request = self.request(path, body).ok_or(Failure::Header)?;
        let asked = async {
            let reset = |_broken| Failure::Upstream(UpstreamFault::Reset);
            sender.ready().await.map_err(reset)?;
            let answer = sender.send_request(request).await.map_err(reset)?;
            let status = answer.status();
            read(answer.into_body()).await;
            Ok(status)
        };
        let status = timeout(time, asked)
            .await
            .map_err(|_late| Failure::Late)??;
        match status.is_success() {
            true => Ok(()),
            false => Err(Failure::Status(status)),
        }
    }

    fn request(&self, path: &str, body: &Value) -> Option<Request<String>> {
        let mut request = Request::post(format!("{}{path}", self.settings.base_path))
            .header(header::HOST, self.settings.target.authority())
            .header(header::USER_AGENT, "keyward")
            .header(header::CONTENT_TYPE, "application/json");
        for (slot, credential) in self.credentials.load().iter() {
            let (name, value): (HeaderName, HeaderValue) = match slot.strip_prefix(TELEMETRY) {
                Some("") => (header::AUTHORIZATION, credential.header("Bearer ")?),
                Some(name) => (name.parse().ok()?, credential.header("")?),
                None => continue,
            };
            request = request.header(name, value);
        }
        request.body(body.to_string()).ok()
    }
}

/// Reads an answer, so that the connection can be used again.
async fn read(mut body: Incoming) {
    let mut left = MAX_ANSWER;
    while let Some(Ok(frame)) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await
    {
        let length = frame.data_ref().map_or(0, bytes::Bytes::len);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
