// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes of the control conversation. Pure: no socket here.

use zeroize::Zeroizing;

use super::{
    ControlError, Door, DoorsMessage, MAX_DESCRIPTORS, MAX_MESSAGE, StartMessage, VERSION,
};
use crate::credential::{Credential, Credentials};

/// Length prefix of a message of `length` bytes.
pub(super) fn prefix(length: usize) -> Result<[u8; 4], ControlError> {
    let fits = u32::try_from(length).ok().filter(|_| length <= MAX_MESSAGE);
    fits.map(u32::to_be_bytes)
        .ok_or(ControlError::TooLarge("over 4 MiB"))
}

/// Length of the message behind `prefix`.
pub(super) fn length(prefix: [u8; 4]) -> Result<usize, ControlError> {
    let length = usize::try_from(u32::from_be_bytes(prefix)).ok();
    length
        .filter(|it| *it <= MAX_MESSAGE)
        .ok_or(ControlError::TooLarge("over 4 MiB"))
}

/// Reads the start message's bytes.
///
/// # Errors
///
/// When it is not JSON of that shape, of another version, or names too many descriptors.
pub fn decode_start(bytes: &[u8]) -> Result<StartMessage, ControlError> {
    let message: StartMessage = serde_json::from_slice(bytes)
        .map_err(|_cause| ControlError::Malformed("not a start message"))?;
    if message.version != VERSION {
        return Err(ControlError::Malformed(
            "supervisor and proxy are of different versions; install both from one build",
        ));
    }
    if message.descriptors.len() > MAX_DESCRIPTORS {
        return Err(ControlError::TooLarge("too many descriptors"));
    }
    Ok(message)
}

/// Reads the bytes of the message with the doors.
///
/// # Errors
///
/// When it is not JSON of that shape, or names too many.
pub fn decode_doors(bytes: &[u8]) -> Result<Vec<Door>, ControlError> {
    let message: DoorsMessage = serde_json::from_slice(bytes)
        .map_err(|_cause| ControlError::Malformed("not a message with doors"))?;
    if message.doors.len() > MAX_DESCRIPTORS {
        return Err(ControlError::TooLarge("too many descriptors"));
    }
    Ok(message.doors)
}

/// The credentials as bytes: for each, the name of its slot and the secret, each behind its length
/// (a `u8` and a big-endian `u32`). The buffer never grows after it was filled, so no copy is left.
pub(super) fn encode_credentials(
    credentials: &Credentials,
) -> Result<Zeroizing<Vec<u8>>, ControlError> {
    let written: Vec<_> = credentials
        .iter()
        .map(|(slot, it)| (slot, it.written()))
        .collect();
    let size = written.iter().map(|(slot, it)| 5 + slot.len() + it.len());
    let mut bytes = Zeroizing::new(Vec::with_capacity(size.sum()));
    for (slot, credential) in written {
        let name =
            u8::try_from(slot.len()).map_err(|_cause| ControlError::TooLarge("name of a slot"))?;
        bytes.push(name);
        bytes.extend_from_slice(slot.as_bytes());
        bytes.extend_from_slice(&prefix(credential.len())?);
        bytes.extend_from_slice(&credential);
    }
    Ok(bytes)
}

/// Reads the credentials' bytes.
///
/// # Errors
///
/// When lengths do not add up, a slot is named twice, or a value is no credential.
pub fn decode_credentials(mut bytes: &[u8]) -> Result<Credentials, ControlError> {
    const CUT: ControlError = ControlError::Malformed("the credentials end too early");
    let mut credentials = Credentials::new();
    while let Some((name_length, rest)) = bytes.split_first() {
        let (name, rest) = rest
            .split_at_checked(usize::from(*name_length))
            .ok_or(CUT)?;
        let (size, rest) = rest.split_first_chunk::<4>().ok_or(CUT)?;
        let (value, rest) = rest.split_at_checked(length(*size)?).ok_or(CUT)?;
        let slot = std::str::from_utf8(name)
            .ok()
            .filter(|it| credentials.get(it).is_none())
            .ok_or(ControlError::Malformed("a second credential for a slot"))?;
        let credential = Credential::new(value.to_vec())
            .map_err(|_cause| ControlError::Malformed("a value that cannot be a credential"))?;
        credentials.insert(slot, credential);
        bytes = rest;
    }
    Ok(credentials)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{control::Role, settings::RawSettings};

    #[test]
    fn start_message_comes_back() {
        let message = StartMessage {
            version: VERSION,
            settings: RawSettings {
                run: Some("r1".to_owned()),
                ..RawSettings::default()
            },
            descriptors: vec![Role::FlowMap, Role::RequestLog],
        };
        let bytes = serde_json::to_vec(&message).unwrap();
        assert_eq!(decode_start(&bytes).unwrap(), message);
        for end in 0..bytes.len() {
            assert!(decode_start(&bytes[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn doors_come_back() {
        let provider = "openai".to_owned();
        let doors = vec![Door::Gateway { provider }, Door::DnsUdp];
        let message = DoorsMessage {
            doors: doors.clone(),
        };
        let bytes = serde_json::to_vec(&message).unwrap();
        assert_eq!(decode_doors(&bytes).unwrap(), doors);
        for end in 0..bytes.len() {
            assert!(decode_doors(&bytes[..end]).is_err(), "cut at {end}");
        }
        let many = vec![Door::DnsTcp; MAX_DESCRIPTORS + 1];
        let bytes = serde_json::to_vec(&DoorsMessage { doors: many }).unwrap();
        assert!(matches!(
            decode_doors(&bytes),
            Err(ControlError::TooLarge(_))
        ));
    }

    #[test]
    fn unknown_fields_and_other_versions_are_refused() {
        let unknown = br#"{"version":2,"settings":{"limit":{}},"descriptors":[]}"#;
        assert!(matches!(
            decode_start(unknown),
            Err(ControlError::Malformed(_))
        ));
        let other = br#"{"version":1,"settings":{},"descriptors":[]}"#;
        assert!(matches!(
            decode_start(other),
            Err(ControlError::Malformed(_))
        ));
    }

    #[test]
    fn credentials_come_back_and_cut_ones_do_not() {
        let mut sent = Credentials::new();
        for (name, value) in [("openai", "sk-real"), ("anthropic", "sk-ant-real")] {
            let value = Credential::new(value.as_bytes().to_vec()).unwrap();
            sent.insert(name, value);
        }
        let part = |text: &str| Zeroizing::new(text.as_bytes().to_vec());
        let signs = Credential::access_key(part("AKIA1"), part("a/b+c"), Some(part("t==")));
        sent.insert("signs", signs.unwrap());
        let bytes = encode_credentials(&sent).unwrap();
        let received = decode_credentials(&bytes).unwrap();
        assert_eq!(received, sent);
        assert!(received.get("openai").unwrap().matches(b"sk-real"));
        assert!(received.get("anthropic").unwrap().matches(b"sk-ant-real"));
        let first = 1 + "anthropic".len() + 4 + "sk-ant-real".len();
        let whole = [first, first + 1 + "openai".len() + 4 + "sk-real".len()];
        for end in (1..bytes.len()).filter(|it| !whole.contains(it)) {
            assert!(decode_credentials(&bytes[..end]).is_err(), "cut at {end}");
        }
        assert!(decode_credentials(&[]).unwrap().is_empty());
        let twice = [bytes.as_slice(), bytes.as_slice()].concat();
        assert!(decode_credentials(&twice).is_err());
    }
}
