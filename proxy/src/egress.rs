// SPDX-License-Identifier: MIT OR Apache-2.0
//! Egress by host name: what the doors share.
//!
//! A door finds out whom a connection is for and asks [`Egress::judge`]. A [`Permit`] is the only thing that can be
//! dialled ([`dial`]), and a dialled connection is carried under the eyes of a [`Connection`], which a new policy can
//! end and which writes its line when it is over. A denial writes its line at once.

mod dial;
mod judge;
mod leak;
mod line;
mod names;
mod open;
mod query;
mod resolve;
pub(crate) mod tunnel;
mod via;

use std::sync::Arc;

use arc_swap::ArcSwap;
use keyward_policy::Policy;

pub(crate) use self::{
    dial::{Dialled, Dialler, Form, Undialled},
    judge::{Denial, Door, Permit, Question, lets_through},
    names::{Behind, Names},
    open::{Connection, Open},
    query::Query,
    resolve::{Found, Resolver},
    via::{Via, ViaFault},
};
use crate::{
    peers::Peers, request_log::RequestLog, scan::Scanner, settings::Limits, telemetry::Telemetry,
};

/// What the doors share.
pub(crate) struct Egress {
    pub(crate) run: Option<String>,
    pub(crate) limits: Limits,
    pub(crate) peers: Arc<Peers>,
    /// One line a decision.
    pub(crate) audit: RequestLog,
    /// Which name stands behind which address that our DNS gave out.
    pub(crate) names: Names,
    pub(crate) dialler: Dialler,
    /// Looks for secrets, if that is asked for.
    pub(crate) scanner: Option<Scanner>,
    /// Is told of each decision, if somebody asked for that.
    pub(crate) telemetry: Telemetry,
    policy: ArcSwap<Policy>,
    open: Open,
}

impl Egress {
    pub(crate) fn new(
        run: Option<String>,
        limits: Limits,
        peers: Arc<Peers>,
        audit: RequestLog,
        names: Names,
        dialler: Dialler,
        policy: Policy,
    ) -> Self {
        Self {
            run,
            limits,
            peers,
            audit,
            names,
            dialler,
            scanner: None,
            telemetry: Telemetry::default(),
            policy: ArcSwap::from_pointee(policy),
            open: Open::default(),
        }
    }

    /// The policy that is in force now.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// Puts another policy in force: for what comes, and for what is open. Says how many connections it ended.
    pub(crate) fn replace_policy(&self, policy: Policy) -> usize {
        let policy = Arc::new(policy);
        self.policy.store(Arc::clone(&policy));
        self.open.judge_again(&policy)
    }

    /// What is open now.
    pub(crate) fn open(&self) -> &Open {
        &self.open
    }
}
