// SPDX-License-Identifier: GPL-3.0-or-later
//! The map from [`firewall_common::FlowKey`] to [`firewall_common::FlowInfo`]: written by the programs, read by the
//! proxy.

use std::{
    fmt, io,
    os::fd::{AsFd, BorrowedFd},
};

use aya::maps::{HashMap, Map, MapData, MapError};
use firewall_common::{FlowInfo, FlowKey};

use super::{EbpfError, object::FLOWS};

/// The connections to the proxy.
pub(super) struct Flows(MapData);

impl Flows {
    pub(super) fn new(map: MapData) -> Self {
        Self(map)
    }

    /// Forgets every connection.
    pub(super) fn reset(&self) -> Result<(), EbpfError> {
        let failed = |source: MapError| EbpfError::Map {
            name: FLOWS,
            source: Box::new(source),
        };
        let fd = self.0.fd().as_fd().try_clone_to_owned();
        let fd = fd.map_err(|error| EbpfError::ReadBack {
            name: FLOWS,
            source: error,
        })?;
        let map = Map::LruHashMap(MapData::from_fd(fd).map_err(failed)?);
        let mut map = HashMap::<_, [u8; FlowKey::SIZE], [u8; FlowInfo::SIZE]>::try_from(map)
            .map_err(failed)?;
        let keys = map.keys().collect::<Result<Vec<_>, _>>().map_err(failed)?;
        for key in keys {
            match map.remove(&key) {
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

impl fmt::Debug for Flows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flows").finish_non_exhaustive()
    }
}

impl AsFd for Flows {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd().as_fd()
    }
}
