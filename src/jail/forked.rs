//! What a process of ours lets go of when it has been forked.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};

use super::channel::Channel;
use crate::confine::{Failed, identity};
use crate::sys::process;

/// Replaces its stdin, stdout and stderr, so that it holds nothing of the caller's open.
pub fn let_go_of_stdio() -> Result<(), Failed> {
    let failed = Failed::at("let_go_of_stdio");
    let null = fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(|error| failed(identity::errno_of(&error)))?;
    for number in 0..3 {
        process::place(null.as_fd(), number).map_err(&failed)?;
    }
    Ok(())
}

/// Closes every descriptor but `channel`, and puts nothing in the place of stdin, stdout and stderr.
pub fn close_all_but(channel: &Channel) -> Result<(), Failed> {
    let keep = u32::try_from(channel.as_fd().as_raw_fd()).unwrap_or(3);
    let_go_of_stdio()?;
    let failed = Failed::at("close_others");
    if keep > 3 {
        process::close_between(3, keep - 1).map_err(&failed)?;
    }
    process::close_from(keep.saturating_add(1)).map_err(&failed)
}
