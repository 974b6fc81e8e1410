// SPDX-License-Identifier: MIT OR Apache-2.0
//! The control conversation's messages, and the settings inside.
#![no_main]

use keyward_proxy::{
    control::{decode_credentials, decode_start},
    settings::Settings,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = decode_start(bytes) {
        drop(Settings::try_from(message.settings));
    }
    if let Ok(credentials) = decode_credentials(bytes) {
        assert!(!format!("{credentials:?}").contains("sk-"));
    }
});
