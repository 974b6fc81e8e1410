// SPDX-License-Identifier: MIT OR Apache-2.0
//! The supervisor's side: blocking, for a process that has no runtime.

use std::{io, os::fd::BorrowedFd, os::unix::net::UnixStream, time::Instant};

use keyward_policy::RawPolicy;

use super::{
    Answer, ControlError, Door, DoorsMessage, Later, MAX_DESCRIPTORS, Role, START_TIMEOUT,
    StartMessage, VERSION,
    descriptors::{receive_exact, send},
    frame::{encode_credentials, length, prefix},
    socket,
};
use crate::{credential::Credentials, settings::RawSettings};

/// Hands the credentials to the proxy that has the other end of `stream` as its standard input. It takes them once it
/// is fit to hold them; until then they are with the kernel. The caller needs them no more.
///
/// # Errors
///
/// When they cannot be sent. That a proxy is gone already is no error here: [`wait_until_ready`] says why.
pub fn entrust(stream: &UnixStream, credentials: &Credentials) -> Result<(), ControlError> {
    stream
        .set_write_timeout(Some(START_TIMEOUT))
        .map_err(socket("setsockopt"))?;
    let frame = encode_credentials(credentials)?;
    unless_gone(send_message(stream, &frame, &[]))
}

/// Has the proxy that has been given its credentials by [`entrust`] make itself ready, while the caller goes on.
///
/// The descriptors are duplicated into the proxy; the caller closes its own.
///
/// # Errors
///
/// When they cannot be sent. That a proxy is gone already is no error here: [`wait_until_ready`] says why.
pub fn prepare(
    stream: &UnixStream,
    settings: &RawSettings,
    descriptors: &[(Role, BorrowedFd<'_>)],
) -> Result<(), ControlError> {
    let (descriptors, fds): (Vec<_>, Vec<_>) = descriptors.iter().copied().unzip();
    let message = StartMessage {
        version: VERSION,
        settings: settings.clone(),
        descriptors,
    };
    unless_gone(send_message(stream, &to_json(&message)?, &fds))
}

/// Opens the doors of the proxy that was told to [`prepare`]. [`wait_until_ready`] waits until it serves there.
///
/// The descriptors are duplicated into the proxy; the caller closes its own. Keep `stream` for as long
/// as the proxy is to live: the proxy ends when it closes.
///
/// # Errors
///
/// When they cannot be sent. That a proxy is gone already is no error here: [`wait_until_ready`] says why.
pub fn open(stream: &UnixStream, doors: &[(Door, BorrowedFd<'_>)]) -> Result<(), ControlError> {
    let (doors, fds): (Vec<_>, Vec<_>) = doors.iter().cloned().unzip();
    unless_gone(send_message(
        stream,
        &to_json(&DoorsMessage { doors })?,
        &fds,
    ))
}

/// Waits until the proxy serves.
///
/// # Errors
///
/// When the proxy refuses (with its words), ends, or is not ready within [`START_TIMEOUT`].
pub fn wait_until_ready(stream: &UnixStream) -> Result<(), ControlError> {
    match receive_answer(stream, Instant::now() + START_TIMEOUT)? {
        Answer::Ready(true) => Ok(()),
        Answer::Ready(false) => Err(ControlError::Malformed("an answer that says neither")),
        Answer::Error(why) => Err(ControlError::Refused(why)),
        Answer::Replaced(_) | Answer::Kept(_) => {
            Err(ControlError::Malformed("an answer to no question"))
        }
    }
}

/// What came of sending something, to a proxy that may have refused and gone already.
fn unless_gone(sent: Result<(), ControlError>) -> Result<(), ControlError> {
    match sent {
        Err(ControlError::Socket { source, .. })
            if matches!(
                source.kind(),
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
            ) =>
        {
            Ok(())
        }
        sent => sent,
    }
}

/// Puts another policy in force, for what comes and for what is open. Says how many open connections it ended.
///
/// # Errors
///
/// [`ControlError::Refused`] when the old policy stays in force; anything else when the proxy cannot be talked to.
pub fn replace_policy(stream: &UnixStream, policy: &RawPolicy) -> Result<usize, ControlError> {
    let deadline = Instant::now() + START_TIMEOUT;
    let policy = Later::Policy(Box::new(policy.clone()));
    send_message(stream, &to_json(&policy)?, &[])?;
    replaced(stream, deadline)
}

/// Has later requests served with these in place of the ones that the proxy has. Says how many there were.
///
/// # Errors
///
/// [`ControlError::Refused`] when the old ones stay; anything else when the proxy cannot be talked to.
pub fn replace_credentials(
    stream: &UnixStream,
    credentials: &Credentials,
) -> Result<usize, ControlError> {
    let deadline = Instant::now() + START_TIMEOUT;
    // Before anything is sent: an announcement without its frame would end the proxy.
    let frame = encode_credentials(credentials)?;
    prefix(frame.len())?;
    send_message(stream, &to_json(&Later::Credentials(true))?, &[])?;
    send_message(stream, &frame, &[])?;
    replaced(stream, deadline)
}

fn replaced(stream: &UnixStream, deadline: Instant) -> Result<usize, ControlError> {
    match receive_answer(stream, deadline)? {
        Answer::Replaced(ended) => Ok(ended),
        Answer::Kept(why) => Err(ControlError::Refused(why)),
        Answer::Ready(_) | Answer::Error(_) => {
            Err(ControlError::Malformed("an answer to another question"))
        }
    }
}

/// Asks the proxy to take no new connections, to let what runs finish, and to end. Wait for the
/// process to know when it did.
///
/// # Errors
///
/// When the message cannot be sent, for instance because the proxy is gone already.
pub fn drain(stream: &UnixStream) -> Result<(), ControlError> {
    send_message(stream, &to_json(&Later::Drain(true))?, &[])
}

fn to_json(message: &impl serde::Serialize) -> Result<Vec<u8>, ControlError> {
    serde_json::to_vec(message)
        .map_err(|_cause| ControlError::Malformed("settings that are not JSON"))
}

fn send_message(
    stream: &UnixStream,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), ControlError> {
    if descriptors.len() > MAX_DESCRIPTORS {
        return Err(ControlError::TooLarge("too many descriptors"));
    }
    send(stream, &prefix(bytes.len())?, descriptors).map_err(socket("sendmsg"))?;
    send(stream, bytes, &[]).map_err(socket("sendmsg"))
}

fn receive_answer(stream: &UnixStream, deadline: Instant) -> Result<Answer, ControlError> {
    let mut size = [0; 4];
    receive_before(stream, &mut size, deadline)?;
    let mut bytes = vec![0; length(size)?];
    receive_before(stream, &mut bytes, deadline)?;
    serde_json::from_slice(&bytes).map_err(|_cause| ControlError::Malformed("the proxy's answer"))
}

fn receive_before(
    stream: &UnixStream,
    bytes: &mut [u8],
    deadline: Instant,
) -> Result<(), ControlError> {
    let left = deadline
        .checked_duration_since(Instant::now())
        .filter(|it| !it.is_zero());
    let left = left.ok_or(ControlError::TimedOut)?;
    stream
        .set_read_timeout(Some(left))
        .map_err(socket("setsockopt"))?;
    match receive_exact(stream, bytes, &mut Vec::new()) {
        Ok(received) => received.ok_or(ControlError::Closed),
        // It is gone, and has not read all that it was sent.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(ControlError::Closed),
        Err(error) => Err(socket("recvmsg")(error)),
    }
}
