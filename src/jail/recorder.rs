//! What is noted of each run: what it was denied, what it executed, read, changed, and listened on.
//!
//! It decides nothing: whatever it sees or misses, the answer is the one that would be given without it. What it keeps is bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use super::asker::Asker;
use super::asking::Asked;
use super::changes::Changes;
use super::command::search_path;
use super::ends::Ends;
use super::judging::Answer;
use super::listening::{self, Pending};
use super::observing::Told;
use crate::plan::paths::lies_at_or_below;
use crate::plan::sight::{Sight, Wish, normal};
use crate::plan::{Effect, Plan, Rights, Shield};
use crate::profile::recording::Recording;
use crate::wire::privsep::{Command, Denied, Ending, Execution, Listener, Observed, Process, Run};

/// Most different denials of one run; more are counted together.
const MOST_DENIALS: usize = 255;
/// Most programs that are listed, and most bytes of their arguments.
const MOST_EXECUTIONS: usize = 4096;
const MOST_ARGUMENT_BYTES: usize = 512 << 10;
/// Most programs that are remembered as such.
const MOST_PROGRAMS: usize = 1024;
/// Most bytes of a run's own arguments.
const MOST_FIRST_BYTES: usize = 4096;
/// Most paths that are listed as read, and most bytes of them.
const MOST_READS: usize = 4096;
const MOST_READ_BYTES: usize = 512 << 10;
/// Most sockets that are listed.
const MOST_LISTENERS: usize = 64;

/// Why nothing is reached where there is no gate.
const NO_NETWORK: &str = "no network in this profile";

