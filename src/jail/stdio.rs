//! Which descriptors a command gets: the caller's own where that is safe and nothing has to be counted, else the relay's.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl, open};
use nix::sys::stat::{Mode, SFlag, fstat, major, minor};
use nix::unistd::pipe2;

use super::command::Stdio;
use crate::confine::{Failed, descriptors};
use crate::host::Tier;
use crate::plan::Plan;
use crate::sys::terminal;
use crate::wire::privsep::Terminal;

/// What came with the request: the caller's three, then the relay's three, if it has any yet.
pub struct Given {
    own: [OwnedFd; 3],
    relay: Option<[OwnedFd; 3]>,
}

impl Given {
    /// Takes the request's descriptors. The relay's ends may become the command's, and whoever sent them is not believed: a
    /// socket among them would be the network that a profile does not grant.
    pub fn new(mut descriptors: Vec<OwnedFd>) -> Result<Given, Failed> {
        let failed = Failed::at("stdio");
        let three = |some: Vec<OwnedFd>| <[OwnedFd; 3]>::try_from(some).map_err(|_| failed(Errno::EPROTO));
        let relay = descriptors.split_off(descriptors.len().min(3));
        let relay = if relay.is_empty() { None } else { Some(three(relay)?) };
        if relay.as_ref().is_some_and(|relay| !all_plain(relay)) {
            return Err(failed(Errno::EPROTO));
        }
        Ok(Given { own: three(descriptors)?, relay })
    }

    fn relay_of_stderr(&self) -> Result<BorrowedFd<'_>, Failed> {
        let relay = self.relay.as_ref().map(|[_, _, stderr]| stderr.as_fd());
        relay.ok_or_else(|| Failed::at("stdio")(Errno::EPROTO))
    }
}

/// A descriptor for the command.
enum One<'a> {
    /// That came with the request.
    Given(BorrowedFd<'a>),
    /// Whose other end is ours.
    Made(OwnedFd),
}

impl AsFd for One<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            One::Given(given) => *given,
            One::Made(made) => made.as_fd(),
        }
    }
}

/// What the command gets.
pub struct Chosen<'a> {
    descriptors: Vec<One<'a>>,
    /// The other ends of what was made here, for the supervisor: a terminal's master, or what is read of stdout and stderr.
    pub ends: Vec<OwnedFd>,
    /// Of the three, those that go through the supervisor.
    pub relayed: [bool; 3],
}

impl Chosen<'_> {
    /// In the order in which init expects them.
    pub fn for_init(&self) -> Vec<BorrowedFd<'_>> {
        self.descriptors.iter().map(AsFd::as_fd).collect()
    }
}

fn choose_plain(given: &Given, counted: bool) -> Result<Chosen<'_>, Failed> {
    let mut chosen = Chosen { descriptors: Vec::new(), ends: Vec::new(), relayed: [false; 3] };
    for (number, (own, wanted)) in given.own.iter().zip(USES).enumerate() {
        let through = match reach(own, wanted) {
            Reach::Nothing => false,
            Reach::Bytes => counted && matches!(wanted, Use::Write),
            Reach::Further => true,
        };
        let relay = given.relay.as_ref().and_then(|relay| relay.get(number));
        let one = match (through, relay) {
            (false, _) => One::Given(own.as_fd()),
            (true, Some(relay)) => One::Given(relay.as_fd()),
            (true, None) => One::Made(make_pipe(wanted, &mut chosen.ends)?),
        };
        chosen.descriptors.push(one);
        if let Some(relayed) = chosen.relayed.get_mut(number) {
            *relayed = through;
        }
    }
    Ok(chosen)
}

/// The end of a pipe that a command writes to. Whoever wants input relayed brings what it is relayed by.
fn make_pipe(wanted: Use, ends: &mut Vec<OwnedFd>) -> Result<OwnedFd, Failed> {
    let failed = Failed::at("stdio");
    let Use::Write = wanted else { return Err(failed(Errno::EPROTO)) };
    let (read, write) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
    ends.push(read);
    Ok(write)
}

/// Chooses for each of the three.
pub fn choose<'a>(given: &'a Given, terminal: Terminal, plan: &Plan, tier: Tier) -> Result<Chosen<'a>, Failed> {
    let counted = plan.limits.output.is_some();
    let Terminal::Own { rows, columns, stderr } = terminal else {
        return choose_plain(given, counted);
    };
    let mut descriptors = Vec::new();
    let mut ends = Vec::new();
    if tier == Tier::Bare {
        let (master, slave) = open_terminal(OF_HOST, rows, columns)?;
        descriptors.push(One::Made(slave));
        ends.push(master);
    }
    if !stderr {
        descriptors.push(One::Given(given.relay_of_stderr()?));
    }
    Ok(Chosen { descriptors, ends, relayed: [false, false, !stderr] })
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
/// Those that take all that is written, and keep none of it: null, zero.
const SINKS: [u64; 2] = [3, 5];

