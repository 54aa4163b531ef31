//! Versions that the kernel tells.

use super::answer;

/// `LANDLOCK_CREATE_RULESET_VERSION`.
const VERSION: libc::c_uint = 1;

/// The newest Landlock ABI, or 0 when the kernel has none or it is off. landlock_create_ruleset(2).
pub fn landlock() -> u32 {
    // SAFETY: a null attribute of size 0 with this flag only asks for the version.
    let version = answer(unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0, VERSION)
    });
    version.ok().and_then(|version| u32::try_from(version).ok()).unwrap_or(0)
}