/// What was tried, by what it was denied, on what, and by which rule.
type Key = (String, &'static str, Vec<u8>, String);

/// Notes of all runs of one jail.
pub struct Recorder {
    level: Recording,
    sight: Sight,
    // Whether nothing stands over what is hidden, so that its being there says nothing (bare tier).
    uncovered: bool,
    workspace: Option<PathBuf>,
    runs: BTreeMap<Run, Notes>,
    ends: Option<Ends>,
    // Programs that may be executed, by paths that nobody in the jail can change: looked at once.
    programs: BTreeSet<Vec<u8>>,
}

/// What a run's first process becomes.
#[derive(Clone, Debug)]
pub struct First {
    path: PathBuf,
    argv: Vec<Vec<u8>>,
}

/// How often something was denied, when first and last in microseconds, and to whom.
type Times = (u64, (u64, u64), Option<Process>);

/// Notes of one run.
struct Notes {
    began: Instant,
    denied: BTreeMap<Key, Times>,
    further: u64,
    observed: Observed,
    argument_bytes: usize,
    reads: BTreeSet<Vec<u8>>,
    read_bytes: usize,
    changes: Option<Changes>,
    pending: Vec<Pending>,
    asked_a_name_server: Option<SocketAddr>,
    first: Option<First>,
}

impl Recorder {
    /// For a jail of `plan`.
    pub fn new(plan: &Plan) -> Recorder {
        let shields = plan.shields.iter().filter(|shield| shield.effect != Effect::Vet);
        let sight = Sight::new(&plan.landlock.rules, shields.chain(&plan.watched).cloned().collect());
        let changeable = plan.workspace.as_ref().filter(|path| sight.grants(path, Wish::Write)).cloned();
        Recorder {
            level: plan.recording,
            sight,
            uncovered: plan.sees_host_paths(),
            workspace: changeable,
            runs: BTreeMap::new(),
            ends: (plan.recording != Recording::Off).then(Ends::new).flatten(),
            programs: BTreeSet::new(),
        }
    }

    /// Notes of a run begin, whose first process becomes `first`. Its memory cannot be read before, for it is still ours.
    pub fn begin(&mut self, run: Run, first: Option<First>) {
        let changes = self.workspace.as_deref().filter(|_| self.level == Recording::Full).map(Changes::new);
        self.runs.insert(
            run,
            Notes {
                began: Instant::now(),
                denied: BTreeMap::new(),
                further: 0,
                observed: Observed::default(),
                argument_bytes: 0,
                reads: BTreeSet::new(),
                read_bytes: 0,
                changes,
                pending: Vec::new(),
                asked_a_name_server: None,
                first,
            },
        );
    }

    /// What becomes readable when a process has ended.
    pub fn ready(&self) -> Option<BorrowedFd<'_>> {
        self.ends.as_ref().and_then(Ends::ready)
    }

    /// Whether something is to be looked at that only time will show.
    pub fn has_to_wait(&self) -> bool {
        self.ends.as_ref().is_some_and(|ends| ends.ready().is_none())
            || self.runs.values().any(|notes| !notes.pending.is_empty())
    }

    /// Looks at what has become of processes and sockets, when it is time.
    pub fn look(&mut self) {
        if self.ends.as_mut().is_some_and(Ends::is_due) {
            self.gather();
        }
        for notes in self.runs.values_mut().filter(|notes| !notes.pending.is_empty()) {
            notes.find_listeners();
        }
    }

    /// Notes which processes have ended.
    fn gather(&mut self) {
        for ((run, number), status) in self.ends.as_mut().map(Ends::gather).unwrap_or_default() {
            if let Some(notes) = self.runs.get_mut(&run) {
                notes.end(number, status);
            }
        }
    }

    /// Before an answer is decided.
    pub fn before(&mut self, run: Option<Run>, asked: &Asked) {
        let changes = run.and_then(|run| self.runs.get_mut(&run)).and_then(|notes| notes.changes.as_mut());
        if let Some(changes) = changes {
            changes.before(asked);
        }
    }

    /// After an answer was decided: one that leaves the call to the kernel, where the plan grants it nothing, is a denial.
    pub fn after(&mut self, run: Option<Run>, asker: &Asker<'_>, asked: &Asked, answer: &Answer) {
        let left = matches!(answer, Answer::Continue | Answer::Errno(Errno::EACCES | Errno::EPERM | Errno::EROFS));
        let Some(notes) = run.filter(|_| left).and_then(|run| self.runs.get_mut(&run)) else { return };
        for (kind, path) in wishes(asked) {
            let shield = self.sight.shield(&path);
            let granted = self.sight.grants(&path, Wish::Write);
            if (granted && shield.is_none()) || is_of_the_kernel(&path) {
                continue;
            }
            let there = std::fs::symlink_metadata(&path).is_ok();
            let kind = match (kind, there) {
                ("open", true) => "write",
                ("make", false) => "create",
                ("mkdir" | "symlink" | "link", false) | ("remove" | "rename" | "truncate" | "mode", true) => kind,
                // What is there cannot be made, and what is not cannot be changed, whoever grants what.
                _ => continue,
            };
            // A hidden or protected name that only a home of its own has is the command's.
            if granted && there && kind == "write" && access(&path, AccessFlags::W_OK).is_ok() {
                continue;
            }
            if granted && !there && !self.workspace.as_ref().is_some_and(|workspace| lies_at_or_below(&path, workspace))
            {
                continue;
            }
            notes.deny(asker, (kind.into(), "view", bytes(&path), rule(shield)));
        }
    }

    /// The broker said no.
    pub fn denied(&mut self, run: Option<Run>, asker: Option<&Asker<'_>>, path: &Path, action: &str, pattern: String) {
        if let Some(notes) = run.and_then(|run| self.runs.get_mut(&run)) {
            notes.note((action.to_owned(), "broker", bytes(path), pattern), asker);
        }
    }

    /// Whether there is nothing to note of what a command said.
    pub fn knows(&self, run: Option<Run>, told: &Told) -> bool {
        let notes = run.and_then(|run| self.runs.get(&run));
        match told {
            Told::Read(path) => notes.is_none_or(|notes| notes.reads.contains(path.as_os_str().as_bytes())),
            Told::Execute { .. } | Told::Reach(_) | Told::LookUp(_) | Told::Listen(_) | Told::Nothing => {
                notes.is_none()
            }
        }
    }

    /// A command said what it is about to do, and it is not known.
    pub fn told(&mut self, run: Option<Run>, asker: &Asker<'_>, told: Told) {
        let Some(run) = run else { return };
        let unreadable = match &told {
            Told::Read(path) => self.unreadable(path),
            Told::Execute { .. } => {
                // In their order, so that the one who waited for an end is not told of as having begun before it.
                self.gather();
                None
            }
            _ => None,
        };
        let Some(notes) = self.runs.get_mut(&run) else { return };
        match told {
            Told::Execute { path, argv, cut } => self.executed(run, asker, &path, (argv, cut)),
            Told::Read(path) => {
                if let Some(denied) = unreadable {
                    notes.deny(asker, ("read".into(), denied.0, bytes(&path), denied.1));
                } else {
                    notes.read(path);
                }
            }
            Told::Reach(address) if address.ip().is_loopback() || address.ip().is_unspecified() => {
                if address.port() == 53 {
                    notes.asked_a_name_server = Some(address);
                }
            }
            Told::Reach(address) => {
                notes.deny(asker, ("connect".into(), "network", address.to_string().into_bytes(), NO_NETWORK.into()));
            }
            Told::LookUp(name) => notes.deny(asker, ("look_up".into(), "network", name, NO_NETWORK.into())),
            Told::Listen(inode) => {
                let pending = Pending { inode, pid: asker.pid(), after_us: notes.now(), tries: 0 };
                if notes.pending.len() < MOST_LISTENERS {
                    notes.pending.push(pending);
                }
            }
            Told::Nothing => {
                let Some(First { path, argv }) = notes.first.take() else { return };
                let (argv, cut) = shortened(argv);
                let ends = self.ends.as_mut();
                let (_, parent) = ends.map_or((None, None), |ends| ends.begin(asker.pid(), (run, 0)));
                notes.execute(asker, &path, argv, cut, parent);
            }
        }
    }

    /// A process becomes `path`, if that is a program.
    fn executed(&mut self, run: Run, asker: &Asker<'_>, path: &Path, (argv, cut): (Vec<Vec<u8>>, bool)) {
        let known = self.programs.contains(path.as_os_str().as_bytes());
        if !known && !self.is_executed(run, asker, path) {
            return;
        }
        let Some(notes) = self.runs.get_mut(&run) else { return };
        let number = notes.observed.executions.len();
        let (before, parent) = self.ends.as_mut().map_or((None, None), |ends| ends.begin(asker.pid(), (run, number)));
        if let Some((_, number)) = before {
            notes.end(number, None);
        }
        notes.execute(asker, path, argv, cut, parent);
    }

    /// Whether executing `path` works, as far as the plan and the file go; a denial is noted.
    fn is_executed(&mut self, run: Run, asker: &Asker<'_>, path: &Path) -> bool {
        let Some(notes) = self.runs.get_mut(&run) else { return false };
        if !is_program(path) {
            if let Some(shield) = hidden(&self.sight, path) {
                notes.deny(asker, ("execute".into(), "view", bytes(path), shield.pattern.clone()));
            }
            return false;
        }
        if !granted(&self.sight, path, Wish::Execute) {
            notes.deny(asker, ("execute".into(), "landlock", bytes(path), String::new()));
            return false;
        }
        if self.programs.len() < MOST_PROGRAMS && !granted(&self.sight, path, Wish::Write) {
            self.programs.insert(bytes(path));
        }
        true
    }

    /// What was noted of a run that is over, whose first process was `leader` and ended with `status`.
    pub fn finish(&mut self, run: Run, leader: u32, status: i32) -> (Vec<Denied>, Box<Observed>) {
        self.gather();
        self.look();
        let Some(mut notes) = self.runs.remove(&run) else { return Default::default() };
        if let Some(ends) = &mut self.ends {
            ends.forget(run);
        }
        let first = notes.observed.executions.iter().rposition(|one| one.pid == leader);
        // Where the kernel does not say how a process ended that others wait for, this is the one that we waited for.
        let first = first.filter(|number| {
            let ended = notes.observed.executions.get(*number).and_then(|one| one.ended);
            ended.is_none_or(|ended| ended.status.is_none())
        });
        if let Some(number) = first {
            notes.end(number, Some(status));
        }
        notes.finish()
    }
}

