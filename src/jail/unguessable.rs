//! Names that nobody could have guessed.

use std::fs::File;
use std::io::Read;

use nix::errno::Errno;

use crate::confine::identity::errno_of;

/// A name that nobody could have put in our way.
pub fn unguessable() -> Result<String, Errno> {
    let mut random = [0; 8];
    let read = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut random));
    read.map_err(|error| errno_of(&error))?;
    Ok(format!("{:016x}", u64::from_ne_bytes(random)))
}
