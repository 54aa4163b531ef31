//! Kernel keyrings, keyctl(2).

use nix::errno::Errno;

use super::answer;

const KEYCTL_GET_KEYRING_ID: libc::c_int = 0;
const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
const KEY_SPEC_SESSION_KEYRING: libc::c_int = -3;

/// Leaves the caller's session keyring for a new anonymous one. keyctl_join_session_keyring(3).
pub fn join_new_session() -> Result<(), Errno> {
    // SAFETY: a null name asks for an anonymous keyring; no memory is read.
    answer(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) })
        .map(drop)
}

/// Looks for this process's session keyring, without making one. keyctl_get_keyring_ID(3).
pub fn find_session() -> Result<(), Errno> {
    // SAFETY: numbers only.
    answer(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0) }).map(drop)
}
