// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is going on, told to root at a Unix socket.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use keyward_policy::Mode;
use serde::{Deserialize, Serialize};
use tokio::{io::AsyncWriteExt as _, net::UnixListener, time::timeout};

use crate::egress::Egress;

/// How long a reader may take to read, and a failing socket rests.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is going on in one run: the whole document. A reader fills in what another version does not tell.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct Snapshot {
    /// The run's name.
    pub run: String,
    /// When it started, RFC 3339.
    pub started: String,
    /// `enforce` or `audit`.
    pub mode: String,
    /// What is open now.
    pub connections: Vec<OpenConnection>,
    /// What there has been since the start.
    pub totals: Totals,
}

/// One open connection.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct OpenConnection {
    /// Where it came in: `transparent`, `explicit`.
    pub door: String,
    /// Whom it is for.
    pub host: String,
    /// At which port.
    pub port: u16,
    /// What it speaks: `tls`, `http`, `tcp`.
    pub scheme: String,
    /// Who made it: the command name, if it is known.
    pub comm: String,
    /// Who made it; 0 if it is not known.
    pub pid: u32,
    /// Bytes from the workload.
    pub bytes_up: u64,
    /// Bytes to the workload.
    pub bytes_down: u64,
    /// For how long it has been open.
    pub age_ms: u64,
}

/// Sums since the start.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct Totals {
    /// Connections, requests and lookups that were allowed and are over.
    pub allowed: u64,
    /// What the doors denied; what the kernel denied is not in it.
    pub denied: u64,
    /// Bytes from the workload.
    pub bytes_up: u64,
    /// Bytes to the workload.
    pub bytes_down: u64,
}

/// Answers each connection with one JSON document.
pub(crate) async fn serve(egress: Arc<Egress>, listener: UnixListener) {
    loop {
        match listener.accept().await {
            // One at a time: there is a person or two who look.
            Ok((mut stream, _)) => {
                let document = serde_json::to_vec(&snapshot(&egress)).unwrap_or_default();
                let written = timeout(PATIENCE, stream.write_all(&document)).await;
                if !matches!(written, Ok(Ok(()))) {
                    tracing::debug!("the status was not read");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "status socket");
                tokio::time::sleep(PATIENCE).await;
            }
        }
    }
}

fn snapshot(egress: &Egress) -> Snapshot {
    let open = egress.open();
    let connections = open.now().iter().map(|it| it.shown()).collect();
    let total = |it: &AtomicU64| it.load(Ordering::Relaxed);
    Snapshot {
        run: egress.run.clone().unwrap_or_default(),
        mode: match egress.policy().mode() {
            Mode::Enforce => "enforce".to_owned(),
            Mode::Audit => "audit".to_owned(),
        },
        connections,
        totals: Totals {
            allowed: total(&open.allowed),
            denied: total(&open.denied),
            bytes_up: total(&open.bytes_up),
            bytes_down: total(&open.bytes_down),
        },
        ..Snapshot::default()
    }
}
