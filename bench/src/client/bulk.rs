// SPDX-License-Identifier: MIT OR Apache-2.0
//! Throughput: as many bytes as go through, in one direction, once buffers and windows have grown.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::net::{RecvFlags, recv};

use super::route::Place;
use super::{Direction, Rate, Route};
use crate::origin::{self, ACKNOWLEDGED};

/// What passes before the clock starts.
const RAMP: Duration = Duration::from_millis(100);

/// Bytes in a read or a write.
const PIECE: usize = 128 << 10;

/// Between these, bytes count.
#[derive(Clone, Copy, Debug)]
struct Window {
    begin: Instant,
    end: Instant,
}

pub(super) fn run(
    route: &mut Route,
    direction: Direction,
    streams: usize,
    time: Duration,
) -> Result<Rate> {
    let place = route.to(origin::PORT)?;
    let begin = Instant::now() + RAMP;
    let window = Window {
        begin,
        end: begin + time,
    };
    let one = || match direction {
        Direction::Down => down(&place, window),
        Direction::Up => up(&place, window),
    };
    let bytes: u64 = std::thread::scope(|scope| {
        let running: Vec<_> = (0..streams).map(|_| scope.spawn(one)).collect();
        let ended = running.into_iter().map(|it| match it.join() {
            Ok(bytes) => bytes,
            Err(_panicked) => bail!("a stream's thread panicked"),
        });
        ended.sum::<Result<u64>>()
    })?;
    let mib = f64::from(u32::try_from(bytes >> 10).context("too many bytes to count")?) / 1024.0;
    Ok(Rate {
        per_second: mib / time.as_secs_f64(),
    })
}

/// Bytes that came in time.
fn down(place: &Place, window: Window) -> Result<u64> {
    let mut stream = place.open()?;
    stream.write_all(&[origin::SOURCE]).context("sending")?;
    let mut buffer = vec![0; PIECE];
    let mut sum = 0;
    loop {
        let count = stream.read(&mut buffer).context("reading")?;
        if count == 0 {
            bail!("the origin hung up");
        }
        let now = Instant::now();
        if now >= window.end {
            return Ok(sum);
        }
        if now >= window.begin {
            sum += u64::try_from(count).context("count")?;
        }
    }
}

/// Bytes of which the origin said in time that they came.
fn up(place: &Place, window: Window) -> Result<u64> {
    let mut stream = place.open()?;
    stream.write_all(&[origin::SINK]).context("sending")?;
    let buffer = vec![0; PIECE];
    let mut sum = 0;
    loop {
        stream.write_all(&buffer).context("writing")?;
        let count = acknowledged(&stream)?;
        let now = Instant::now();
        if now >= window.end {
            return Ok(sum);
        }
        if now >= window.begin {
            sum += count;
        }
    }
}

/// How many more bytes the origin has, by what it said so far.
fn acknowledged(stream: &TcpStream) -> Result<u64> {
    let mut signs = [0_u8; 256];
    match recv(stream, &mut signs, RecvFlags::DONTWAIT).map_err(std::io::Error::from) {
        Ok((_, 0)) => bail!("the origin hung up"),
        Ok((_, count)) => {
            let count = u64::try_from(count).context("count")?;
            Ok(count * u64::try_from(ACKNOWLEDGED).context("size")?)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(error).context("reading"),
    }
}
