// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which name stands behind which address that our DNS gave out.
//!
//! With synthetic answers an address stands for one name alone ([`pool`]), so that a connection to it names its host
//! exactly. With real ones an address may stand for several ([`real`]), and what the connection itself says has to
//! choose among them.

mod pool;
mod real;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use keyward_policy::Name;

use self::{pool::Pool, real::Real};
use keyward_policy::Answers;

/// How long an address still stands for a name that it was last given to, or last used for. Far beyond the time for
/// which an answer may be kept (`dns::TTL`): programs keep addresses longer than they may.
pub(crate) const QUARANTINE: Duration = Duration::from_secs(30 * 60);

/// The addresses that were given out.
#[derive(Debug, Default)]
pub(crate) struct Names {
    answers: Answers,
    pool: Mutex<Pool>,
    real: Mutex<Real>,
}

/// What stands behind an address that a connection was going to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    /// The one name that it was given to.
    Name(Name),
    /// Real answers: the names that were answered with it, newest first.
    Names(Vec<Name>),
    /// It is of the pool, and no name has it (any more).
    Stale,
    /// Nothing: it is not ours.
    Nothing,
}

impl Names {
    pub(crate) fn new(answers: Answers) -> Self {
        Self {
            answers,
            ..Self::default()
        }
    }

    /// What an allowed name is answered with.
    pub(crate) fn answers(&self) -> Answers {
        self.answers
    }

    /// The addresses that stand for this name, given out now if they were not before. `None` when every address still
    /// stands for another name: then nobody gets one, for a wrong name would be worse than none.
    pub(crate) fn give(&self, name: &Name) -> Option<(Ipv4Addr, Ipv6Addr)> {
        lock(&self.pool).give(name, Instant::now())
    }

    /// The IPv4 address that this name was given, if it was.
    pub(crate) fn given(&self, name: &Name) -> Option<Ipv4Addr> {
        lock(&self.pool).given(name)
    }

    /// Notes that a name was answered with these addresses of its own, for so long. False when there is no room, and
    /// they must not be answered.
    pub(crate) fn remember(&self, name: &Name, addresses: &[IpAddr], ttl: Duration) -> bool {
        let now = Instant::now();
        lock(&self.real).remember(name, addresses, now, now + ttl + QUARANTINE)
    }

    /// What stands behind an address.
    pub(crate) fn behind(&self, address: IpAddr) -> Behind {
        let (address, now) = (address.to_canonical(), Instant::now());
        match lock(&self.pool).behind(address, now) {
            Behind::Nothing => {
                let names = lock(&self.real).behind(address, now);
                if names.is_empty() {
                    Behind::Nothing
                } else {
                    Behind::Names(names)
                }
            }
            known @ (Behind::Name(_) | Behind::Names(_) | Behind::Stale) => known,
        }
    }
}

/// A panic under the lock leaves nothing half done: every change is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
