//! A jail as the launcher holds it: its init, its channel, its groups, its private places.
//!
//! [`Jail::begin`] makes the process and its namespaces before there is a plan, so that the kernel's part of the work runs
//! beside ours on another processor; [`Jail::order`] sends the plan.

use std::collections::BTreeSet;
use std::fs::{DirEntry, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};

use super::cgroup::Group;
use super::channel::{Arrived, Channel};
use super::forked::close_all_but;
use super::gate::{Gate, Trust};
use super::init::{self, Birth};
use super::removal::remove_tree;
use super::unguessable::unguessable;
use crate::confine::Failed;
use crate::confine::identity::errno_of;
use crate::confine::late::View;
use crate::host::{Controllers, Tier};
use crate::sys::process::{self, Fork, namespaces};
use crate::verdict::run::Reached;
use crate::wire::privsep::{Command, Filters, FromInit, Orders, Run, ToInit};

/// A jail that exists.
#[derive(Debug)]
pub struct Jail {
    /// Its first process.
    pub init: Pid,
    /// How we talk to that.
    pub channel: Channel,
    /// What it may use.
    pub group: Group,
    /// How it was born.
    pub birth: Birth,
    /// Private directories on the host's disk, where there is no view to hold them (bare tier).
    pub private: Option<PathBuf>,
    /// Its view, where it has one and it stands.
    pub view: Option<View>,
    /// What mediates its egress, where the plan has any.
    pub gate: Option<Gate>,
    // Held as long as we live, so that nobody takes them for what a dead launcher left.
    private_lock: Option<Flock<File>>,
    closed: bool,
}

impl Jail {
    /// Makes the jail's init, with its own mount and pid namespaces (and user namespace, in that tier).
    pub fn begin(birth: Birth, controllers: &Controllers) -> Result<Jail, Failed> {
        let mut group = Group::reserve(controllers, &group_name(getpid()))?;
        let (channel, inits) = Channel::pair().map_err(Failed::at("begin_jail"))?;
        let flags = match birth.tier {
            Tier::Root => namespaces::MOUNT | namespaces::PID,
            Tier::User => namespaces::MOUNT | namespaces::PID | namespaces::USER,
            Tier::Bare => 0,
        };
        match group.fork(flags).map_err(Failed::at("clone3"))? {
            Fork::Child => {
                drop(channel);
                become_init(inits, birth)
            }
            Fork::Parent(init) => Ok(Jail {
                init,
                channel,
                group,
                birth,
                private: None,
                view: None,
                gate: None,
                private_lock: None,
                closed: false,
            }),
        }
    }

