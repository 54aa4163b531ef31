//! The jail's own loopback. netdevice(7).

use nix::errno::Errno;

use super::Failed;
use crate::sys::interface;

/// Brings up `lo` in a new network namespace; the kernel gives it 127.0.0.1 and ::1 by itself.
pub fn bring_up_loopback() -> Result<(), Failed> {
    match interface::bring_up(c"lo") {
        Ok(()) => Ok(()),
        // A kernel without IPv4 has no loopback to bring up, and nothing to confine either.
        Err(Errno::EAFNOSUPPORT) => Ok(()),
        Err(errno) => Err(Failed::at("bring_up_loopback")(errno)),
    }
}
