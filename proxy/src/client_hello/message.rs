// SPDX-License-Identifier: MIT OR Apache-2.0
//! The body of a ClientHello, whole.

use keyward_policy::Name;

use super::{ClientHello, Fault, cursor::Cursor};

/// `legacy_version`: TLS 1.0 to 1.2. TLS 1.3 says 1.2 here; SSL 3 is not spoken any more.
const VERSIONS: std::ops::RangeInclusive<u16> = 0x0301..=0x0303;

/// Extension `server_name` (RFC 6066).
const SERVER_NAME: u16 = 0;

/// Type of the only kind of server name there is.
const HOST_NAME: u8 = 0;

/// Extension `encrypted_client_hello` (RFC 9849), and the numbers that its drafts had while servers tried them.
///
/// Browsers send it to every host, with nothing in it where the host offers no key (GREASE), so that nobody can tell the
/// two apart. Nor can this: whoever lets one pass lets through what is for another host behind the same server.
const ENCRYPTED: [u16; 9] = [
    0xfe08, 0xfe09, 0xfe0a, 0xfe0b, 0xfe0c, 0xfe0d, 0xff02, 0xff03, 0xffce,
];

/// Reads what follows the message's header.
pub(super) fn read(body: &[u8]) -> Result<ClientHello, Fault> {
    let mut body = Cursor::new(body);
    if !VERSIONS.contains(&body.u16()?) {
        return Err(Fault::Malformed);
    }
    let _random = body.take(32)?;
    let session = body.vector8()?;
    let suites = body.vector16()?;
    let compression = body.vector8()?;
    if session.rest().len() > 32
        || suites.is_empty()
        || suites.rest().len() % 2 != 0
        || compression.is_empty()
    {
        return Err(Fault::Malformed);
    }
    // TLS 1.0 had no extensions.
    if body.is_empty() {
        return Ok(ClientHello { server_name: None });
    }
    let extensions = body.vector16()?;
    body.end()?;
    self::extensions(extensions)
}

fn extensions(mut left: Cursor<'_>) -> Result<ClientHello, Fault> {
    let mut server_name = None;
    let mut encrypted = false;
    let mut kinds = Vec::new();
    while !left.is_empty() {
        let kind = left.u16()?;
        let data = left.vector16()?;
        if kind == SERVER_NAME {
            server_name = Some(self::server_name(data)?);
        }
        encrypted |= ENCRYPTED.contains(&kind);
        kinds.push(kind);
    }
    // Which of two would count is anybody's guess (RFC 8446, section 4.2, forbids it).
    kinds.sort_unstable();
    if kinds.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Fault::Malformed);
    }
    if encrypted {
        return Err(Fault::Encrypted);
    }
    Ok(ClientHello { server_name })
}

/// Exactly one host name, as a client has to write it: in ASCII, without a dot at the end, no address.
fn server_name(mut data: Cursor<'_>) -> Result<Name, Fault> {
    let mut list = data.vector16()?;
    data.end()?;
    let kind = list.u8()?;
    let name = list.vector16()?.rest();
    if kind != HOST_NAME || !list.is_empty() || !name.is_ascii() || name.ends_with(b".") {
        return Err(Fault::ServerName);
    }
    str::from_utf8(name)
        .ok()
        .and_then(|name| name.parse().ok())
        .ok_or(Fault::ServerName)
}
