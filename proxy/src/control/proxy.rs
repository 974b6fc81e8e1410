// SPDX-License-Identifier: MIT OR Apache-2.0
//! The proxy's side: blocking until it serves, then one asynchronous wait for what comes later.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    os::unix::net::UnixStream,
};

use keyward_policy::RawPolicy;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use zeroize::Zeroizing;

use super::{
    Answer, ControlError, Door, Later, MAX_MESSAGE, Role,
    descriptors::{receive_exact, send},
    frame::{decode_credentials, decode_doors, decode_start, length, prefix},
    socket,
};
use crate::{credential::Credentials, settings::RawSettings};

/// What the supervisor sent.
#[derive(Debug)]
#[non_exhaustive]
pub struct Start {
    /// Settings, not yet checked.
    pub settings: RawSettings,
    /// The descriptors, each with what it is for.
    pub descriptors: Vec<(Role, OwnedFd)>,
    /// The credentials.
    pub credentials: Credentials,
}

/// What the supervisor wants later.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// Put this policy in force, and say so with [`answer_replaced`].
    Policy(Box<RawPolicy>),
    /// Serve later requests with these, and say so with [`answer_replaced`].
    Credentials(Credentials),
    /// Finish what runs, then end.
    Drain,
    /// The supervisor is gone, or cannot be understood: end at once.
    End,
}

/// Receives the first two messages of a start. It waits for each as long as the supervisor lives, which may have to ask a
/// person for a credential, or a slow kernel to verify programs.
///
/// # Errors
///
/// When they are not what they should be; tell the supervisor with [`refuse`].
pub fn accept(stream: &UnixStream) -> Result<Start, ControlError> {
    let credentials = decode_credentials(&receive_message(stream, &mut Vec::new())?)?;
    let mut descriptors = Vec::new();
    let message = decode_start(&receive_message(stream, &mut descriptors)?)?;
    Ok(Start {
        settings: message.settings,
        descriptors: pair(message.descriptors, descriptors)?,
        credentials,
    })
}

/// Receives the third.
///
/// # Errors
///
/// As [`accept`].
pub fn accept_doors(stream: &UnixStream) -> Result<Vec<(Door, OwnedFd)>, ControlError> {
    let mut descriptors = Vec::new();
    let doors = decode_doors(&receive_message(stream, &mut descriptors)?)?;
    pair(doors, descriptors)
}

fn pair<T>(announced: Vec<T>, came: Vec<OwnedFd>) -> Result<Vec<(T, OwnedFd)>, ControlError> {
    if announced.len() != came.len() {
        return Err(ControlError::Malformed("other descriptors than announced"));
    }
    Ok(announced.into_iter().zip(came).collect())
}

/// Tells the supervisor that the proxy serves.
///
/// # Errors
///
/// When it cannot be told.
pub fn say_ready(stream: &UnixStream) -> Result<(), ControlError> {
    answer(stream, &Answer::Ready(true))
}

/// Tells the supervisor why the proxy does not start.
///
/// # Errors
///
/// When it cannot be told.
pub fn refuse(stream: &UnixStream, why: &str) -> Result<(), ControlError> {
    answer(stream, &Answer::Error(why.to_owned()))
}

/// Waits for the supervisor's next word. Whatever is not understood ends the proxy: fail closed.
pub async fn next_order(stream: &mut tokio::net::UnixStream) -> Order {
    let Some(bytes) = next_message(stream).await else {
        return Order::End;
    };
    match serde_json::from_slice(&bytes) {
        Ok(Later::Drain(true)) => Order::Drain,
        Ok(Later::Policy(policy)) => Order::Policy(policy),
        Ok(Later::Credentials(true)) => {
            let frame = next_message(stream).await;
            let credentials = frame.and_then(|it| decode_credentials(&it).ok());
            credentials.map_or(Order::End, Order::Credentials)
        }
        Ok(Later::Drain(false) | Later::Credentials(false)) | Err(_) => Order::End,
    }
}

/// One message. The buffer is wiped on drop: it may be secrets.
async fn next_message(stream: &mut tokio::net::UnixStream) -> Option<Zeroizing<Vec<u8>>> {
    let mut size = [0; 4];
    stream.read_exact(&mut size).await.ok()?;
    let size = length(size).ok().filter(|it| *it <= MAX_MESSAGE)?;
    let mut bytes = Zeroizing::new(vec![0; size]);
    stream.read_exact(&mut bytes).await.ok()?;
    Some(bytes)
}

/// Tells the supervisor what became of its policy (how many connections it ended) or of its credentials (how many
/// there were), or why what was before stays.
///
/// # Errors
///
/// When it cannot be told.
pub async fn answer_replaced(
    stream: &mut tokio::net::UnixStream,
    result: Result<usize, String>,
) -> Result<(), ControlError> {
    let answer = match result {
        Ok(ended) => Answer::Replaced(ended),
        Err(why) => Answer::Kept(why),
    };
    stream
        .write_all(&message(&answer)?)
        .await
        .map_err(socket("write"))
}

fn answer(stream: &UnixStream, answer: &Answer) -> Result<(), ControlError> {
    send(stream, &message(answer)?, &[]).map_err(socket("sendmsg"))
}

