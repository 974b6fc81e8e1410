// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a process that holds credentials does to itself before it gets them.

mod seccomp;

use rustix::{
    io::Errno,
    process::{DumpableBehavior, Resource, Rlimit, Signal},
    thread::CapabilitySet,
};

/// Why the process is not fit to hold credentials.
#[derive(Debug, thiserror::Error)]
pub enum HardenError {
    /// A system call failed.
    #[error("{call} failed")]
    Call {
        /// The call.
        call: &'static str,
        /// What the kernel said.
        #[source]
        source: Errno,
    },
    /// The seccomp filter could not be made or put in force.
    #[error("seccomp filter")]
    Seccomp(#[source] seccompiler::Error),
    /// The supervisor left it capabilities.
    #[error("the proxy was started with capabilities; the supervisor must drop them before exec")]
    Capabilities,
}

/// Makes this process unreadable for others and unable to gain anything: no core dump, no ptrace by
/// the same user, no readable `/proc/<pid>`, no set-user-id program.
///
/// # Errors
///
/// When the kernel refuses; then no credential may be taken.
pub fn harden() -> Result<(), HardenError> {
    hide()?;
    rustix::thread::set_no_new_privs(true).map_err(failed("prctl(PR_SET_NO_NEW_PRIVS)"))?;
    // Last: the filter refuses some of the above. Before any thread: they inherit it.
    for filter in [seccomp::filter(), seccomp::clone3_filter()] {
        let filter = filter.map_err(|error| HardenError::Seccomp(error.into()))?;
        seccompiler::apply_filter(&filter).map_err(HardenError::Seccomp)?;
    }
    Ok(())
}

/// The part of it that leaves a process able to start others.
///
/// # Errors
///
/// When the kernel refuses.
pub fn hide() -> Result<(), HardenError> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Core, none).map_err(failed("setrlimit(RLIMIT_CORE)"))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(failed("prctl(PR_SET_DUMPABLE)"))
}

/// For a supervised process: dies with its parent, and refuses to have capabilities.
///
/// The control socket's end says the same a little later, and also when only a thread of the
/// supervisor died (which is when the kernel sends this signal); both ends are the right one.
///
/// # Errors
///
/// When the kernel refuses, or there are capabilities.
pub fn be_supervised() -> Result<(), HardenError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(failed("prctl(PR_SET_PDEATHSIG)"))?;
    let sets = rustix::thread::capabilities(None).map_err(failed("capget"))?;
    let all = sets.effective | sets.permitted | sets.inheritable;
    if all == CapabilitySet::empty() {
        Ok(())
    } else {
        Err(HardenError::Capabilities)
    }
}

fn failed(call: &'static str) -> impl Fn(Errno) -> HardenError {
    move |source| HardenError::Call { call, source }
}
