//! The supervisor's end of the channel to the launcher.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use nix::errno::Errno;
use serde::Serialize;
use tokio::io::unix::AsyncFd;

use super::privsep::{Answer, Ask};
use crate::jail::channel::Channel;
use crate::supervise::watch;
use crate::sys::readiness;
use crate::wire::privsep::ToLauncher;

/// Sends a message, once there is room for it. It is one datagram, so those of two tasks do not mix.
pub async fn send<T: Serialize>(
    channel: &AsyncFd<Rc<Channel>>,
    message: &T,
    descriptors: &[BorrowedFd<'_>],
) -> std::io::Result<()> {
    loop {
        match channel.get_ref().send(message, descriptors) {
            Err(Errno::EAGAIN) => readiness::room(channel.as_fd()).await?,
            sent => return Ok(sent?),
        }
    }
}

/// The channel in the event loop.
pub struct Link {
    channel: AsyncFd<Rc<Channel>>,
}

impl Link {
    /// Speaks over `channel`, which must not wait.
    pub fn new(channel: Channel) -> std::io::Result<Link> {
        Ok(Link { channel: readiness::watch_reading(Rc::new(channel))? })
    }

    /// Asks, once there is room for it.
    pub async fn ask(&self, ask: &Ask, descriptors: &[BorrowedFd<'_>]) -> std::io::Result<()> {
        send(&self.channel, ask, descriptors).await
    }

    /// Has a keeper made for the caller of connection `number`, and gives it its `first` message.
    pub async fn keeper(
        &self,
        number: u64,
        first: &ToLauncher,
        descriptors: &[BorrowedFd<'_>],
    ) -> std::io::Result<AsyncFd<Rc<Channel>>> {
        let (ours, keepers) = Channel::pair()?;
        self.ask(&Ask::Keep(number), &[keepers.as_fd()]).await?;
        drop(keepers);
        // The channel is new and empty, so this does not wait. Nobody at the other end is no failure: whoever refuses a
        // keeper says why and closes, perhaps before we got here, and that is heard next.
        match ours.send(first, descriptors) {
            Ok(()) | Err(Errno::EPIPE) => {}
            Err(errno) => return Err(errno.into()),
        }
        ours.never_wait()?;
        readiness::watch_reading(Rc::new(ours))
    }

    /// The next answer; none when the launcher is gone.
    pub async fn hear(&self) -> std::io::Result<Option<(Answer, Vec<OwnedFd>)>> {
        watch::hear(&self.channel).await
    }
}
