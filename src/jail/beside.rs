//! The namespaces that the kernel is slowest to make, made by a child of init while init builds the view. setns(2).
//!
//! A network namespace costs as much as a whole view. The child makes it, brings its loopback up, hands both over and
//! ends; init enters them before it confines itself.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::channel::{Arrived, Channel};
use super::failure;
use crate::confine::identity::errno_of;
use crate::confine::{Failed, network};
use crate::sys::process::{self, Fork, namespaces};
use crate::wire::privsep::Failure;

/// Namespaces in the making.
#[must_use = "what is not entered is not there"]
pub struct Beside {
    maker: Pid,
    channel: Channel,
}

#[derive(Serialize, Deserialize)]
enum Word {
    /// Descriptors: the network and the IPC namespace.
    Made,
    Failed(Failure),
}

impl Beside {
    /// Begins to make them. Runs in init, which has one thread.
    pub fn begin() -> Result<Beside, Failed> {
        let failed = Failed::at("begin_beside");
        let (channel, childs) = Channel::pair().map_err(&failed)?;
        match process::fork().map_err(&failed)? {
            Fork::Child => {
                let told = match make() {
                    Ok([network, ipc]) => childs.send(&Word::Made, &[network.as_fd(), ipc.as_fd()]),
                    Err(failed) => childs.send(&Word::Failed(failure(failed)), &[]),
                };
                process::leave(i32::from(told.is_err()))
            }
            Fork::Parent(maker) => Ok(Beside { maker, channel }),
        }
    }

    /// Waits until they are made, and enters them.
    pub fn enter(self) -> Result<(), Failed> {
        let failed = Failed::at("enter_beside");
        let word = self.channel.receive().map_err(&failed)?;
        process::wait_for(self.maker).map_err(&failed)?;
        match word {
            Arrived::Message(Word::Made, made) => made.into_iter().try_for_each(|namespace| {
                // Of whatever kind it is: nothing but what `make` opened can be there.
                setns(namespace, CloneFlags::empty()).map_err(&failed)
            }),
            Arrived::Message(Word::Failed(Failure { step, errno, .. }), _) => {
                Err(Failed::on("make_beside", step)(Errno::from_raw(errno)))
            }
            Arrived::Gone => Err(failed(Errno::EPIPE)),
        }
    }
}

fn make() -> Result<[OwnedFd; 2], Failed> {
    process::unshare(namespaces::NETWORK | namespaces::IPC).map_err(Failed::at("unshare"))?;
    network::bring_up_loopback()?;
    let open = |path| {
        File::open(path).map(OwnedFd::from).map_err(|error| Failed::on("open_namespace", path)(errno_of(&error)))
    };
    Ok([open("/proc/self/ns/net")?, open("/proc/self/ns/ipc")?])
}
