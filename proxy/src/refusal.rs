// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a request was not simply forwarded, and whose fault it was: the workload's ([`Refusal`]), the
//! provider's side ([`UpstreamFault`]), or ours ([`Fault::Internal`]).
//!
//! The reasons themselves are part of the one list, in `firewall-common`; the answer's body, the log
//! line and the metric label take the same name from there. What each is answered with is decided in
//! one place, `respond`.

use firewall_common::Reason;
pub use firewall_common::{Refusal, UpstreamFault};

/// Everything that stops a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The workload's request is not acceptable, or not allowed.
    Downstream(Refusal),
    /// The provider, or the way to it, failed.
    Upstream(UpstreamFault),
    /// Something that should not happen here; the text goes to the log only.
    Internal(&'static str),
}

impl Fault {
    /// Stable name of the reason.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Downstream(refusal) => refusal.name(),
            Self::Upstream(fault) => fault.name(),
            Self::Internal(_) => Reason::InternalError.name(),
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Downstream(refusal)
    }
}

impl From<UpstreamFault> for Fault {
    fn from(fault: UpstreamFault) -> Self {
        Self::Upstream(fault)
    }
}
