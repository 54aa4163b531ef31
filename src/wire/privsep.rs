//! The messages between supervisor, launcher and init.
//!
//! One table a direction. Every message is one datagram of a seqpacket socket, encoded by postcard; its descriptors travel
//! beside it. A message that does not decode ends the conversation: there is no guessing.
//!
//! ```text
//! supervisor --> launcher   Run [stdio]   Signal   Kill   or: Open   Enter [stdio, channel]   Close;   Look
//! launcher --> supervisor   Refused | Failed | Started [ends] ... Ended   or: Opened ... Closed;   Looked
//! launcher --> init         Orders [trees]   Confine [groups]   Start [stdio]   Signal   End
//! init --> launcher         Failed | Joined [view]   Gateway [gate's sockets]   NotStarted | Proven   Running [terminal]   Ended
//! ```

use serde::{Deserialize, Serialize};

use super::files::FileJob;
use crate::host::Tier;
use crate::plan::Plan;
use crate::plan::filter::Program;
use crate::policy::environment::{Secrecy, secrecy};
use crate::profile::narrow::Narrow;
// The facts themselves belong to the verdict, further down the ladder; messages carry them as they are.
pub use crate::verdict::observed::{Change, Denied, Ending, Execution, How, Listener, Observed, Peak, Process, Watch};
pub use crate::verdict::run::{Cause, End, Ended, Finding, Started, Used};

/// Bytes that need not be UTF-8: an argument, a path, a value.
pub type Text = Vec<u8>;

/// The kernel's limit for argv and environment together on common settings, with room for the rest; execve(2).
pub const MOST_BYTES: usize = 4 << 20;
/// A message above this many bytes travels in a memfd: socket buffers are smaller.
pub const INLINE_BYTES: usize = 64 << 10;
/// Descriptors that one message can carry.
pub const MOST_DESCRIPTORS: usize = 48;

/// From the supervisor to the launcher.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToLauncher {
    /// Start a run. Descriptors: the caller's stdin, stdout, stderr, then the relay's ends for the same three; without these the
    /// launcher makes what is to be relayed of stdout and stderr.
    Run(Box<RunRequest>),
    /// Make a jail ahead of the next `Run`, which may be for this. Its command, environment and descriptors count for nothing.
    Prepare(Box<RunRequest>),
    /// Send this signal to the command.
    Signal(i32),
    /// End the run now, for this reason.
    Kill(Cause),
    /// Make a jail that stays, for runs that are asked for by `Enter`. Its command, environment and descriptors count for nothing.
    Open(Box<RunRequest>, Lifetime),
    /// Start a run in the open jail. Descriptors: as for `Run`, then a channel on which everything about this run is said.
    Enter(Box<RunRequest>, Work),
    /// Close the open jail.
    Close,
    /// Say what the jail uses now.
    Look,
}

/// What a jail uses at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Bytes of memory.
    pub memory: u64,
    /// Processes, init among them.
    pub processes: u64,
    /// Microseconds of processor time so far.
    pub processor_us: u64,
}

/// How long an open jail may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifetime {
    /// Milliseconds without a run, after which it is closed.
    pub idle_ms: u64,
    /// Milliseconds after which it is closed whatever runs in it.
    pub age_ms: u64,
}

/// Why an open jail is closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Closing {
    /// Somebody asked for it.
    Asked,
    /// Nothing ran for too long.
    Idle,
    /// It was too old.
    Age,
    /// Its init is gone: for lack of memory, or because a promise did not hold.
    Broken,
}

/// A jail that stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// Digest of the plan.
    pub plan: String,
    /// The profile's name.
    pub profile: String,
    /// The tier.
    pub tier: Tier,
    /// Where its workspace is, inside.
    pub workspace: Option<Text>,
}

/// A run, as the supervisor asks for it. Nothing in it is believed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRequest {
    /// Name of the profile.
    pub profile: String,
    /// The tier that was asked for, or the best there is.
    pub tier: Option<Tier>,
    /// The command and its arguments.
    pub argv: Vec<Text>,
    /// `NAME`, `value` that the caller sets.
    pub set: Vec<(Text, Text)>,
    /// Names that the caller wants passed beyond the profile's own.
    pub pass: Vec<Text>,
    /// The caller's environment, from which names are passed.
    pub inherited: Vec<(Text, Text)>,
    /// The workspace on the host.
    pub workspace: Text,
    /// Where to start, on the host.
    pub cwd: Option<Text>,
    /// Whether the command gets a terminal.
    pub terminal: Terminal,
    /// The caller's wall limit, milliseconds.
    pub timeout_ms: Option<u64>,
    /// What the caller takes away from the profile.
    pub narrow: Narrow,
    /// Directories beside the workspace: on the host, and where they are shown.
    pub mounts: Vec<(Text, String)>,
    /// For which agent, by whose name its hosts are remembered.
    pub agent: Option<String>,
}

impl RunRequest {
    /// What a jail is asked for by, before there is a command.
    pub fn for_jail(profile: String, tier: Option<Tier>, workspace: Text, narrow: Narrow) -> RunRequest {
        RunRequest {
            profile,
            tier,
            argv: Vec::new(),
            set: Vec::new(),
            pass: Vec::new(),
            inherited: Vec::new(),
            workspace,
            cwd: None,
            terminal: Terminal::None,
            timeout_ms: None,
            narrow,
            mounts: Vec::new(),
            agent: None,
        }
    }