fn message(answer: &Answer) -> Result<Vec<u8>, ControlError> {
    let bytes =
        serde_json::to_vec(answer).map_err(|_cause| ControlError::Malformed("own answer"))?;
    Ok([&prefix(bytes.len())?[..], &bytes].concat())
}

/// Reads one message. The buffer is wiped on drop: the first message is secrets.
fn receive_message(
    stream: &UnixStream,
    descriptors: &mut Vec<OwnedFd>,
) -> Result<Zeroizing<Vec<u8>>, ControlError> {
    let mut size = [0; 4];
    receive(stream, &mut size, descriptors)?;
    let mut bytes = Zeroizing::new(vec![0; length(size)?]);
    receive(stream, &mut bytes, descriptors)?;
    Ok(bytes)
}

fn receive(
    stream: &UnixStream,
    bytes: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> Result<(), ControlError> {
    receive_exact(stream, bytes, descriptors)
        .map_err(socket("recvmsg"))?
        .ok_or(ControlError::Closed)
}

/// The control socket that a supervisor passed as standard input.
///
/// # Errors
///
/// When standard input cannot be duplicated.
pub(crate) fn from_standard_input() -> Result<UnixStream, ControlError> {
    let input = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(socket("dup"))?;
    Ok(UnixStream::from(input))
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, os::fd::AsFd as _, thread};

    use super::*;
    use crate::{control, credential::Credential};

    fn credentials() -> Credentials {
        let mut credentials = Credentials::new();
        let secret = Credential::new(b"sk-real".to_vec()).unwrap();
        credentials.insert("openai", secret);
        credentials
    }

    fn begin(stream: &UnixStream) -> Result<(), ControlError> {
        control::entrust(stream, &credentials()).unwrap();
        control::prepare(stream, &RawSettings::default(), &[]).unwrap();
        control::open(stream, &[]).unwrap();
        control::wait_until_ready(stream)
    }

    #[test]
    fn both_sides_agree_and_the_listener_arrives() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let proxy = thread::spawn(move || {
            let start = accept(&theirs).unwrap();
            let doors = accept_doors(&theirs).unwrap();
            say_ready(&theirs).unwrap();
            (start, doors)
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let settings = RawSettings {
            run: Some("r7".to_owned()),
            ..RawSettings::default()
        };
        let door = Door::Gateway {
            provider: "openai".to_owned(),
        };
        let log = tempfile::tempfile().unwrap();
        control::entrust(&ours, &credentials()).unwrap();
        control::prepare(&ours, &settings, &[(Role::AuditLog, log.as_fd())]).unwrap();
        control::open(&ours, &[(door.clone(), listener.as_fd())]).unwrap();
        control::wait_until_ready(&ours).unwrap();

        let (start, doors) = proxy.join().unwrap();
        assert_eq!(start.settings, settings);
        assert!(start.credentials.get("openai").unwrap().matches(b"sk-real"));
        assert!(matches!(start.descriptors[..], [(Role::AuditLog, _)]));
        let [(got, fd)]: [_; 1] = doors.try_into().unwrap();
        assert_eq!(got, door);
        let arrived = TcpListener::from(fd);
        assert_eq!(
            arrived.local_addr().unwrap(),
            listener.local_addr().unwrap()
        );
    }

    #[test]
    fn refusal_and_death_reach_the_supervisor() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let proxy = thread::spawn(move || {
            let _start = accept(&theirs).unwrap();
            refuse(&theirs, "no such target").unwrap();
        });
        let result = begin(&ours);
        assert!(matches!(result, Err(ControlError::Refused(why)) if why == "no such target"));
        proxy.join().unwrap();

        // One that never comes to read what it is sent.
        let (ours, theirs) = UnixStream::pair().unwrap();
        refuse(&theirs, "unfit").unwrap();
        drop(theirs);
        let result = begin(&ours);
        assert!(matches!(result, Err(ControlError::Refused(why)) if why == "unfit"));

        let (ours, theirs) = UnixStream::pair().unwrap();
        let proxy = thread::spawn(move || drop(accept(&theirs).unwrap()));
        let result = begin(&ours);
        assert!(matches!(result, Err(ControlError::Closed)), "{result:?}");
        proxy.join().unwrap();
    }

    #[tokio::test]
    async fn orders_are_drain_or_end() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let mut theirs = tokio::net::UnixStream::from_std(theirs).unwrap();
        control::drain(&ours).unwrap();
        assert_eq!(next_order(&mut theirs).await, Order::Drain);
        drop(ours);
        assert_eq!(next_order(&mut theirs).await, Order::End);

        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let mut theirs = tokio::net::UnixStream::from_std(theirs).unwrap();
        let supervisor = thread::spawn(move || control::replace_credentials(&ours, &credentials()));
        let order = next_order(&mut theirs).await;
        assert_eq!(order, Order::Credentials(credentials()));
        assert!(!format!("{order:?}").contains("sk-real"));
        answer_replaced(&mut theirs, Ok(1)).await.unwrap();
        assert_eq!(supervisor.join().unwrap().unwrap(), 1);

        let (mut ours, mut theirs) = tokio::net::UnixStream::pair().unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut ours, b"\0\0\0\x05hello")
            .await
            .unwrap();
        assert_eq!(next_order(&mut theirs).await, Order::End);
    }
}
