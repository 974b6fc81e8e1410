// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever happens to a request, no log has the credential: not ours, and not what the libraries say
//! at `trace`, if someone were to listen.

use std::{
    io,
    process::Command,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{ANTHROPIC_KEY, Gateway, OPENAI_KEY, Speaks, Upstream, ask, text};

/// A log in memory.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl io::Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Memory {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// In a process of its own: what is listened to is remembered for a whole process, and other tests' threads, to which
/// nobody listens, would have it forgotten.
#[test]
fn no_log_has_the_credential_at_trace() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "secrets::listening_to_everything", "--ignored"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

#[tokio::test]
#[ignore = "run by no_log_has_the_credential_at_trace"]
async fn listening_to_everything() {
    let memory = Memory::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(memory.clone())
        .finish();
    // For this thread, on which everything here runs.
    let listening = tracing::subscriber::set_default(subscriber);
    let mut logs = String::new();
    for speaks in [Speaks::Http1, Speaks::Http2] {
        let upstream = Upstream::answering(speaks, |seen| async move {
            // An upstream that says everything back.
            let mut answer = text(401, &format!("{:?}", seen.headers));
            answer
                .headers_mut()
                .insert("www-authenticate", "Bearer".parse().unwrap());
            answer
        })
        .await;
        let mut gateway = Gateway::new(upstream.address, &upstream.ca);
        for (address, path) in [
            (gateway.openai, "/v1/models"),
            (gateway.anthropic, "/v1/models"),
        ] {
            for request in [
                format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"),
                format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer own\r\n\r\n"),
                format!("GET {path}?key=own HTTP/1.1\r\nHost: x\r\n\r\n"),
                "GET /v1/files HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
                "GET / HTTP/1.1\r\n\r\n".to_owned(),
                format!(
                    "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                ),
            ] {
                drop(ask(address, request).await);
            }
        }
        assert_eq!(
            upstream.seen()[0].headers["authorization"],
            format!("Bearer {OPENAI_KEY}")
        );
        drop(gateway.log(12).await);
        logs.push_str(&gateway.log_text());
        // And where the upstream cannot be verified.
        let other = Upstream::hello(speaks).await;
        let mut gateway = Gateway::new(other.address, &upstream.ca);
        drop(ask(gateway.openai, "GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n").await);
        logs.push_str(&gateway.log_text());
    }
    drop(listening);
    let trace = String::from_utf8_lossy(&memory.0.lock().unwrap()).into_owned();
    // The control: the libraries did talk, and about these very requests.
    assert!(trace.contains("TRACE") && trace.contains("h2::") && trace.contains("keyward_proxy"));
    for (name, log) in [("trace", &trace), ("requests", &logs)] {
        for key in [OPENAI_KEY, ANTHROPIC_KEY] {
            for form in [key.to_owned(), STANDARD.encode(key), key[3..12].to_owned()] {
                assert!(!log.contains(&form), "{name} has {form}");
            }
        }
        assert!(
            !log.contains("Bearer own") && !log.contains("key=own"),
            "{name}"
        );
    }
}
