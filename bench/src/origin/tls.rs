// SPDX-License-Identifier: MIT OR Apache-2.0
//! The origin's side that speaks TLS.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Connections at a time. More than any client opens.
const THREADS: usize = 32;

pub(super) fn start(listener: &TcpListener, config: &Arc<ServerConfig>) -> Result<()> {
    for _ in 0..THREADS {
        let listener = listener.try_clone().context("duplicating a descriptor")?;
        let config = Arc::clone(config);
        std::thread::Builder::new()
            .name("origin-tls".to_owned())
            .spawn(move || {
                loop {
                    // A client that breaks off is its own loss: it notices, and the benchmark ends there.
                    if let Ok((stream, _)) = listener.accept() {
                        serve(stream, &config).ok();
                    }
                }
            })
            .context("a thread")?;
    }
    Ok(())
}

/// Answers each byte until the client says goodbye.
fn serve(stream: TcpStream, config: &Arc<ServerConfig>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut tls = StreamOwned::new(ServerConnection::new(Arc::clone(config))?, stream);
    let mut byte = [0];
    while tls.read(&mut byte)? > 0 {
        tls.write_all(&byte)?;
        tls.flush()?;
    }
    Ok(())
}
