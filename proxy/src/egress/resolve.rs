// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of upstreams to addresses, as the host would, or as the servers do that were named instead.
//!
//! Answers are kept for seconds, so that a workload that opens many connections does not make as many questions of
//! them, and so that one that fails is not asked for again at once.

mod host;
mod hosts;
mod servers;

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use keyward_policy::Name;
use tokio::sync::OnceCell;

use self::{host::HostResolver, servers::Servers};
use crate::{settings::Dns, upstream::tls::Tls};

/// How long addresses are kept at most. The host's resolver does not say for how long they hold; whoever changes an
/// address by hand does not want to wait.
const KEPT: Duration = Duration::from_secs(10);

/// How long it is remembered that there are none.
const KEPT_FAILED: Duration = Duration::from_secs(2);

/// Most names that are kept.
const MOST: usize = 4096;

/// Looks names up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resolver(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    host: HostResolver,
    /// Asked in place of the host, if there are any.
    servers: Option<Servers>,
    kept: Mutex<HashMap<Name, Arc<Flight>>>,
}

/// The addresses of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) addresses: Vec<IpAddr>,
    /// For how long, if that is known.
    pub(crate) ttl: Option<Duration>,
}

/// Why there are none. Kept, and so told to everybody who asks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Failure {
    #[error("there is no such name, or it has no address")]
    NotFound,
    #[error("{0}")]
    Failed(Arc<str>),
}

type Landed = Result<Found, Failure>;

/// One look-up, for everybody who wants the same.
#[derive(Debug, Default)]
struct Flight(OnceCell<(Landed, Instant)>);

impl Resolver {
    pub(crate) fn new(settings: &Dns, tls: Tls) -> Self {
        let servers = settings.servers.clone();
        Self(Arc::new(Shared {
            servers: (!servers.is_empty()).then(|| Servers::new(servers, tls)),
            ..Shared::default()
        }))
    }

    /// The addresses of a name.
    pub(crate) async fn resolve(&self, name: &Name) -> io::Result<Vec<IpAddr>> {
        self.look_up(name).await.map(|it| it.addresses)
    }

    /// The addresses of a name, and for how long. [`io::ErrorKind::NotFound`] when it is known that there are none.
    pub(crate) async fn look_up(&self, name: &Name) -> io::Result<Found> {
        let flight = self.0.flight(name, Instant::now());
        let landed = match flight.0.get() {
            Some(landed) => landed.0.clone(),
            None => {
                // In a task, so that it comes to an end, and is of use, also when whoever asked first has gone.
                let (shared, name) = (Arc::clone(&self.0), name.clone());
                let task = async move { flight.land(&shared, &name).await };
                tokio::spawn(task).await.map_err(io::Error::other)?
            }
        };
        landed.map_err(|failure| match failure {
            Failure::NotFound => io::Error::new(io::ErrorKind::NotFound, failure),
            Failure::Failed(_) => io::Error::other(failure),
        })
    }
}

impl Shared {
    /// The look-up of this name that goes on, or whose result still holds; else a new one.
    fn flight(&self, name: &Name, now: Instant) -> Arc<Flight> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = kept.get(name).filter(|it| it.holds(now)) {
            return Arc::clone(flight);
        }
        if kept.len() >= MOST {
            kept.retain(|_, it| it.holds(now));
        }
        let flight = Arc::<Flight>::default();
        if kept.len() < MOST {
            kept.insert(name.clone(), Arc::clone(&flight));
        }
        flight
    }
}

impl Flight {
    fn holds(&self, now: Instant) -> bool {
        self.0.get().is_none_or(|(_, until)| *until > now)
    }

    async fn land(&self, shared: &Shared, name: &Name) -> Landed {
        let look = || async {
            let landed = match &shared.servers {
                Some(servers) => servers.look_up(&shared.host, name).await,
                None => shared.host.look_up(name).await,
            };
            let kept = match &landed {
                Ok(found) => found.ttl.unwrap_or(KEPT).min(KEPT),
                Err(_) => KEPT_FAILED,
            };
            (landed, Instant::now() + kept)
        };
        self.0.get_or_init(look).await.0.clone()
    }
}
