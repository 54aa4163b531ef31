//! The supervisor's end of the channel to the launcher.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;

use nix::errno::Errno;
use serde::Serialize;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::privsep::{Answer, Ask};
use crate::jail::channel::Channel;
use crate::supervise::watch;
use crate::sys::readiness;

/// Sends a message, once there is room for it. It is one datagram, so those of two tasks do not mix.
pub async fn send<T: Serialize>(
    channel: &AsyncFd<Rc<Channel>>,
    message: &T,
    descriptors: &[BorrowedFd<'_>],
) -> std::io::Result<()> {
    loop {
        let mut ready = channel.ready(Interest::WRITABLE).await?;
        match channel.get_ref().send(message, descriptors) {
            Err(Errno::EAGAIN) => ready.clear_ready(),
            sent => return Ok(sent?),
        }
    }
}

/// Sends the first message over a channel to a keeper. It is new and empty, so this does not wait. Nobody at the other end
/// is no failure: whoever refuses a keeper says why and closes, perhaps before we got here, and that is heard next.
pub fn begin<T: Serialize>(channel: &Channel, message: &T, descriptors: &[BorrowedFd<'_>]) -> std::io::Result<()> {
    match channel.send(message, descriptors) {
        Ok(()) | Err(Errno::EPIPE) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// The channel in the event loop.
pub struct Link {
    channel: AsyncFd<Rc<Channel>>,
}

impl Link {
    /// Speaks over `channel`, which must not wait.
    pub fn new(channel: Channel) -> std::io::Result<Link> {
        Ok(Link { channel: readiness::watch(Rc::new(channel))? })
    }

    /// Asks, once there is room for it.
    pub async fn ask(&self, ask: &Ask, descriptors: &[BorrowedFd<'_>]) -> std::io::Result<()> {
        send(&self.channel, ask, descriptors).await
    }

    /// The next answer; none when the launcher is gone.
    pub async fn hear(&self) -> std::io::Result<Option<(Answer, Vec<OwnedFd>)>> {
        watch::hear(&self.channel).await
    }
}
