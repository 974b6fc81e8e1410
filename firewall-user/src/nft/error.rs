// SPDX-License-Identifier: GPL-3.0-or-later
//! What can go wrong between a rule set and the kernel, and what to do about it.

use std::fmt;
use std::io;

use rustables::error::{BuilderError, QueryError};

/// nftables could not be made to hold the rule set.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The netlink messages could not be built.
    #[error("building the nftables transaction")]
    Build(#[source] BuilderError),
    /// The kernel refused the transaction; the table is as it was before.
    #[error("applying the nftables rules{}", hint(.0))]
    Apply(#[source] io::Error),
    /// The rules could not be read back.
    #[error("reading the nftables rules back{}", hint(.0))]
    Read(#[source] io::Error),
    /// The kernel's answer could not be understood.
    #[error("reading the nftables rules back: {0}")]
    Answer(String),
    /// What is in force is not what was meant.
    #[error("the nftables rules in force are not those that were meant: {0}")]
    Differs(Difference),
}

/// The first difference between the rule set that was meant and the one that was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// There is no table of keyward's.
    NoTable,
    /// The table has flags: it may be dormant, or belong to another process.
    TableFlags {
        /// `NFT_TABLE_F_*` of `linux/netfilter/nf_tables.h`.
        flags: u32,
    },
    /// The table holds other chains, or the same in another order.
    Chains {
        /// The names that were meant.
        meant: Vec<String>,
        /// The names that were found.
        found: Vec<String>,
    },
    /// A chain is hooked elsewhere, or has another priority, type, policy or flags.
    Chain {
        /// The chain's name.
        chain: String,
        /// What was meant, in words.
        meant: String,
        /// What was found, in the same words.
        found: String,
    },
    /// A rule is another one, or is missing.
    Rule {
        /// The chain's name.
        chain: String,
        /// Position in the chain, from 1.
        position: usize,
        /// The rule that was meant, in nft's syntax.
        meant: String,
    },
    /// A chain holds more rules than it should.
    ExtraRules {
        /// The chain's name.
        chain: String,
        /// How many rules were meant.
        meant: usize,
        /// How many were found.
        found: usize,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTable => write!(f, "there is no table inet {}", super::TABLE),
            Self::TableFlags { flags } => {
                write!(f, "the table has the flags {flags:#x} and should have none")
            }
            Self::Chains { meant, found } => {
                write!(
                    f,
                    "the chains are {}, not {}",
                    found.join(", "),
                    meant.join(", ")
                )
            }
            Self::Chain {
                chain,
                meant,
                found,
            } => {
                write!(f, "chain {chain} is `{found}`, not `{meant}`")
            }
            Self::Rule {
                chain,
                position,
                meant,
            } => {
                write!(f, "rule {position} of chain {chain} is not `{meant}`")
            }
            Self::ExtraRules {
                chain,
                meant,
                found,
            } => {
                write!(f, "chain {chain} has {found} rules, not {meant}")
            }
        }
    }
}

impl NftError {
    pub(super) fn build(error: BuilderError) -> Self {
        Self::Build(error)
    }

    pub(super) fn send(error: QueryError) -> Self {
        match system_error(error) {
            Ok(error) => Self::Apply(error),
            Err(error) => error,
        }
    }

    pub(super) fn read(error: QueryError) -> Self {
        match system_error(error) {
            Ok(error) => Self::Read(error),
            Err(error) => error,
        }
    }
}

/// The kernel's error number, which rustables' own message leaves out.
fn system_error(error: QueryError) -> Result<io::Error, NftError> {
    match error {
        QueryError::NetlinkOpenError(error)
        | QueryError::NetlinkSendError(error)
        | QueryError::NetlinkRecvError(error)
        | QueryError::CloseFailed(error) => Ok(error.into()),
        QueryError::NetlinkError(answer) => Ok(io::Error::from_raw_os_error(answer.error)),
        QueryError::BuilderError(error) => Err(NftError::Build(error)),
        other @ (QueryError::ProcessNetlinkError(_)
        | QueryError::NetlinkAllocationFailed
        | QueryError::NotNetlinkSocket
        | QueryError::RetrievingSocketInfoFailed
        | QueryError::TruncatedSend
        | QueryError::UndecidableMessageTermination
        | QueryError::BindFailed) => Err(NftError::Answer(other.to_string())),
    }
}

/// The usual cause of an error number here, and its cure.
fn hint(error: &io::Error) -> &'static str {
    match error
        .raw_os_error()
        .map(rustix::io::Errno::from_raw_os_error)
    {
        Some(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS) => {
            " (it takes CAP_NET_ADMIN over the network namespace: run keyward as root)"
        }
        Some(
            rustix::io::Errno::PROTONOSUPPORT
            | rustix::io::Errno::AFNOSUPPORT
            | rustix::io::Errno::OPNOTSUPP
            | rustix::io::Errno::INVAL,
        ) => " (the kernel seems to lack nftables: try `modprobe nf_tables nf_tables_inet`)",
        Some(rustix::io::Errno::NOENT) => {
            " (the kernel seems to lack a part of nftables: try `modprobe -a nf_tables nft_reject_inet`)"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_privilege_says_so() {
        let error = NftError::Apply(io::Error::from_raw_os_error(1));
        assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
    }

    #[test]
    fn a_missing_module_says_which() {
        let error = NftError::Apply(io::Error::from_raw_os_error(93));
        assert!(error.to_string().contains("modprobe nf_tables"), "{error}");
    }

    #[test]
    fn a_difference_is_named_in_words() {
        let difference = Difference::Rule {
            chain: "output".into(),
            position: 2,
            meant: "goto denied".into(),
        };
        insta::assert_snapshot!(
            NftError::Differs(difference),
            @"the nftables rules in force are not those that were meant: rule 2 of chain output is not `goto denied`"
        );
    }
}