    /// Sends the plan.
    pub fn order(&self, orders: Orders, trees: &[BorrowedFd<'_>]) -> Result<(), Failed> {
        self.tell(&ToInit::Orders(Box::new(orders)), trees)
    }

    /// Has init join the groups, and confine itself when it has built the view.
    pub fn confine(&self, filters: Filters) -> Result<(), Failed> {
        let groups = self.group.open_to_join()?;
        let groups: Vec<_> = groups.iter().map(AsFd::as_fd).collect();
        self.tell(&ToInit::Confine(Box::new(filters)), &groups)
    }

    /// Has init start `command`.
    pub fn start(&self, run: Run, command: Command, stdio: &[BorrowedFd<'_>]) -> Result<(), Failed> {
        self.tell(&ToInit::Start(run, Box::new(command)), stdio)
    }

    /// Has init send a signal to a command.
    pub fn signal(&self, run: Run, number: i32) -> Result<(), Failed> {
        self.tell(&ToInit::Signal(run, number), &[])
    }

    /// Has init end a command with all that descends from it.
    pub fn end(&self, run: Run) -> Result<(), Failed> {
        self.tell(&ToInit::End(run), &[])
    }

    fn tell(&self, message: &ToInit, descriptors: &[BorrowedFd<'_>]) -> Result<(), Failed> {
        match self.channel.send(message, descriptors) {
            // It could not go on and has ended; why, is the next thing that is heard of it.
            Ok(()) | Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
            Err(errno) => Err(Failed::at("tell_init")(errno)),
        }
    }

    /// The next thing that init says. Whoever knocks at the gate meanwhile is let in.
    pub fn hear(&mut self) -> Result<(FromInit, Vec<OwnedFd>), Failed> {
        self.keep_gate_until_heard().map_err(Failed::at("hear_init"))?;
        match self.channel.receive().map_err(Failed::at("hear_init"))? {
            Arrived::Message(message, descriptors) => Ok((message, descriptors)),
            Arrived::Gone => {
                Err(Failed { step: "hear_init", errno: Errno::EPIPE, what: Some("the jail's init ended".into()) })
            }
        }
    }

    fn keep_gate_until_heard(&mut self) -> Result<(), Errno> {
        while let Some(knocks) = self.knocks() {
            let mut watched = [self.channel.as_fd(), knocks].map(|one| PollFd::new(one, PollFlags::POLLIN));
            match poll(&mut watched, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
            let [heard, knocked] = watched.map(|watched| watched.any().unwrap_or(true));
            if knocked {
                self.begin_gate();
            }
            if heard {
                return Ok(());
            }
        }
        Ok(())
    }

    /// What is readable when somebody knocks at a gate that has not begun.
    pub fn knocks(&self) -> Option<BorrowedFd<'_>> {
        self.gate.as_ref().and_then(Gate::knocks)
    }

    /// Has such a gate begin.
    pub fn begin_gate(&mut self) {
        self.gate.iter_mut().for_each(Gate::begin);
    }

    /// Keeps hold of the view by what init opened of it.
    pub fn keep_view(&mut self, descriptors: Vec<OwnedFd>) -> Result<(), Failed> {
        if !self.birth.tier.has_namespaces() {
            return Ok(());
        }
        let mut descriptors = descriptors.into_iter();
        let (Some(top), Some(mounts), Some(users)) = (descriptors.next(), descriptors.next(), descriptors.next())
        else {
            return Err(Failed::at("keep_view")(Errno::EPROTO));
        };
        self.view = Some(View::of(top, mounts, (self.birth.tier == Tier::User).then_some(users)));
        Ok(())
    }

    /// Whether sockets for the gate are to come from the jail's network.
    pub fn leads_to_gate(&self) -> bool {
        self.gate.as_ref().is_some_and(|gate| !gate.has_door())
    }

    /// Gives the gate the sockets that were made in the jail's network. Neither may be there without the other.
    pub fn open_gate(&mut self, sockets: Vec<OwnedFd>) -> Result<(), Failed> {
        match &mut self.gate {
            Some(gate) if !sockets.is_empty() => gate.open(sockets),
            None | Some(_) => Err(Failed::at("open_gate")(Errno::EPROTO)),
        }
    }

    /// Waits until the gate serves, if there is one that has begun.
    pub fn await_gate(&mut self) -> Result<(), Failed> {
        let Some(gate) = &mut self.gate else { return Ok(()) };
        if gate.has_door() {
            gate.open(Vec::new())?;
        }
        gate.await_ready()
    }

    /// What a run that began `within` ago has reached.
    pub fn reached(&mut self, within: Duration) -> Reached {
        self.gate.as_mut().map(|gate| gate.reached(within)).unwrap_or_default()
    }

    /// Makes the private places of a jail without a view, outside of its workspace.
    pub fn make_private(&mut self, workspace: &Path) -> Result<&Path, Failed> {
        let path = private_parent(workspace).join(format!(
            "{}.{}",
            group_name(getpid()),
            unguessable().map_err(Failed::at("make_private"))?
        ));
        let failed = Failed::on("make_private", &path);
        let mode = nix::sys::stat::Mode::from_bits_truncate(0o700);
        for directory in [path.clone(), path.join("home"), path.join("tmp")] {
            nix::unistd::mkdir(&directory, mode).map_err(&failed)?;
        }
        self.private_lock = Some(lock(&path).map_err(&failed)?);
        drop(failed);
        Ok(self.private.insert(path))
    }

    /// Says whom to trust where there is no view that could hold it: in a place that the command may only read.
    pub fn give_trust(&self, trust: &Trust) -> Result<(), Failed> {
        let Some(private) = &self.private else { return Ok(()) };
        let place = private.join("trust");
        let failed = |error: std::io::Error| Failed::on("give_trust", &place)(errno_of(&error));
        std::fs::create_dir(&place).map_err(failed)?;
        std::fs::write(place.join("trust.pem"), &trust.pem).map_err(failed)?;
        std::fs::write(place.join("trust.jks"), &trust.jks).map_err(failed)
    }

    /// Ends everything in the jail and removes what it had.
    pub fn close(mut self) -> Result<(), Failed> {
        self.end_processes()?;
        self.closed = true;
        self.group.remove()
    }

    fn end_processes(&mut self) -> Result<(), Failed> {
        if let Some(gate) = &self.gate {
            gate.begin_to_end();
        }
        if self.birth.tier.has_namespaces() {
            // The kernel kills and reaps the whole pid namespace before init can be waited for; pid_namespaces(7).
            match kill(self.init, Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(Failed::at("close_jail")(errno)),
            }
        } else {
            // A group's members end at once, wherever they have gone; init is one of them.
            self.group.end_members()?;
            // Without: its init ends what is below it when we are gone from its channel; what escapes that is ours by now.
            self.channel = Channel::pair().map_err(Failed::at("close_jail"))?.0;
        }
        process::wait_for(self.init).map_err(Failed::at("close_jail"))?;
        drop(self.gate.take());
        if !self.birth.tier.has_namespaces() {
            super::descendants::end_all().map_err(Failed::at("close_jail"))?;
        }
        if let Some(private) = self.private.take() {
            remove_tree(&private).map_err(Failed::on("remove_private", &private))?;
        }
        Ok(())
    }
}

impl Drop for Jail {
    fn drop(&mut self) {
        if !self.closed {
            // Refused or failed half-way: the reason is on its way already, and nothing may stay.
            let _ = self.end_processes();
        }
    }
}

/// The name of the groups that the launcher `pid` makes.
pub fn group_name(pid: Pid) -> String {
    format!("clawjail.{pid}")
}

/// Where every host has a place for temporary files.
const TMP: &str = "/tmp";

/// The caller's own place for temporary files, where it is one: what lies in the workspace, or what others could put another
/// directory in place of, is not.
fn private_parent(workspace: &Path) -> PathBuf {
    let (written, tmp) = (std::env::temp_dir(), PathBuf::from(TMP));
    let Ok(real) = written.canonicalize() else { return tmp };
    if written.is_relative() || written.starts_with(workspace) || real.starts_with(workspace) {
        return tmp;
    }
    let steady = real.metadata().is_ok_and(|about| {
        let owned = about.uid() == 0 || about.uid() == nix::unistd::geteuid().as_raw();
        owned && (about.mode() & 0o022 == 0 || about.mode() & 0o1000 != 0)
    });
    if steady { real } else { tmp }
}

/// What may be the private places of launchers.
fn private_places() -> impl Iterator<Item = DirEntry> {
    let parents = BTreeSet::from([PathBuf::from(TMP), std::env::temp_dir()]);
    parents.into_iter().flat_map(std::fs::read_dir).flatten().flatten()
}

/// Removes the private places that the launcher `pid` left behind, if they are our own and nobody holds them.
pub fn remove_private_of(pid: Pid) {
    let prefix = format!("{}.", group_name(pid));
    for entry in private_places() {
        let ours = entry.metadata().is_ok_and(|about| about.uid() == nix::unistd::geteuid().as_raw());
        if ours && entry.file_name().to_string_lossy().starts_with(&prefix) && lock(&entry.path()).is_ok() {
            let _ = remove_tree(&entry.path());
        }
    }
}

/// Takes hold of private places. Fails while another launcher has, even one whose pid means nobody here.
fn lock(path: &Path) -> Result<Flock<File>, Errno> {
    let directory = File::open(path).map_err(|error| errno_of(&error))?;
    Flock::lock(directory, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)
}

/// The launchers that have private places of ours here, living or not.
pub fn launchers_with_private() -> Vec<Pid> {
    let pid = |entry: DirEntry| entry.file_name().to_str()?.strip_prefix("clawjail.")?.split_once('.')?.0.parse().ok();
    private_places().filter_map(pid).map(Pid::from_raw).collect()
}

/// In the child: nothing of the launcher's is kept but the channel.
fn become_init(channel: Channel, birth: Birth) -> ! {
    match close_all_but(&channel) {
        Ok(()) => init::live(channel, birth),
        Err(_) => process::leave(1),
    }
}
