//! Who the command is: credentials(7), user_namespaces(7).

use std::io::Write;

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use super::{Failed, Ids};
use crate::sys::{keyring, process};

/// Maps the one uid and gid of a new user namespace onto themselves. Called by its first process, before anything else.
pub fn map_into_user_namespace(ids: Ids) -> Result<(), Failed> {
    // The launcher's refusal to be inspected is inherited, and makes root the owner of these files.
    process::allow_inspection().map_err(Failed::at("map_into_user_namespace"))?;
    // setgroups must be denied before an unprivileged process may map a gid; user_namespaces(7).
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/gid_map", &format!("{0} {0} 1", ids.gid))?;
    write("/proc/self/uid_map", &format!("{0} {0} 1", ids.uid))
}

/// Leaves the caller's session keyring behind.
pub fn leave_keyring() -> Result<(), Failed> {
    match keyring::join_new_session() {
        // Kernels without keyrings have none to leave.
        Err(Errno::ENOSYS) | Ok(()) => Ok(()),
        // A container denies keyctl(2) as such: then nobody in it can use a keyring, and least of all the command.
        Err(Errno::EPERM) if keyring::find_session() == Err(Errno::EPERM) => Ok(()),
        Err(errno) => Err(Failed::at("leave_keyring")(errno)),
    }
}

/// Becomes `ids` for good, without supplementary groups. Clears the parent-death signal.
pub fn become_ids(ids: Ids) -> Result<(), Failed> {
    let failed = Failed::at("become_ids");
    let (uid, gid) = (Uid::from_raw(ids.uid), Gid::from_raw(ids.gid));
    setgroups(&[]).map_err(&failed)?;
    setresgid(gid, gid, gid).map_err(&failed)?;
    setresuid(uid, uid, uid).map_err(&failed)
}

fn write(path: &str, text: &str) -> Result<(), Failed> {
    let written = std::fs::File::options().write(true).open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| Failed::on("map_into_user_namespace", path)(errno_of(&error)))
}

/// The errno inside an I/O error.
pub fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