    /// Values that a record must not hold: what the caller has under names of secrets, and what they gave to this run.
    pub fn secrets(&self) -> Vec<Text> {
        let all = self.set.iter().chain(&self.inherited);
        all.filter(|(name, _)| secrecy(name) == Secrecy::Secret).map(|(_, value)| value.clone()).collect()
    }
}

/// Whether the command gets a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Terminal {
    /// It does not.
    None,
    /// One of its own, this large at start.
    Own {
        /// Lines.
        rows: u16,
        /// Characters a line.
        columns: u16,
        /// Whether stderr goes there too; otherwise it is the relay's.
        stderr: bool,
    },
}

/// From the launcher to the supervisor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FromLauncher {
    /// No; nothing was executed.
    Refused {
        /// Stable word.
        code: String,
        /// One line.
        message: String,
        /// What to do about it.
        remedy: Option<String>,
    },
    /// Our own fault; nothing was executed, or the run was ended.
    Failed(Failure),
    /// The command is about to run. Descriptors: the terminal's master, if it has one; or what is to be read of stdout and stderr,
    /// where the request had nothing to relay them by.
    Started(Box<Started>),
    /// The command has ended; everything else of the run ends now. With how it started, and the descriptors of that, where it
    /// ended before that was said. Last word but for `Failed`, if that does not work.
    Ended(Option<Box<Started>>, Box<Ended>),
    /// The jail stands, and runs may enter it.
    Opened(Box<Opened>),
    /// The jail is gone with all that was in it.
    Closed(Closing),
    /// What the jail uses.
    Looked(Usage),
}

/// Something of ours that did not work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The function's name.
    pub step: String,
    /// What the kernel said.
    pub errno: i32,
    /// On what, if it helps.
    pub what: Option<String>,
}

/// The step at which a command was ordered and its jail not heard of again: it may have been executed.
pub const UNHEARD: &str = "await_running";

/// From the launcher to init.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToInit {
    /// Build the jail. Descriptors: detached trees for `trees`, in that order.
    Orders(Box<Orders>),
    /// Join the control groups, then confine yourself. Descriptors: `tasks` files, open for writing (v1).
    Confine(Box<Filters>),
    /// Run a command, under this number. Descriptors: stdin, stdout, stderr (those that are not the terminal's).
    Start(Run, Box<Command>),
    /// Send this signal to the command.
    Signal(Run, i32),
    /// End the command with all that descends from it.
    End(Run),
}

/// A run's number in its jail; that of the only one is 0.
pub type Run = u32;

/// How many runs a jail is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keeps {
    /// One: init ends with it.
    OneRun,
    /// One that is not known yet: a process is made ready for it, and init ends with it.
    NextRun,
    /// Any number, until the jail is closed.
    ManyRuns,
}

/// Everything init needs to build a jail.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Orders {
    /// The plan.
    pub plan: Plan,
    /// The uid that the command has.
    pub uid: u32,
    /// The gid that the command has.
    pub gid: u32,
    /// Paths in the view whose trees come as descriptors.
    pub trees: Vec<String>,
    /// Paths in the view with device and inode of what was judged: the workspace, and what is beside it. What is mounted must
    /// be the same.
    pub judged: Vec<(String, (u64, u64))>,
    /// A pid outside the jail that a probe tries to signal.
    pub outsider: i32,
    /// How many runs it is for.
    pub keeps: Keeps,
    /// The gate's port, where the jail has no network of its own.
    pub gate: Option<u16>,
}

/// The system call filters of a jail.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Filters {
    /// What init and its runs wear.
    pub all: Program,
    /// What brokered runs wear on top.
    pub brokered: Program,
}

/// A command, ready to be executed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Command {
    /// Arguments; the first names the program.
    pub argv: Vec<Text>,
    /// `NAME=value`.
    pub environment: Vec<Text>,
    /// Where to start, inside.
    pub cwd: Text,
    /// Whether it gets a terminal.
    pub terminal: Terminal,
    /// What it is to do.
    pub work: Work,
}

/// What a run's process does once it wears its confinement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// It executes the command.
    Execute,
    /// It does this with a file by itself: content comes on stdin, and an [`files::Answer`](super::files::Answer) goes to
    /// stdout.
    File(FileJob),
}

/// From init to the launcher.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FromInit {
    /// The jail could not be built.
    Failed(Failure),
    /// The run could not be prepared.
    NotStarted(Run, Failure),
    /// It is in its groups, as far as it can tell. Descriptors: its view's top and namespaces, if it has a view.
    Joined,
    /// The jail's network leads to its gate, before or after that, and this is what came of trying to get past it. Descriptors: the
    /// gate's sockets.
    Gateway(Vec<Finding>),
    /// The command's process wears its confinement, and got out when it tried. It executes nothing.
    Broken(Run, Vec<Finding>),
    /// The command runs; this is what came of trying to get out before. Descriptor: the terminal's master, if it has one.
    Running(Run, Vec<Finding>),
    /// The command has ended.
    Ended {
        /// Which run.
        run: Run,
        /// How.
        end: End,
        /// In user mode, microseconds, with all it waited for.
        user_us: u64,
        /// In the kernel, microseconds.
        system_us: u64,
        /// Largest resident size of one process, bytes.
        peak_memory: u64,
        /// What was denied, as far as init saw it.
        denials: Vec<Denied>,
        /// What it did, as far as init recorded it.
        observed: Box<Observed>,
        /// What came of trying to get out, where it ended before that was said.
        findings: Option<Vec<Finding>>,
    },
}
