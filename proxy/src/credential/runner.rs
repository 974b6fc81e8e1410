// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs commands for a standalone proxy, which forbids itself to start programs before it reads a credential: a
//! process of its own, started before that, with nothing in its environment. It ends with the proxy.

use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};

use zeroize::Zeroizing;

use super::follow::{check_program, run_command};

/// The argument that makes this program a runner.
pub(crate) const ARGUMENT: &str = "--run-commands";

/// Longest message: a command line, or what a command said.
const MOST: usize = 64 * 1024;

/// The proxy's end.
#[derive(Debug)]
pub(crate) struct Runner(Mutex<UnixStream>);

impl Runner {
    pub(crate) fn start() -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        Command::new("/proc/self/exe")
            .arg(ARGUMENT)
            .env_clear()
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self(Mutex::new(ours)))
    }

    /// Has the command run, and waits for it.
    pub(crate) fn run(&self, words: &[String]) -> Result<Zeroizing<Vec<u8>>, String> {
        let gone = |error: io::Error| format!("the process that runs commands is gone: {error}");
        let request = serde_json::to_vec(words).map_err(|error| error.to_string())?;
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        send(&mut *stream, &request).map_err(gone)?;
        let ended = receive(&mut *stream).map_err(gone)?;
        let answer = receive(&mut *stream).map_err(gone)?;
        match ended.as_slice() {
            b"done" => Ok(answer),
            _ => Err(String::from_utf8_lossy(&answer).into_owned()),
        }
    }
}

/// The runner's side: serves until the proxy is gone.
pub(crate) fn serve() -> io::Result<()> {
    let mut stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let own = rustix::process::geteuid().as_raw();
    // An error means that the proxy has ended.
    while let Ok(request) = receive(&mut stream) {
        let words: Vec<String> = serde_json::from_slice(&request)?;
        let program = words.first().map(std::path::Path::new);
        let checked = program.map_or(Ok(()), |it| check_program(it, own));
        match checked.and_then(|()| run_command(&words, |_| {})) {
            Ok(said) => {
                send(&mut stream, b"done")?;
                send(&mut stream, &said)?;
            }
            Err(what) => {
                send(&mut stream, b"failed")?;
                send(&mut stream, what.as_bytes())?;
            }
        }
    }
    Ok(())
}

fn send(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    to.write_all(&length.to_be_bytes())?;
    to.write_all(bytes)
}

fn receive(from: &mut impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
    if length > MOST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Zeroizing::new(vec![0; length]);
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}
