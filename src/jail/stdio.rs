//! Which descriptors a command gets: the caller's own where that is safe and nothing has to be counted, else the relay's.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl, open};
use nix::sys::stat::{Mode, SFlag, fstat, major, minor};

use crate::confine::Failed;
use crate::host::Tier;
use crate::plan::Plan;
use crate::sys::terminal;
use crate::wire::privsep::Terminal;

/// What came with the request: the caller's three, then the relay's three.
pub struct Given {
    own: [OwnedFd; 3],
    relay: [OwnedFd; 3],
}

impl Given {
    /// Takes the request's descriptors. The relay's ends may become the command's, and whoever sent them is not believed: a
    /// socket among them would be the network that a profile does not grant.
    pub fn new(descriptors: Vec<OwnedFd>) -> Result<Given, Failed> {
        let failed = Failed::at("stdio");
        let all: [OwnedFd; 6] = descriptors.try_into().map_err(|_| failed(Errno::EPROTO))?;
        let [stdin, stdout, stderr, to_command, from_command, errors] = all;
        let relay = [to_command, from_command, errors];
        if !all_plain(&relay) {
            return Err(failed(Errno::EPROTO));
        }
        Ok(Given { own: [stdin, stdout, stderr], relay })
    }

    fn relay_of_stderr(&self) -> BorrowedFd<'_> {
        let [_, _, stderr] = &self.relay;
        stderr.as_fd()
    }
}

/// What the command gets.
pub struct Chosen<'a> {
    descriptors: Vec<BorrowedFd<'a>>,
    slave: Option<OwnedFd>,
    /// The terminal's master, where the launcher made the terminal.
    pub master: Option<OwnedFd>,
    /// Of the three, those that go through the supervisor.
    pub relayed: [bool; 3],
}

impl Chosen<'_> {
    /// In the order in which init expects them.
    pub fn for_init(&self) -> Vec<BorrowedFd<'_>> {
        self.slave.iter().map(AsFd::as_fd).chain(self.descriptors.iter().copied()).collect()
    }
}

fn choose_plain(given: &Given, counted: bool) -> Chosen<'_> {
    let mut descriptors = Vec::new();
    let mut relayed = [false; 3];
    let pairs = given.own.iter().zip(&given.relay);
    for (((own, relay), wanted), relayed) in pairs.zip(USES).zip(&mut relayed) {
        let counted = counted && matches!(wanted, Use::Write);
        *relayed = counted || !is_plain(own, wanted);
        descriptors.push(if *relayed { relay.as_fd() } else { own.as_fd() });
    }
    Chosen { descriptors, slave: None, master: None, relayed }
}

/// Chooses for each of the three.
pub fn choose<'a>(given: &'a Given, terminal: Terminal, plan: &Plan, tier: Tier) -> Result<Chosen<'a>, Failed> {
    let counted = plan.limits.output.is_some();
    let Terminal::Own { rows, columns, stderr } = terminal else {
        return Ok(choose_plain(given, counted));
    };
    let descriptors = if stderr { Vec::new() } else { vec![given.relay_of_stderr()] };
    let (master, slave) = match tier {
        Tier::Bare => open_terminal(rows, columns).map(|(master, slave)| (Some(master), Some(slave)))?,
        Tier::Root | Tier::User => (None, None),
    };
    Ok(Chosen { descriptors, slave, master, relayed: [false, false, !stderr] })
}

/// What a command does with its three.
const USES: [Use; 3] = [Use::Read, Use::Write, Use::Write];

/// What a command does with a descriptor.
#[derive(Clone, Copy, Debug)]
enum Use {
    /// Reads it.
    Read,
    /// Writes it.
    Write,
}

/// Whether each of the three can be handed over.
pub fn all_plain(three: &[OwnedFd]) -> bool {
    three.len() == USES.len() && three.iter().zip(USES).all(|(descriptor, wanted)| is_plain(descriptor, wanted))
}

/// Devices that are nothing but their bytes: null, zero, full, random, urandom; null(4), full(4), random(4). Others of the
/// same major are all of the machine's memory, its ports and its log.
const PLAIN_DEVICES: [u64; 5] = [3, 5, 7, 8, 9];

/// Whether a descriptor can be handed over: a pipe, or a file opened for this use alone, or a device without state. A
/// terminal, a socket or a directory would reach further than its bytes.
fn is_plain(descriptor: &OwnedFd, wanted: Use) -> bool {
    let (Ok(stat), Ok(flags)) = (fstat(descriptor), fcntl(descriptor, FcntlArg::F_GETFL)) else { return false };
    let flags = OFlag::from_bits_truncate(flags);
    let access = flags & OFlag::O_ACCMODE;
    if flags.contains(OFlag::O_PATH) {
        // A name rather than a file, with the access mode of reading.
        return false;
    }
    let only = match wanted {
        Use::Read => access == OFlag::O_RDONLY,
        Use::Write => access == OFlag::O_WRONLY,
    };
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFIFO => only,
        SFlag::S_IFREG => only || matches!(wanted, Use::Read) && is_sealed(descriptor),
        SFlag::S_IFCHR => major(stat.st_rdev) == 1 && PLAIN_DEVICES.contains(&minor(stat.st_rdev)),
        _ => false,
    }
}

/// Whether it is memory that nobody can change any more, though it is open for writing. memfd_create(2).
fn is_sealed(descriptor: &OwnedFd) -> bool {
    let seals = fcntl(descriptor, FcntlArg::F_GET_SEALS).map(SealFlag::from_bits_truncate);
    seals.is_ok_and(|seals| seals.contains(SealFlag::F_SEAL_WRITE))
}

/// A terminal of the host, for a jail that has no devpts of its own.
fn open_terminal(rows: u16, columns: u16) -> Result<(OwnedFd, OwnedFd), Failed> {
    let failed = Failed::at("open_terminal");
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = open("/dev/ptmx", flags, Mode::empty()).map_err(&failed)?;
    terminal::unlock(master.as_fd()).map_err(&failed)?;
    terminal::resize(master.as_fd(), terminal::Size { rows, columns }).map_err(&failed)?;
    let slave = terminal::open_peer(master.as_fd()).map_err(&failed)?;
    Ok((master, slave))
}
