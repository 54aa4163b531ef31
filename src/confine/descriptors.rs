//! The command's descriptors are 0, 1 and 2, and no others.

use std::os::fd::{AsFd, OwnedFd};

use super::Failed;
use crate::sys::process;

/// Puts `stdio` at 0, 1 and 2. The given descriptors must have numbers above 2, which [`above_stdio`] sees to.
pub fn place_stdio(stdio: &[OwnedFd; 3]) -> Result<(), Failed> {
    for (number, source) in (0..).zip(stdio) {
        process::place(source.as_fd(), number).map_err(Failed::at("place_stdio"))?;
    }
    Ok(())
}

/// Closes everything above 2.
pub fn close_others() -> Result<(), Failed> {
    process::close_from(3).map_err(Failed::at("close_others"))
}

/// Moves a descriptor to a number above 2, so that placing others at 0 to 2 cannot close it.
pub fn above_stdio(descriptor: OwnedFd) -> Result<OwnedFd, Failed> {
    use std::os::fd::AsRawFd;
    if descriptor.as_raw_fd() > 2 {
        return Ok(descriptor);
    }
    let number =
        nix::fcntl::fcntl(&descriptor, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(3)).map_err(Failed::at("above_stdio"))?;
    Ok(process::adopt(number))
}
