// SPDX-License-Identifier: GPL-3.0-or-later
//! What is done to the process that becomes the workload, in the order of these modules: its view of the file
//! system, its privileges, its system calls.

pub mod files;
pub mod mounts;
pub mod privileges;
pub mod seccomp;