impl Recorder {
    /// By what and by which rule `path` cannot be read, where that is for the plan's reasons.
    fn unreadable(&self, path: &Path) -> Option<(&'static str, String)> {
        if self.uncovered
            && let Some(shield) = hidden(&self.sight, path)
        {
            return Some(("landlock", shield.pattern.clone()));
        }
        match access(path, AccessFlags::R_OK) {
            Ok(()) if granted(&self.sight, path, Wish::Read) => None,
            Ok(()) => {
                let listed = self.sight.rights(path).list && path.is_dir();
                (!listed).then(|| ("landlock", String::new()))
            }
            Err(Errno::ENOENT | Errno::ENOTDIR) => match hidden(&self.sight, path) {
                Some(shield) => Some(("view", shield.pattern.clone())),
                // Programs look for files in many places; only where nothing at all is granted is absence our doing.
                None => (self.sight.rights(path) == Rights::default()).then(|| ("view", String::new())),
            },
            Err(Errno::EACCES | Errno::EPERM) => Some(("view", rule(hidden(&self.sight, path)))),
            Err(_) => None,
        }
    }
}

impl First {
    /// What `command` becomes, found as execvp(3) does; `None` where that is nothing.
    pub fn of(command: &Command) -> Option<First> {
        let name = OsStr::from_bytes(command.argv.first()?);
        let cwd = Path::new(OsStr::from_bytes(&command.cwd));
        let path = if name.as_bytes().contains(&b'/') {
            Some(normal(&cwd.join(name))).filter(|path| is_program(path))
        } else {
            let places = search_path(&command.environment).split(|byte| *byte == b':');
            places.map(|place| normal(&cwd.join(OsStr::from_bytes(place)).join(name))).find(|path| is_program(path))
        };
        Some(First { path: path?, argv: command.argv.clone() })
    }
}

