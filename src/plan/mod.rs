//! The plan: a profile resolved against one request and one host.
//!
//! Complete, sorted, printable and hashable; the only thing that the kernel side is told. Owns the types; [`compile`]
//! makes one, [`explain`] prints one, [`digest`] names one. Nothing here touches the kernel.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::host::{Controllers, Tier};
use crate::policy::egress::Rules;
use crate::policy::syscalls::SyscallPolicy;
use crate::profile::promise::Promise;
use crate::profile::recording::Recording;

pub mod ahead;
pub mod beside;
pub mod built_in;
pub mod compile;
pub mod digest;
pub mod explain;
pub mod filter;
pub mod judge;
pub mod paths;
pub mod promise;
pub mod refused;
pub mod request;
pub mod shield;
pub mod sight;
pub mod view;

/// Everything that will be enforced on one jail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The profile that it was made from.
    pub profile: String,
    /// Where that profile came from, base first.
    pub sources: Vec<String>,
    /// The tier that it was made for.
    pub tier: Tier,
    /// Paths in the jail, parents first.
    pub view: View,
    /// The second wall: rights by path, over the view.
    pub landlock: Landlock,
    /// What is hidden or protected inside what is granted.
    pub shields: Vec<Shield>,
    /// How new names in the workspace come about.
    pub naming: Naming,
    /// Who the command is.
    pub identity: Identity,
    /// What may be reached through the gate; nothing, and there is none.
    pub egress: Rules,
    /// Which system calls may be made.
    pub syscalls: SyscallPolicy,
    /// Bounds.
    pub limits: Limits,
    /// How much of what a command does is recorded.
    pub recording: Recording,
    /// Whether runs wear a filter that asks init, about names and about what is recorded.
    pub asks: bool,
    /// Hidden patterns outside of everything granted, where reading is recorded: nothing is there, and asking for it says something.
    pub watched: Vec<Shield>,
    /// The environment that the command starts with, before what the request adds.
    pub environment: BTreeMap<String, String>,
    /// Names that are copied from the caller.
    pub pass: Vec<String>,
    /// Where the workspace stands inside the jail.
    pub workspace: Option<PathBuf>,
    /// Where a command starts.
    pub cwd: PathBuf,
    /// By what each promise is kept, and whether wholly.
    pub promises: BTreeMap<Promise, Keeping>,
}

/// What exists in the jail. In the bare tier, where the host's own tree is seen through Landlock alone, it is what was
/// granted and why, and nothing of it is mounted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// By path inside the jail; the order of the map puts parents first.
    pub entries: BTreeMap<PathBuf, Entry>,
}

/// One thing in the view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// A path of the host. One that does not exist is left out; a symbolic link is made anew.
    Host(HostPath),
    /// A private filesystem in memory, gone with the jail.
    Private {
        /// Most bytes in it.
        size: u64,
        /// Whether its files may be executed.
        execute: bool,
        /// Permission bits of its root; the command's uid owns it.
        mode: u32,
    },
    /// The jail's own processes, proc(5), read-only.
    Proc,
    /// The jail's own terminals, devpts.
    Terminals,
    /// A device of the host that is safe to share (`null`, `zero`, ...).
    Device,
    /// A directory of the view itself.
    Directory,
    /// A file written by clawjail.
    File {
        /// All of it. `{uid}`, `{gid}` stand for the command's.
        content: String,
    },
    /// Whom programs trust: the authorities of the host, and that of the jail's own gate.
    Trust {
        /// How it is written.
        form: TrustForm,
        /// All of it: nothing in a plan, and what the gate says where init is told.
        content: Vec<u8>,
    },
    /// The same file as at another path, over what the host has here, if it has anything.
    Over {
        /// Where else it is in the view; before this one in the order of paths.
        same_as: String,
    },
    /// A symbolic link.
    Link {
        /// What it points to.
        target: String,
    },
    /// Something of the jail's own /proc that says too much about the host: an empty file stands over it.
    Masked,
}

/// How trusted authorities are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrustForm {
    /// One after the other, as nearly everything reads them.
    Pem,
    /// A key store of Java.
    Jks,
}

/// A path of the host in the view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostPath {
    /// On the host.
    pub source: PathBuf,
    /// Who may do what below it.
    pub rights: Rights,
    /// Whether its owner is shown as the command's uid, so that new files belong to that owner.
    pub owner: Option<Owner>,
    /// What to do when it is not there.
    pub missing: Missing,
    /// Why it is there.
    pub why: String,
    /// Who said so.
    pub from: String,
}

/// What happens when a path of the view does not exist on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// It is left out: policies name paths of many distributions.
    Skip,
    /// It is left out, also when a link is on the way: it lies in the workspace, where anybody who worked there could have
    /// put one.
    Unlinked,
    /// The run fails: the caller named it.
    Fail,
}

