//! The launcher of a service: accepts, notes who it is, and forks a keeper for whoever may have one.
//!
//! One thread, no runtime. It reads three kinds of messages from the supervisor and believes none of them: whom a keeper acts
//! for follows from the connection alone, which it accepted itself.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::rc::Rc;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Gid, Pid, getpid, setgroups};

use super::config::{Config, Known, Peer, Standing};
use super::configuring;
use super::privsep::{Answer, Ask, Connection};
use crate::confine::{Failed, Ids};
use crate::egress;
use crate::jail::channel::{Arrived, Channel};
use crate::jail::mandate::{Grant, Mandate};
use crate::jail::{accounts, launcher as keeper, remains};
use crate::plan::refused::Refused;
use crate::sys::process::{self, Fork, How};
use crate::sys::socket;
use crate::wire::privsep::{FromLauncher, Lifetime};

/// A launcher at work.
pub struct Launcher {
    /// To the supervisor.
    pub supervisor: Channel,
    /// Where callers connect.
    pub listener: OwnedFd,
    /// Our own ids.
    pub own: Ids,
    /// Where the configuration is.
    pub path: PathBuf,
    /// What counts now.
    pub config: Config,
    /// The profiles that go with it.
    pub known: Rc<Known>,
    /// Who is connected.
    pub connections: BTreeMap<Connection, (Rc<OwnedFd>, Peer)>,
    /// Living keepers, and whom each acts for.
    pub keepers: BTreeMap<Pid, u32>,
    /// The number of the next connection.
    pub next: Connection,
}

/// Serves until the supervisor is gone. Runs in a fork of the guard, made before any thread.
pub fn serve(launcher: Launcher) -> ! {
    // A failure leaves the supervisor with a closed channel, and the guard starts both again.
    let code = i32::from(keeper::prepare().and_then(|()| launcher.work()).is_err());
    process::leave(code)
}