/// Whether a descriptor can be handed over.
fn is_plain(descriptor: &OwnedFd, wanted: Use) -> bool {
    reach(descriptor, wanted) != Reach::Further
}

/// How far one reaches in the hands of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// `/dev/null` or `/dev/zero`: what is written there nobody reads, so it need not be counted either.
    Nothing,
    /// A pipe, or a file opened for this use alone, or another device without state.
    Bytes,
    /// A terminal, a socket, a directory: more than its bytes.
    Further,
}

fn reach(descriptor: &OwnedFd, wanted: Use) -> Reach {
    let (Ok(stat), Ok(flags)) = (fstat(descriptor), fcntl(descriptor, FcntlArg::F_GETFL)) else {
        return Reach::Further;
    };
    let flags = OFlag::from_bits_truncate(flags);
    let access = flags & OFlag::O_ACCMODE;
    if flags.contains(OFlag::O_PATH) {
        // A name rather than a file, with the access mode of reading.
        return Reach::Further;
    }
    let only = match wanted {
        Use::Read => access == OFlag::O_RDONLY,
        Use::Write => access == OFlag::O_WRONLY,
    };
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFIFO if only => Reach::Bytes,
        SFlag::S_IFREG if only || matches!(wanted, Use::Read) && is_sealed(descriptor) => Reach::Bytes,
        SFlag::S_IFCHR if major(stat.st_rdev) == 1 => of_device(minor(stat.st_rdev)),
        _ => Reach::Further,
    }
}

fn of_device(minor: u64) -> Reach {
    match minor {
        minor if SINKS.contains(&minor) => Reach::Nothing,
        minor if PLAIN_DEVICES.contains(&minor) => Reach::Bytes,
        _ => Reach::Further,
    }
}

/// Whether it is memory that nobody can change any more, though it is open for writing. memfd_create(2).
fn is_sealed(descriptor: &OwnedFd) -> bool {
    let seals = fcntl(descriptor, FcntlArg::F_GET_SEALS).map(SealFlag::from_bits_truncate);
    seals.is_ok_and(|seals| seals.contains(SealFlag::F_SEAL_WRITE))
}

/// Where terminals are made: those of the host, for a jail that has no devpts of its own, and those of a jail.
const OF_HOST: &str = "/dev/ptmx";
const OF_JAIL: &str = "/dev/pts/ptmx";

/// In init: the run's descriptors, those given or a terminal of the jail's own, of which the other end comes beside them.
pub fn for_command(tier: Tier, wanted: Terminal, given: Vec<OwnedFd>) -> Result<(Stdio, Option<OwnedFd>), Failed> {
    let failed = Failed::at("stdio");
    let mut given = given.into_iter();
    let mut next = || given.next().ok_or_else(|| failed(Errno::EPROTO)).and_then(descriptors::above_stdio);
    let Terminal::Own { rows, columns, stderr } = wanted else {
        return Ok((Stdio { descriptors: [next()?, next()?, next()?], terminal: false }, None));
    };
    let (master, slave) = match tier {
        // No devpts of its own there: the launcher made the terminal, and Landlock grants no other.
        Tier::Bare => (None, next()?),
        Tier::Root | Tier::User => {
            let (master, slave) = open_terminal(OF_JAIL, rows, columns)?;
            (Some(master), slave)
        }
    };
    let copy = || slave.try_clone().map_err(|_| failed(Errno::EMFILE));
    let error = if stderr { copy()? } else { next()? };
    Ok((Stdio { descriptors: [copy()?, copy()?, error], terminal: true }, master))
}

fn open_terminal(maker: &str, rows: u16, columns: u16) -> Result<(OwnedFd, OwnedFd), Failed> {
    let failed = Failed::at("open_terminal");
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = open(maker, flags, Mode::empty()).map_err(&failed)?;
    terminal::unlock(master.as_fd()).map_err(&failed)?;
    terminal::resize(master.as_fd(), terminal::Size { rows, columns }).map_err(&failed)?;
    let slave = terminal::open_peer(master.as_fd()).map_err(&failed)?;
    Ok((master, slave))
}