/// Whether the plan grants that, of the path as it is written or of what its links lead to.
fn granted(sight: &Sight, path: &Path, wish: Wish) -> bool {
    sight.grants(path, wish) || path.canonicalize().is_ok_and(|real| sight.grants(&real, wish))
}

/// What hides `path`, if anything does.
fn hidden<'a>(sight: &'a Sight, path: &Path) -> Option<&'a Shield> {
    sight.shield(path).filter(|shield| shield.effect == Effect::Hide)
}

/// Whether it lies where names are the kernel's own.
fn is_of_the_kernel(path: &Path) -> bool {
    ["/proc", "/dev"].iter().any(|tree| lies_at_or_below(path, Path::new(tree)))
}

/// Whether somebody may execute it.
fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

/// The arguments that are kept, and whether that is not all of them.
fn shortened(argv: Vec<Vec<u8>>) -> (Vec<Vec<u8>>, bool) {
    let (mut kept, mut left) = (Vec::new(), MOST_FIRST_BYTES);
    let all = argv.len();
    for argument in argv {
        left = left.saturating_sub(argument.len() + 1);
        if left == 0 {
            break;
        }
        kept.push(argument);
    }
    let cut = kept.len() < all;
    (kept, cut)
}

impl Notes {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn deny(&mut self, asker: &Asker<'_>, key: Key) {
        self.note(key, Some(asker));
    }

    fn note(&mut self, key: Key, asker: Option<&Asker<'_>>) {
        let now = self.now();
        if let Some((count, (_, last), _)) = self.denied.get_mut(&key) {
            (*count, *last) = (count.saturating_add(1), now);
        } else if self.denied.len() < MOST_DENIALS {
            let by = asker.map(|asker| Process { pid: asker.pid(), name: asker.name() });
            self.denied.insert(key, (1, (now, now), by));
        } else {
            self.further = self.further.saturating_add(1);
        }
    }

