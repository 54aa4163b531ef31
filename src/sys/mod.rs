//! The only unsafe code: one family of system calls a file, one system call a function.
//!
//! Wraps what `nix` and `landlock` do not. Owns no policy, keeps no state, logs nothing; every function returns the
//! kernel's answer as it is.
#![expect(unsafe_code, reason = "system calls without a safe wrapper; nowhere else in the crate")]

pub mod abi;
pub mod attributes;
pub mod audit;
pub mod interface;
pub mod keyring;
pub mod lease;
pub mod listing;
pub mod memory;
pub mod mounts;
pub mod pidfd;
pub mod pipes;
pub mod process;
pub mod readiness;
pub mod resolving;
pub mod seccomp;
pub mod socket;
pub mod terminal;

use nix::errno::Errno;

/// The kernel's answer to a raw call: a value, or the errno that it left.
fn answer(returned: libc::c_long) -> Result<libc::c_long, Errno> {
    Errno::result(returned)
}
