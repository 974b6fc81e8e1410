// SPDX-License-Identifier: GPL-3.0-or-later
//! What is done to the process that becomes the workload: its view of the file system, its privileges, Landlock, its
//! system calls, in this order.

pub mod files;
pub mod landlock;
pub mod mounts;
pub mod privileges;
pub mod seccomp;
pub mod view;
