// SPDX-License-Identifier: MIT OR Apache-2.0
//! The control conversation's messages, and the settings inside.

use keyward_proxy::{
    control::{decode_credentials, decode_doors, decode_start},
    settings::Settings,
};

/// One execution.
pub fn run(bytes: &[u8]) {
    if let Ok(message) = decode_start(bytes) {
        drop(Settings::try_from(message.settings));
    }
    drop(decode_doors(bytes));
    if let Ok(credentials) = decode_credentials(bytes) {
        assert!(!format!("{credentials:?}").contains("sk-"));
    }
}
