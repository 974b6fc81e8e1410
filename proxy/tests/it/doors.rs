// SPDX-License-Identifier: MIT OR Apache-2.0
//! A proxy with an explicit door, hosts behind it, and what it wrote down.

use std::{
    fs::File,
    io::{Read as _, Seek as _},
    net::{Ipv4Addr, SocketAddr, TcpListener as StdListener},
    sync::{Arc, Mutex},
    time::Duration,
};

use keyward_proxy::{
    credential::Credentials,
    peers::Peers,
    request_log::RequestLog,
    server::{Logs, Server},
    settings::{RawSettings, Settings},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};

use crate::support::{PATIENCE, Raw};

/// A proxy that knows hosts by fixed addresses.
pub(crate) struct Doors {
    pub(crate) explicit: SocketAddr,
    log: RequestLog,
    log_file: File,
    task: JoinHandle<()>,
}

impl Doors {
    /// `rules` are allowed; `hosts` are where the names lead, as `upstream.resolve` has it.
    pub(crate) fn new(rules: &[&str], hosts: &[(&str, SocketAddr)]) -> Self {
        Self::with(rules, hosts, "")
    }

    /// `toml` adds to the settings.
    pub(crate) fn with(rules: &[&str], hosts: &[(&str, SocketAddr)], toml: &str) -> Self {
        let mut raw: RawSettings = toml::from_str(toml).unwrap();
        raw.policy.allow.extend(rules.iter().map(|rule| {
            let mut entry = keyward_policy::Entry::default();
            (*rule).clone_into(&mut entry.rule);
            "--allow-domains".clone_into(&mut entry.origin.source);
            entry
        }));
        for (host, address) in hosts {
            raw.upstream.resolve.push(format!("{host}={address}"));
        }
        let settings = Settings::try_from(raw).unwrap();
        let log_file = tempfile::tempfile().unwrap();
        let log = RequestLog::to(log_file.try_clone().unwrap());
        let logs = Logs {
            requests: RequestLog::none(),
            tokens: RequestLog::none(),
            audit: log.clone(),
        };
        let mut server = Server::new(settings, Credentials::new(), logs, Peers::unknown()).unwrap();
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let explicit = listener.local_addr().unwrap();
        server.add_explicit(listener).unwrap();
        server.load_roots().unwrap();
        let task = tokio::spawn(server.run(std::future::pending()));
        Self {
            explicit,
            log,
            log_file,
            task,
        }
    }

    /// A new connection to the explicit door.
    pub(crate) async fn raw(&self) -> Raw {
        Raw::connect(self.explicit).await
    }

    /// The audit log once it has `count` lines.
    pub(crate) async fn audit(&mut self, count: usize) -> Vec<serde_json::Value> {
        let waited = async {
            loop {
                self.log.flush(PATIENCE);
                self.log_file.rewind().unwrap();
                let mut text = String::new();
                self.log_file.read_to_string(&mut text).unwrap();
                let lines: Vec<_> = text
                    .lines()
                    .map(|it| serde_json::from_str(it).unwrap())
                    .collect();
                if lines.len() >= count {
                    return lines;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, waited).await.expect("audit lines")
    }

    /// The audit log in short: verdict, host, and reason or path.
    pub(crate) async fn verdicts(&mut self, count: usize) -> Vec<String> {
        let lines = self.audit(count).await;
        let text = |line: &serde_json::Value, name: &str| {
            let value = line.get(name)?;
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            Some(format!(" {text}"))
        };
        let short = |line: &serde_json::Value| {
            let names = [
                "scheme", "host", "port", "method", "path", "status", "reason",
            ];
            let all: String = names.iter().filter_map(|it| text(line, it)).collect();
            format!("{}{all}", line["verdict"].as_str().unwrap())
        };
        lines.iter().map(short).collect()
    }
}

impl Drop for Doors {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A host that writes down every byte that it was sent, and answers as told.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    task: JoinHandle<()>,
}

impl Site {
    /// Answers every head with `answer`, as often as there is one on a connection.
    pub(crate) async fn answering(answer: &'static str) -> Self {
        Self::speaking("", answer).await
    }

    /// Echoes every byte.
    pub(crate) async fn echo() -> Self {
        Self::talking(|mut stream: TcpStream, seen: Record| async move {
            let mut chunk = vec![0; 16 * 1024];
            while let Ok(count @ 1..) = stream.read(&mut chunk).await {
                seen.add(&chunk[..count]);
                stream.write_all(&chunk[..count]).await.unwrap();
            }
        })
        .await
    }

    /// Says `greeting` first.
    pub(crate) async fn speaking(greeting: &'static str, answer: &'static str) -> Self {
        Self::talking(move |mut stream: TcpStream, seen: Record| async move {
            stream.write_all(greeting.as_bytes()).await.unwrap();
            let mut chunk = vec![0; 16 * 1024];
            let mut buffer = Vec::new();
            while let Ok(count @ 1..) = stream.read(&mut chunk).await {
                seen.add(&chunk[..count]);
                buffer.extend_from_slice(&chunk[..count]);
                while let Some(end) = buffer.windows(4).position(|it| it == b"\r\n\r\n") {
                    buffer.drain(..end + 4);
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await
    }

    pub(crate) async fn talking<F, T>(talk: F) -> Self
    where
        F: Fn(TcpStream, Record) -> T + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let all = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            for at in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                all.lock().unwrap().push(Vec::new());
                let record = Record(Arc::clone(&all), at);
                tokio::spawn(talk(stream, record));
            }
        });
        Self {
            address,
            seen,
            task,
        }
    }

    /// What each connection was sent, as text.
    pub(crate) fn seen(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .map(|it| String::from_utf8_lossy(it).into_owned())
            .collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where what one connection was sent is written down.
pub(crate) struct Record(Arc<Mutex<Vec<Vec<u8>>>>, usize);

impl Record {
    pub(crate) fn add(&self, bytes: &[u8]) {
        self.0.lock().unwrap()[self.1].extend_from_slice(bytes);
    }
}
