// SPDX-License-Identifier: MIT OR Apache-2.0
//! A preload library (`LD_PRELOAD`) for programs that insist on a secret in an environment variable.
//!
//! The variables that `KEYWARD_ONE_SHOT` names (with commas between them) belong to one process: the one that they were
//! given to, whatever it executes itself to be. Before `main` runs, and before any thread but the first does,
//!
//! - each is copied to memory that is locked, left out of core dumps, and empty in a fork (`MADV_WIPEONFORK`,
//!   Linux 4.14);
//! - the bytes that the kernel laid on the stack, which `/proc/PID/environ` shows, are overwritten;
//! - the entry of `environ` points to the copy. So `getenv`, `secure_getenv` and whoever walks `environ` by himself (shells,
//!   Python) find what they look for, and `setenv`, `unsetenv`, `putenv` and `clearenv` do what they always do: nothing
//!   of the C library's is replaced there, and nothing has to be made safe for threads anew.
//!
//! A child gets none of it. In a fork the copy is empty and the entry is taken out; what a program copied for itself is
//! taken out of what it hands to `execve` and its kin, `posix_spawn`, `system` and `popen`, by the variable's name. When
//! the process itself executes another program (`env`, `sh -c`, a wrapper), that one is the process now, and begins here
//! again. At exit the copy is wiped.
//!
//! What it cannot do: it is not loaded into programs that are static, or that the kernel runs with more rights than their
//! caller (`AT_SECURE`); those have the variable as ever, in plain sight. A program that makes its system calls by
//! itself (Go) hands its environment to its children past this. `execl`, `execlp` and `execle` are not seen, which matters
//! behind `vfork` alone. Another process of the same user that may trace this one can read its memory. And the program
//! that has the secret may do with it what it likes.
#![deny(unsafe_code)]

mod names;
#[cfg_attr(
    test,
    expect(
        dead_code,
        reason = "the tests' own program is not to be changed by it"
    )
)]
#[expect(
    unsafe_code,
    reason = "an environment is pointers, and a preload library is symbols"
)]
mod sys;
