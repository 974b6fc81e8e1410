// SPDX-License-Identifier: MIT OR Apache-2.0
//! Connections that are open and silent.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result};

use super::Route;
use crate::origin;

#[derive(Debug, Default)]
pub(super) struct Held(Vec<TcpStream>);

impl Held {
    /// Opens so many more. Each has carried a byte each way, so that all there is to an open tunnel is there.
    pub(super) fn open(&mut self, route: &mut Route, count: usize) -> Result<()> {
        let place = route.to(origin::PORT)?;
        for _ in 0..count {
            let number = self.0.len();
            let open = || {
                let mut stream = place.open()?;
                stream.write_all(&[origin::ECHO]).context("sending")?;
                stream.read_exact(&mut [0]).context("reading")?;
                anyhow::Ok(stream)
            };
            self.0
                .push(open().with_context(|| format!("connection {number}"))?);
        }
        Ok(())
    }

    pub(super) fn release(&mut self) {
        self.0 = Vec::new();
    }
}
