//! The namespaces that the kernel is slowest to make, made by a child of init while init builds the view. setns(2).
//!
//! A network namespace costs as much as a whole view. The child makes it, brings its loopback up and hands both over; init enters
//! them before it confines itself. Where there is a gate, what leads to it is made by the child, too, while init goes on, and the
//! launcher gets the gate's sockets from it.
//!
//! ```text
//!   init    begin ---- view ---- have(Gateway) ---- rest of the view ---- enter ---- groups, confined ---- end --> runs
//!   child     '-- namespaces made --------------------- Made -'----- routes, rules, sockets --'
//!                                                                            '--Gateway--> launcher --> gate
//! ```

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::channel::{Arrived, Channel};
use super::{failure, probe};
use crate::confine::identity::errno_of;
use crate::confine::redirect::Led;
use crate::confine::{Failed, gateway, network};
use crate::policy::egress::Rules;
use crate::sys::process::{self, Ended, Fork, How, namespaces};
use crate::wire::privsep::{Failure, FromInit};

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

/// What is in the network once it is there.
#[derive(Serialize, Deserialize)]
pub enum Then {
    /// Its loopback.
    Nothing,
    /// What leads to a gate with these rules.
    Gateway(Box<Rules>),
}

impl Beside {
    /// Begins to make them. Runs in init, which has one thread; `launcher` is who waits for a gate's sockets.
    pub fn begin(launcher: &Channel) -> Result<Beside, Failed> {
        let failed = Failed::at("begin_beside");
        let (channel, childs) = Channel::pair().map_err(&failed)?;
        match process::fork().map_err(&failed)? {
            Fork::Child => {
                drop(channel);
                process::leave(i32::from(live(&childs, launcher).is_err()))
            }
            Fork::Parent(maker) => Ok(Beside { maker, channel }),
        }
    }

    /// Says what is to be there. Said before they are entered, so that nobody waits for it.
    pub fn have(&self, then: &Then) -> Result<(), Failed> {
        match self.channel.send(then, &[]) {
            // It could not go on and has ended; why, is what it has said.
            Ok(()) | Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
            Err(errno) => Err(Failed::at("order_beside")(errno)),
        }
    }

    /// Waits until they are made, and enters them.
    pub fn enter(&self) -> Result<(), Failed> {
        let failed = Failed::at("enter_beside");
        match self.channel.receive().map_err(&failed)? {
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

    /// Waits until the child has ended: it may do what nothing in a jail may, and is gone before there is anything.
    pub fn end(self) -> Result<(), Failed> {
        let failed = Failed::at("end_beside");
        match process::wait_for(self.maker).map_err(&failed)? {
            Ended { how: How::Exited(0), .. } => Ok(()),
            Ended { .. } => Err(failed(Errno::ECHILD)),
        }
    }
}

/// The child's life.
fn live(init: &Channel, launcher: &Channel) -> Result<(), Errno> {
    match make() {
        Ok([network, ipc]) => init.send(&Word::Made, &[network.as_fd(), ipc.as_fd()])?,
        Err(failed) => return init.send(&Word::Failed(failure(failed)), &[]),
    }
    let Arrived::Message(Then::Gateway(rules), _) = init.receive()? else { return Ok(()) };
    match gateway::open(&rules, &Led::BEST_FIRST).map(|sockets| (probe::try_past_gate(&sockets), sockets)) {
        Ok((findings, sockets)) => {
            let sockets = sockets.into_list();
            let sockets: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
            launcher.send(&FromInit::Gateway(findings), &sockets)
        }
        Err(failed) => launcher.send(&FromInit::Failed(failure(failed)), &[]),
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