/// The uid and gid on disk that stand for the command's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// What may be done with a path and all below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rights {
    /// List directories.
    pub list: bool,
    /// Read files and list directories.
    pub read: bool,
    /// Change, create, remove and rename.
    pub write: bool,
    /// Execute files.
    pub execute: bool,
    /// Talk to devices by ioctl(2).
    pub devices: bool,
}

impl Rights {
    /// List only.
    pub const LIST: Rights = Rights { list: true, read: false, write: false, execute: false, devices: false };
    /// Read and list.
    pub const READ: Rights = Rights { list: true, read: true, write: false, execute: false, devices: false };
    /// Read, list, and change.
    pub const WRITE: Rights = Rights { list: true, read: true, write: true, execute: false, devices: false };
    /// A device: read, write and ioctl.
    pub const DEVICE: Rights = Rights { list: true, read: true, write: true, execute: false, devices: true };

    /// Both together.
    pub fn union(self, other: Rights) -> Rights {
        Rights {
            list: self.list || other.list,
            read: self.read || other.read,
            write: self.write || other.write,
            execute: self.execute || other.execute,
            devices: self.devices || other.devices,
        }
    }

    /// Whether everything in `other` is in `self` too.
    pub fn covers(self, other: Rights) -> bool {
        self.union(other) == self
    }
}

/// The Landlock domain that init wears and every run inherits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Landlock {
    /// The ABI whose every right is handled.
    pub abi: u32,
    /// Rights by path inside the jail.
    pub rules: BTreeMap<PathBuf, Rights>,
    /// Whether TCP is denied (the jail has no network namespace of its own).
    pub deny_tcp: bool,
}

/// Something that stays unreadable or unwritable inside what is granted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shield {
    /// Absolute path inside the jail, `*` and `**` as in `fast_glob`.
    pub pattern: String,
    /// Which of the two.
    pub effect: Effect,
    /// Why.
    pub why: String,
    /// Who said so.
    pub from: String,
}

/// What a shield does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Not there.
    Hide,
    /// There, but never changed or created.
    Protect,
    /// There, and changed or created only by the broker, which looks at what it would hold: settings of git.
    Vet,
}

/// How new names in the workspace come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Naming {
    /// By the command itself: nothing there is shielded, or nothing is writable.
    Direct,
    /// By init on the command's behalf, after a look at the name: Landlock denies the command to make any itself.
    Brokered,
}

/// Who the command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// A uid and gid that nobody else has, from this range; the jail's init picks by its own pid.
    ThrowAway {
        /// First uid of the range.
        first: u32,
        /// How many.
        count: u32,
    },
    /// The caller's uid and gid, alone in a user namespace where it owns nothing.
    Mapped(Owner),
    /// The caller's uid and gid as they are (bare tier).
    Caller(Owner),
}

/// Bounds, and what they rest on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// What controllers there are.
    pub controllers: Controllers,
    /// Bytes of memory for the whole jail.
    pub memory: Option<u64>,
    /// Thousandths of a processor.
    pub cpu_milli: Option<u32>,
    /// Processes and threads.
    pub processes: Option<u64>,
    /// Open files a process.
    pub open_files: u64,
    /// Bytes of one file.
    pub file_size: Option<u64>,
    /// Milliseconds of wall time.
    pub wall_ms: Option<u64>,
    /// Bytes of output.
    pub output: Option<u64>,
}

/// By what a promise is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeping {
    /// The mechanisms, in the words that `doctor` uses.
    pub mechanisms: Vec<String>,
    /// What is missing to keep it wholly; `None` when it is.
    pub missing: Option<String>,
}

impl Plan {
    /// Whether a command can be told paths as on the host.
    pub fn sees_host_paths(&self) -> bool {
        !self.tier.has_namespaces()
    }

    /// Whether names are judged by what git would do with them too, and files are opened for writing by the broker.
    pub fn vets_repositories(&self) -> bool {
        self.naming == Naming::Brokered && self.shields_that(Effect::Vet).next().is_some()
    }

    /// Whether the jail has a gate.
    pub fn has_gate(&self) -> bool {
        !self.egress.allow_nothing()
    }

    /// Whether the jail's network leads to it; otherwise programs are asked to use it.
    pub fn leads_to_gate(&self) -> bool {
        self.has_gate() && self.tier.has_namespaces()
    }

    /// Shields with `effect`.
    pub fn shields_that(&self, effect: Effect) -> impl Iterator<Item = &Shield> {
        self.shields.iter().filter(move |shield| shield.effect == effect)
    }
}
