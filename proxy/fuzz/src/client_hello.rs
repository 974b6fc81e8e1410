// SPDX-License-Identifier: MIT OR Apache-2.0
//! A ClientHello: in pieces it is the same as whole, a part of it is never read as all of it, and a name is a name.

use keyward_proxy::client_hello::{ClientHello, Fault, Reader};

/// One execution.
pub fn run(bytes: &[u8]) {
    let whole = Reader::default().read(bytes);
    let mut reader = Reader::default();
    let mut found: Result<Option<ClientHello>, Fault> = Ok(None);
    let mut taken = 0;
    for byte in bytes {
        found = reader.read(&[*byte]);
        taken += 1;
        if !matches!(found, Ok(None)) {
            break;
        }
    }
    assert_eq!(whole, found);
    let Ok(Some(hello)) = found else { return };
    assert!(bytes.starts_with(&[22, 3]));
    // What follows is left alone.
    let mut longer = bytes[..taken].to_vec();
    longer.extend([23, 3, 3, 0, 1, 0]);
    assert_eq!(Reader::default().read(&longer), Ok(Some(hello.clone())));
    if let Some(name) = hello.server_name {
        let name = name.as_str();
        assert!(!name.is_empty() && name.len() <= 253 && name.is_ascii());
        assert!(!name.starts_with('.') && !name.ends_with('.') && !name.contains(".."));
        assert!(name.parse::<std::net::IpAddr>().is_err());
        let lower = bytes[..taken].to_ascii_lowercase();
        // In records of a few bytes it is in pieces.
        let in_one = usize::from(u16::from_be_bytes([bytes[3], bytes[4]])) + 5 == taken;
        assert!(!in_one || lower.windows(name.len()).any(|it| it == name.as_bytes()));
    }
}
