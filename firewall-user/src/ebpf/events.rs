// SPDX-License-Identifier: GPL-3.0-or-later
//! What the programs tell: denials one by one, and how many there were.

use std::{
    fmt,
    os::fd::{AsFd, BorrowedFd},
};

use aya::maps::{IterableMap as _, Map, MapData, MapError, PerCpuArray, PerCpuValues, RingBuf};
use firewall_common::{COUNTERS as COUNTERS_LEN, Event, LOST_EVENTS, MalformedEvent, Reason};

use super::{
    EbpfError,
    object::{COUNTERS, EVENTS},
};

/// The ring buffer of denials. Poll it for `POLLIN`, then [`drain`](Self::drain).
pub struct Events {
    ring: RingBuf<MapData>,
}

impl Events {
    pub(super) fn new(map: MapData) -> Result<Self, EbpfError> {
        let failed = |source| EbpfError::Map {
            name: EVENTS,
            source: Box::new(source),
        };
        Ok(Self {
            ring: RingBuf::try_from(Map::RingBuf(map)).map_err(failed)?,
        })
    }

    /// Calls `each` for every denial that is there, oldest first, without waiting.
    pub fn drain(&mut self, mut each: impl FnMut(Result<Event, MalformedEvent>)) {
        while let Some(bytes) = self.ring.next() {
            each(Event::from_bytes(&bytes));
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

/// How often each reason denied, over all CPUs since the programs were loaded.
pub struct Counters {
    map: PerCpuArray<MapData, u64>,
}

impl Counters {
    pub(super) fn new(map: MapData) -> Result<Self, EbpfError> {
        let failed = |source| EbpfError::Map {
            name: COUNTERS,
            source: Box::new(source),
        };
        Ok(Self {
            map: PerCpuArray::try_from(Map::PerCpuArray(map)).map_err(failed)?,
        })
    }

    /// How many denials of this reason there were, reported one by one or not. 0 for reasons that are
    /// not the kernel's.
    ///
    /// # Errors
    ///
    /// The kernel does not give the counter.
    pub fn denials(&self, reason: Reason) -> Result<u64, EbpfError> {
        reason.counter().map_or(Ok(0), |counter| self.sum(counter))
    }

    /// How many denials found the ring buffer full: they were counted, and are in no event.
    ///
    /// # Errors
    ///
    /// The kernel does not give the counter.
    pub fn lost(&self) -> Result<u64, EbpfError> {
        self.sum(LOST_EVENTS)
    }

    /// Sets every counter to 0.
    pub(super) fn reset(&mut self) -> Result<(), EbpfError> {
        let failed = |source: MapError| EbpfError::Map {
            name: COUNTERS,
            source: Box::new(source),
        };
        for counter in 0..COUNTERS_LEN {
            let per_cpu = self.map.get(&counter, 0).map_err(failed)?;
            if per_cpu.iter().any(|count| *count != 0) {
                let zeros = PerCpuValues::try_from(vec![0; per_cpu.len()])
                    .map_err(|error| failed(error.into()))?;
                self.map.set(counter, zeros, 0).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn sum(&self, counter: u32) -> Result<u64, EbpfError> {
        let failed = |source: MapError| EbpfError::Map {
            name: COUNTERS,
            source: Box::new(source),
        };
        let per_cpu = self.map.get(&counter, 0).map_err(failed)?;
        Ok(per_cpu
            .iter()
            .fold(0, |sum: u64, count| sum.saturating_add(*count)))
    }
}

impl AsFd for Counters {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.map().fd().as_fd()
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counters").finish_non_exhaustive()
    }
}