impl Launcher {
    fn work(mut self) -> Result<(), Failed> {
        let failed = Failed::at("work");
        let mut children = SigSet::empty();
        children.add(Signal::SIGCHLD);
        children.thread_block().map_err(&failed)?;
        let ended = SignalFd::with_flags(&children, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(&failed)?;
        loop {
            let [told, dead, knocked] = self.wait(&ended).map_err(&failed)?;
            if dead {
                while let Ok(Some(_)) = ended.read_signal() {}
                self.reap();
            }
            if told {
                match self.supervisor.receive().map_err(&failed)? {
                    Arrived::Message(ask, descriptors) => self.obey(ask, descriptors)?,
                    Arrived::Gone => return Ok(()),
                }
            }
            if knocked {
                self.accept()?;
            }
        }
    }

    fn wait(&self, ended: &SignalFd) -> Result<[bool; 3], Errno> {
        let sources = [self.supervisor.as_fd(), ended.as_fd(), self.listener.as_fd()];
        let mut watched = sources.map(|source| PollFd::new(source, PollFlags::POLLIN));
        loop {
            match poll(&mut watched, PollTimeout::NONE) {
                Err(Errno::EINTR) => {}
                polled => {
                    polled?;
                    return Ok(watched.map(|watched| watched.any().unwrap_or(true)));
                }
            }
        }
    }

    fn accept(&mut self) -> Result<(), Failed> {
        let connection = match socket::accept(self.listener.as_fd()) {
            Ok(connection) => connection,
            // Gone again, or no descriptors left for it: the others are served on.
            Err(_) => return Ok(()),
        };
        let Ok(credentials) = socket::peer(connection.as_fd()) else { return Ok(()) };
        let socket::Credentials { pid, uid, gid, groups } = credentials;
        let mut peer = Peer { pid, uid, gid, groups, name: String::new() };
        // Whoever is nobody here counts as one caller with all others who are: uids of strangers are cheap to have.
        let is_nobody = |peer: &Peer| self.config.standing(peer, self.own).is_none();
        let nobody = is_nobody(&peer);
        let same = self.connections.values().filter(|(_, other)| other.uid == uid || nobody && is_nobody(other));
        if same.count() >= self.config.limits.connections_per_caller {
            // Told by closing: a client that opens so many would not read more.
            return Ok(());
        }
        peer.name = accounts::caller(uid, gid).name;
        let number = self.next;
        self.next += 1;
        self.tell(&Answer::Connected(number, peer.clone()), &[connection.as_fd()])?;
        self.connections.insert(number, (Rc::new(connection), peer));
        Ok(())
    }

    fn tell(&self, answer: &Answer, descriptors: &[std::os::fd::BorrowedFd<'_>]) -> Result<(), Failed> {
        self.supervisor.send(answer, descriptors).map_err(Failed::at("tell_supervisor"))
    }

    fn obey(&mut self, ask: Ask, mut descriptors: Vec<OwnedFd>) -> Result<(), Failed> {
        match ask {
            Ask::Closed(connection) => {
                self.connections.remove(&connection);
                Ok(())
            }
            Ask::Keep(connection) => {
                let Some(end) = descriptors.pop() else { return Err(Failed::at("obey")(Errno::EPROTO)) };
                let end = Channel::new(end);
                match self.admit(connection) {
                    Ok((peer, grant)) => self.keep(end, &peer, grant),
                    Err(refused) => refuse(&end, refused),
                }
                Ok(())
            }
            Ask::Reload => self.reload(),
        }
    }

    /// Who is behind a connection and what they may do, if they are still there and may do anything.
    fn admit(&self, connection: Connection) -> Result<(Peer, Grant), Refused> {
        let no = |code, message: String| Err(Refused { code, message, remedy: None });
        let here = |(open, _): &&(Rc<OwnedFd>, Peer)| !socket::is_hung_up(open.as_fd());
        let Some((open, peer)) = self.connections.get(&connection).filter(here) else {
            return no("not_connected", "the caller is not connected".into());
        };
        let caller = accounts::caller(peer.uid, peer.gid);
        let Some(standing) = self.config.standing(peer, self.own).filter(Standing::runs) else {
            return no("not_granted", format!("user `{}` may not run anything here", caller.name));
        };
        let limits = &self.config.limits;
        let same = self.keepers.values().filter(|uid| **uid == peer.uid).count();
        if same >= limits.jails_per_caller || self.keepers.len() >= limits.jails {
            return no(
                "too_many_jails",
                format!("user `{}` has {same} jails, and there is room for no more", caller.name),
            );
        }
        let grant = Grant {
            caller,
            sources: configuring::sources(&self.config.directory, self.own),
            known: self.known.clone(),
            lasting: standing.lasting(),
            longest: Lifetime { idle_ms: limits.idle_ms, age_ms: limits.age_ms },
            profiles: standing.profiles,
            connection: open.clone(),
            launcher: getpid(),
        };
        Ok((peer.clone(), grant))
    }

    fn keep(&mut self, end: Channel, peer: &Peer, grant: Grant) {
        match process::fork_into(0, None) {
            Ok(Fork::Child) => become_keeper(end, peer, grant, self.own),
            Ok(Fork::Parent(pid)) => {
                self.keepers.insert(pid, peer.uid);
            }
            Err(errno) => {
                let failure = crate::jail::failure(Failed::at("fork_keeper")(errno));
                say_last(&end, &FromLauncher::Failed(failure));
            }
        }
    }

    fn reap(&mut self) {
        while let Ok(Some(ended)) = process::reap(None) {
            let kept = self.keepers.remove(&ended.pid).is_some();
            if kept && !matches!(ended.how, How::Exited(_)) {
                // It was killed: what it had made is ours to end. Its orphans are our children now.
                let living: Vec<Pid> = self.keepers.keys().copied().collect();
                remains::clear_up_after_one(ended.pid, &living);
            }
        }
    }

    fn reload(&mut self) -> Result<(), Failed> {
        match configuring::read(&self.path, true, self.own) {
            Ok((read, known)) => {
                // The socket is made and the supervisor has become somebody: these two stay until the next start.
                let (socket, becomes) = (self.config.socket.clone(), self.config.becomes);
                self.config = Config { socket, becomes, ..read };
                self.known = Rc::new(known);
                self.tell(&Answer::Reloaded(Box::new(self.config.clone())), &[])
            }
            Err(error) => self.tell(&Answer::NotReloaded { message: error.to_string(), hint: error.hint() }, &[]),
        }
    }
}

/// In the child: nothing of the launcher's is kept but the channel, and whom it acts for is fixed.
fn become_keeper(end: Channel, peer: &Peer, grant: Grant, own: Ids) -> ! {
    let connection = grant.connection.clone();
    let mandate = Mandate::Granted(Box::new(grant));
    let prepared = SigSet::empty().thread_set_mask().map_err(Failed::at("become_keeper"));
    let prepared = prepared
        .and_then(|()| mandate.hold_on())
        .and_then(|()| only(&[end.as_fd(), connection.as_fd()]))
        .and_then(|()| {
            // What the caller's groups open is theirs to open; ours are not.
            if own.uid == 0 { take_groups(peer) } else { Ok(()) }
        });
    match prepared {
        Ok(()) => keeper::serve(end, None, &mandate, egress::life::live),
        Err(failed) => {
            say_last(&end, &FromLauncher::Failed(crate::jail::failure(failed)));
            process::leave(1)
        }
    }
}

fn take_groups(peer: &Peer) -> Result<(), Failed> {
    let groups: Vec<Gid> = peer.groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&groups).map_err(Failed::at("take_groups"))
}

/// Closes everything but these and the three standard ones.
pub fn only(keep: &[BorrowedFd<'_>]) -> Result<(), Failed> {
    let failed = Failed::at("close_others");
    let mut keep: Vec<RawFd> = keep.iter().map(AsRawFd::as_raw_fd).collect();
    keep.sort_unstable();
    let mut first = 3;
    for kept in keep {
        let kept = u32::try_from(kept).map_err(|_| failed(Errno::EBADF))?;
        if kept > first {
            process::close_between(first, kept - 1).map_err(&failed)?;
        }
        first = kept.saturating_add(1).max(3);
    }
    process::close_from(first).map_err(&failed)
}

fn refuse(end: &Channel, refused: Refused) {
    let Refused { code, message, remedy } = refused;
    say_last(end, &FromLauncher::Refused { code: code.to_owned(), message, remedy });
}

/// Says it if there is room: whose channel it is, we do not know, and we do not wait for them.
fn say_last(end: &Channel, word: &FromLauncher) {
    let _ = end.send_now(word);
}
