// SPDX-License-Identifier: GPL-3.0-or-later
//! Loading: the maps are made and the verifier reads the programs. Nothing is enforced yet.

use std::{os::fd::AsFd, path::Path};

use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use firewall_common::Endpoints;

use super::{
    Attached, EbpfError,
    object::{ENDPOINTS, OBJECT},
    programs::{self, PROGRAMS},
};

/// The programs and their maps, in the kernel, attached to nothing. Dropping it removes them.
#[derive(Debug)]
pub struct Loaded {
    pub(super) ebpf: Ebpf,
}

/// Loads the programs with `endpoints` as their frozen idea of where the proxy is.
///
/// # Errors
///
/// The kernel refuses: too old, no privilege, no memory.
pub fn load(endpoints: &Endpoints) -> Result<Loaded, EbpfError> {
    // The verifier is quiet at first: writing its log costs more than the verifying. A kernel that
    // refuses is asked again for its reasons.
    load_with(endpoints, VerifierLogLevel::DISABLE)
        .or_else(|_refused| load_with(endpoints, VerifierLogLevel::default()))
}

fn load_with(endpoints: &Endpoints, log: VerifierLogLevel) -> Result<Loaded, EbpfError> {
    let endpoints = endpoints.to_bytes();
    let mut ebpf = EbpfLoader::new()
        // No program reads a kernel struct by its type: the kernel's own BTF (5 MB) stays unread.
        .btf(None)
        .verifier_log_level(log)
        .override_global(ENDPOINTS, &endpoints, true)
        .load(OBJECT)
        .map_err(|source| EbpfError::Load(Box::new(source)))?;
    for spec in PROGRAMS {
        let name = spec.name;
        let program = ebpf.program_mut(name).ok_or(EbpfError::Missing { name })?;
        programs::load(program)
            .map_err(|source| EbpfError::Program { name, source: Box::new(source) })?;
    }
    Ok(Loaded { ebpf })
}

impl Loaded {
    /// Attaches every program to `cgroup`, pins every link in the directory `pins` (which is made, and
    /// must not exist), and reads back that the kernel shows all of them on that cgroup.
    ///
    /// # Errors
    ///
    /// One link is missing. What was attached before is detached again.
    pub fn attach(self, cgroup: impl AsFd, pins: &Path) -> Result<Attached, EbpfError> {
        Attached::attach(self, cgroup.as_fd(), pins)
    }
}