    fn execute(&mut self, asker: &Asker<'_>, path: &Path, argv: Vec<Vec<u8>>, cut: bool, parent: Option<u32>) {
        let bytes_more = path.as_os_str().len() + argv.iter().map(Vec::len).sum::<usize>() + 64;
        // Once one is left out all are, so that the numbers of those that are there stay their own.
        if self.observed.more_executions > 0
            || self.observed.executions.len() >= MOST_EXECUTIONS
            || self.argument_bytes.saturating_add(bytes_more) > MOST_ARGUMENT_BYTES
        {
            self.observed.more_executions = self.observed.more_executions.saturating_add(1);
            return;
        }
        self.argument_bytes += bytes_more;
        let parent = parent.or_else(|| asker.parent()).unwrap_or(0);
        let (pid, after_us) = (asker.pid(), self.now());
        self.observed.executions.push(Execution { pid, parent, path: bytes(path), argv, cut, after_us, ended: None });
    }

    fn end(&mut self, number: usize, status: Option<i32>) {
        let after_us = self.now();
        if let Some(execution) = self.observed.executions.get_mut(number) {
            execution.ended = Some(Ending { after_us, status });
        }
    }

    fn read(&mut self, path: PathBuf) {
        let path = path.into_os_string().into_vec();
        let more = path.len() + 16;
        if self.reads.len() >= MOST_READS || self.read_bytes.saturating_add(more) > MOST_READ_BYTES {
            self.observed.more_reads = self.observed.more_reads.saturating_add(1);
            return;
        }
        self.read_bytes += more;
        self.reads.insert(path);
    }

    fn find_listeners(&mut self) {
        let room = MOST_LISTENERS.saturating_sub(self.observed.listeners.len());
        let found = listening::find(&mut self.pending);
        self.observed.listeners.extend(found.into_iter().take(room).map(|(pending, address)| Listener {
            address: address.ip().to_string(),
            port: address.port(),
            pid: pending.pid,
            after_us: pending.after_us,
        }));
    }

    fn finish(mut self) -> (Vec<Denied>, Box<Observed>) {
        let named = self.denied.keys().any(|(kind, ..)| kind == "look_up");
        if let Some(server) = self.asked_a_name_server.filter(|_| !named) {
            self.note(
                ("look_up".into(), "network", format!("a name, of {server}").into_bytes(), NO_NETWORK.into()),
                None,
            );
        }
        let mut denials: Vec<Denied> = self.denied.into_iter().map(denied).collect();
        if self.further > 0 {
            let key = ("other".to_owned(), "view", b"further names, which are not listed".to_vec(), String::new());
            denials.push(denied((key, (self.further, (0, 0), None))));
        }
        self.observed.reads = self.reads.into_iter().collect();
        if let Some(changes) = self.changes {
            (self.observed.changes, self.observed.more_changes) = changes.finish();
        }
        self.observed.more_denials = self.further;
        (denials, Box::new(self.observed))
    }
}

fn denied((key, (count, when, by)): (Key, Times)) -> Denied {
    let (kind, mechanism, what, rule) = key;
    Denied { kind, what, mechanism: mechanism.to_owned(), rule, count, when_us: Some(when), by }
}

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

fn rule(shield: Option<&Shield>) -> String {
    shield.map(|shield| shield.pattern.clone()).unwrap_or_default()
}

/// What the kernel is left to make or change, by kind.
fn wishes(asked: &Asked) -> Vec<(&'static str, PathBuf)> {
    match asked {
        Asked::Open { at, flags, .. } => {
            let wish = ("open", at.whole());
            if flags & libc::O_CREAT != 0 { vec![wish, ("make", at.whole())] } else { vec![wish] }
        }
        Asked::Truncate { at, .. } => vec![("truncate", at.whole())],
        Asked::Mkdir { at, .. } => vec![("mkdir", at.whole())],
        Asked::Mknod { at, .. } => vec![("make", at.whole())],
        Asked::Remove { at, .. } => vec![("remove", at.whole())],
        Asked::Mode { at, .. } => vec![("mode", at.whole())],
        Asked::Symlink { at, .. } => vec![("symlink", at.whole())],
        Asked::Link { to, .. } => vec![("link", to.whole())],
        Asked::Rename { from, .. } => vec![("rename", from.whole())],
        Asked::Reopen { .. } | Asked::Unnamed { .. } | Asked::ModeOf { .. } => Vec::new(),
    }
}
