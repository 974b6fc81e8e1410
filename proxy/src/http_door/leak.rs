// SPDX-License-Identifier: MIT OR Apache-2.0
//! Secrets in a request's head.

use firewall_common::Reason;
use http::{HeaderMap, StatusCode};

use super::{Answer, Link, target::Target};
use crate::{egress::Permit, scan::Finding};

/// Looks at what is sent on of the workload's head.
pub(super) fn look(
    link: &Link,
    permit: &mut Permit,
    target: &Target,
    headers: &HeaderMap,
) -> Result<(), Answer> {
    let Some(scanner) = &link.egress.scanner else {
        return Ok(());
    };
    let found = scanner.find(target.path.as_bytes());
    let found = found.or_else(|| headers.values().find_map(|it| scanner.find(it.as_bytes())));
    let Some(finding) = found else { return Ok(()) };
    // The line of the request has its path.
    permit.forget_path();
    link.egress.write_leak(permit.question(), &finding);
    match scanner.blocks() {
        true => Err(answer(&finding)),
        false => Ok(()),
    }
}

/// The answer to a request that holds a secret.
pub(super) fn answer(finding: &Finding) -> Answer {
    let message = format!("{}.", finding.message());
    Answer::malformed(StatusCode::FORBIDDEN, Reason::SecretLeak, message)
}
