// SPDX-License-Identifier: GPL-3.0-or-later
//! Giving up root, for good, and checking that it is gone.

use anyhow::{Context as _, Result, ensure};
use nix::unistd::{Gid, Uid, getgroups, getresgid, getresuid, setgroups, setresgid, setresuid};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities,
    capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_capabilities_secure_bits,
    set_no_new_privs,
};

/// Becomes the user, without capabilities in any set and without a way to get one.
///
/// The order is the only one that works: the bounding set and the secure bits need a capability, groups and group id
/// need root's, and the user id takes all of that away.
pub fn drop_to(uid: Uid, gid: Gid) -> Result<()> {
    empty_bounding_set()?;
    // With these a process of user id 0 (`--user root`) gets nothing for being 0.
    // The other bits stay free: ping sets one of them before it gives up what it does not have.
    let bits = CapabilitiesSecureBits::NO_ROOT | CapabilitiesSecureBits::NO_ROOT_LOCKED;
    set_capabilities_secure_bits(bits).context("cannot lock the secure bits")?;
    clear_ambient_capability_set().context("cannot clear the ambient capabilities")?;
    setgroups(&[]).context("cannot clear the supplementary groups")?;
    setresgid(gid, gid, gid).with_context(|| format!("cannot become group {gid}"))?;
    setresuid(uid, uid, uid).with_context(|| format!("cannot become user {uid}"))?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none).context("cannot drop the capabilities")?;
    set_no_new_privs(true).context("cannot set no_new_privs")?;
    verify(uid, gid)
}

/// Capabilities are numbered from 0; the kernel says with EINVAL where the last one is.
fn capability_numbers() -> impl Iterator<Item = CapabilitySet> {
    (0..u64::BITS).map(|number| CapabilitySet::from_bits_retain(1 << number))
}

fn empty_bounding_set() -> Result<()> {
    for capability in capability_numbers() {
        match capability_is_in_bounding_set(capability) {
            Ok(true) => remove_capability_from_bounding_set(capability)
                .with_context(|| format!("cannot drop {capability:?} from the bounding set"))?,
            Ok(false) => {}
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return Err(error).context("cannot read the bounding set"),
        }
    }
    Ok(())
}

/// Reads back what was set: a call that failed silently, or a kernel that does otherwise, must not be found out by
/// the workload first.
fn verify(uid: Uid, gid: Gid) -> Result<()> {
    let users = getresuid().context("cannot read the user ids back")?;
    let groups = getresgid().context("cannot read the group ids back")?;
    ensure!(
        [users.real, users.effective, users.saved] == [uid; 3],
        "the user id did not change"
    );
    ensure!(
        [groups.real, groups.effective, groups.saved] == [gid; 3],
        "the group id did not change"
    );
    ensure!(
        getgroups()
            .context("cannot read the supplementary groups back")?
            .is_empty(),
        "supplementary groups are left"
    );
    let sets = capabilities(None).context("cannot read the capabilities back")?;
    let left = sets.effective | sets.permitted | sets.inheritable;
    ensure!(left.is_empty(), "capabilities are left: {left:?}");
    for capability in capability_numbers() {
        match capability_is_in_bounding_set(capability) {
            Ok(is_left) => ensure!(!is_left, "{capability:?} is left in the bounding set"),
            Err(_beyond_the_last) => break,
        }
    }
    ensure!(
        rustix::thread::no_new_privs().context("cannot read no_new_privs back")?,
        "no_new_privs is not set"
    );
    Ok(())
}
