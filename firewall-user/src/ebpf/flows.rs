// SPDX-License-Identifier: GPL-3.0-or-later
//! The map from [`firewall_common::FlowKey`] to [`firewall_common::FlowInfo`]: written by the programs, read by the
//! proxy.

use std::{
    fmt, io,
    os::fd::{AsFd, BorrowedFd},
};

use aya::maps::{HashMap, IterableMap as _, Map, MapData, MapError};
use firewall_common::{FlowInfo, FlowKey};

use super::{EbpfError, object::FLOWS};

/// The connections to the proxy.
pub(super) struct Flows {
    map: HashMap<MapData, [u8; FlowKey::SIZE], [u8; FlowInfo::SIZE]>,
}

impl Flows {
    pub(super) fn new(map: MapData) -> Result<Self, EbpfError> {
        Ok(Self {
            map: HashMap::try_from(Map::LruHashMap(map)).map_err(failed)?,
        })
    }

    /// Forgets every connection.
    pub(super) fn reset(&mut self) -> Result<(), EbpfError> {
        let keys = self.map.keys().collect::<Result<Vec<_>, _>>();
        for key in keys.map_err(failed)? {
            match self.map.remove(&key) {
                // The least recently used go by themselves.
                Ok(()) => {}
                Err(MapError::SyscallError(error))
                    if error.io_error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }
}

fn failed(source: MapError) -> EbpfError {
    EbpfError::Map {
        name: FLOWS,
        source: Box::new(source),
    }
}

impl fmt::Debug for Flows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flows").finish_non_exhaustive()
    }
}

impl AsFd for Flows {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.map().fd().as_fd()
    }
}
