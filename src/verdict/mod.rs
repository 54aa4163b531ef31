//! The verdict: what was asked, what was enforced, what was denied, what it cost.
//!
//! Owns the record, its schema and the meaning of every key. Pure: it is told everything.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::Keeping;
use crate::profile::promise::Promise;

pub mod activity;
pub mod denials;
pub mod evidence;
pub mod observed;
pub mod redact;
pub mod run;

use activity::Activity;
use evidence::{Doer, Evidence, Grant};
use run::{Cause, End, Ended, Finding, Started};

/// Version of this record's shape. Keys are added under the same number; a changed meaning gets a new one.
pub const VERSION: u32 = 1;

/// One run, or one refusal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// Version of this record's shape.
    pub version: u32,
    /// UUIDv7: sorts by time.
    pub id: String,
    /// When it began, RFC 3339, UTC.
    pub time: String,
    /// Who asked, as the kernel says.
    pub caller: Caller,
    /// The agent that it was for, as configured; null when none was named.
    pub agent: Option<String>,
    /// The caller's word for what belongs together; null when none was given.
    pub session: Option<String>,
    /// The profile's name.
    pub profile: String,
    /// The tier that the jail was made in; null when there was none.
    pub tier: Option<String>,
    /// SHA-256 of the canonical plan; null when there was none.
    pub plan: Option<String>,
    /// The command and its arguments. Bytes that are not UTF-8 are shown as U+FFFD.
    pub argv: Vec<String>,
    /// Where the command started, inside the jail.
    pub cwd: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// The command's exit code, if it exited.
    pub exit_code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// Of a refusal, a failure, or a command that cannot be executed: the stable code and the line that was shown.
    pub reason: Option<Reason>,
    /// What was enforced, and proven.
    pub enforcement: Enforcement,
    /// What was denied, as far as it is recorded.
    pub denials: Vec<Denial>,
    /// One or two sentences about that, for whoever gave the command; null when nothing was denied.
    #[serde(default)]
    pub denial_hint: Option<String>,
    /// Who watched for denials, and what they could not see.
    #[serde(default)]
    pub evidence: Evidence,
    /// What it did that we saw.
    #[serde(default)]
    pub activity: Activity,
    /// What it used.
    pub resources: Resources,
    /// What it wrote.
    pub output: Output,
    /// Whether texts and lists were cut, because they were too long for a record.
    #[serde(default)]
    pub shortened: bool,
    /// Number of the line in the ledger; null outside of one.
    #[serde(default)]
    pub seq: Option<u64>,
    /// SHA-256 of the ledger line before, without its newline; null outside of a ledger.
    #[serde(default)]
    pub previous: Option<String>,
    /// SHA-256 of this ledger line up to the comma before this key, which is the last; absent outside of a ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// Who asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Caller {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The command exited by itself.
    Exited,
    /// A signal ended the command.
    Signalled,
    /// Its wall limit ended it.
    TimedOut,
    /// The kernel ended it for lack of memory.
    OutOfMemory,
    /// We ended it: its caller asked, or went away.
    Killed,
    /// We said no; nothing was executed.
    Refused,
    /// Our own fault; nothing was executed, or the run was ended.
    Failed,
    /// The command was not found or could not be executed in the jail; nothing was executed.
    NotExecuted,
}

impl Outcome {
    /// All there are.
    pub const ALL: [Outcome; 8] = [
        Outcome::Exited,
        Outcome::Signalled,
        Outcome::TimedOut,
        Outcome::OutOfMemory,
        Outcome::Killed,
        Outcome::Refused,
        Outcome::Failed,
        Outcome::NotExecuted,
    ];

    /// As a record spells it.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Exited => "exited",
            Outcome::Signalled => "signalled",
            Outcome::TimedOut => "timed_out",
            Outcome::OutOfMemory => "out_of_memory",
            Outcome::Killed => "killed",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
            Outcome::NotExecuted => "not_executed",
        }
    }
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// Stable word for programs.
    pub code: String,
    /// One line for people.
    pub message: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// What was enforced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Enforcement {
    /// `full`, `partial`, or `none` when nothing ran.
    pub level: Level,
    /// One entry a promise.
    pub promises: Vec<Kept>,
}

/// How much of what was promised was kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Everything.
    Full,
    /// All but what the profile's `[require]` allows to be missing.
    Partial,
    /// Nothing ran.
    #[default]
    None,
}

/// One promise, as it was kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Kept {
    /// Its name.
    pub promise: String,
    /// By what.
    pub mechanisms: Vec<String>,
    /// What is missing to keep it wholly.
    pub missing: Option<String>,
    /// Whether a probe under the same confinement tried to break it and could not. False: nothing was tried.
    pub probed: bool,
    /// What the probe tried, and the errno it got.
    pub probes: Vec<Probe>,
}

/// One thing that the probe tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Probe {
    /// In a few words.
    pub tried: String,
    /// The name of the errno that came back.
    pub got: String,
}

/// Something that was denied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Denial {
    /// Of a path: `read`, `list`, `write`, `execute`, `create`, `mkdir`, `symlink`, `link`, `rename`, `remove`, `truncate`, `mode`, `make`;
    /// of git: `set`, `settings`; of the network: `connect`, `look_up`, `request`, `listen`; of other processes: `signal`, `trace`, `abstract_socket`;
    /// `mount`; `system_call`; `limit`; `output`; `file` of what a client's file request was denied.
    pub kind: String,
    /// On what: a path inside the jail; a host; a system call; a limit.
    pub what: String,
    /// By what: `broker`, `view` (what the jail has mounted), `landlock`, `seccomp`, `gate`, `network`, `limit`, `kernel`.
    pub mechanism: String,
    /// The rule: a pattern of the profile, or in words; empty where nothing grants it, or the kernel does not say which.
    pub rule: String,
    /// How often.
    pub count: u64,
    /// What to do about it.
    pub remedy: String,
    /// What in a profile would allow it; null where nothing does, or nothing that a list could gain.
    #[serde(default)]
    pub grant: Option<Grant>,
    /// When first, in microseconds from the start of the run; null where nobody says.
    #[serde(default)]
    pub first_us: Option<u64>,
    /// When last.
    #[serde(default)]
    pub last_us: Option<u64>,
    /// Who did it last, if that is known.
    #[serde(default)]
    pub process: Option<Doer>,
}

/// What a run used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Resources {
    /// Microseconds from request to end.
    pub wall_us: u64,
    /// Microseconds of processor time in user mode.
    pub cpu_user_us: u64,
    /// Microseconds of processor time in the kernel.
    pub cpu_system_us: u64,
    /// Most bytes of memory at once: of the whole jail where a controller tells (v1, or Linux 5.19), else of the largest process.
    pub peak_memory: u64,
    /// Most processes at once, where a controller counts them.
    pub peak_processes: Option<u64>,
    /// Bytes read from block devices, where a controller counts them.
    pub read_bytes: Option<u64>,
    /// Bytes written to block devices, where a controller counts them; what the system writes out later is not among them.
    pub written_bytes: Option<u64>,
}

/// What a run wrote to stdout and stderr.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Whether the bytes passed through us; when not, the rest of this is unknown.
    pub observed: bool,
    /// Bytes that the command wrote.
    pub bytes: u64,
    /// Whether what was over the limit was thrown away.
    pub truncated: bool,
}

/// What the supervisor saw of a run.
#[derive(Clone, Debug)]
pub enum Seen {
    /// It ran.
    Run {
        /// What was enforced.
        started: Box<Started>,
        /// How it ended.
        ended: Box<Ended>,
    },
    /// It was refused.
    Refused(Reason),
    /// It failed, before or after it started.
    Failed(Reason, Option<Box<Started>>),
}

/// What was asked, as far as the record needs it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The verdict's id.
    pub id: String,
    /// When.
    pub time: String,
    /// Who.
    pub caller: Caller,
    /// For which agent.
    pub agent: Option<String>,
    /// In which session of theirs.
    pub session: Option<String>,
    /// The profile's name.
    pub profile: String,
    /// The command.
    pub argv: Vec<Vec<u8>>,
}

impl Verdict {
    /// Puts together what was asked and what was seen.
    pub fn new(asked: Asked, seen: &Seen, output: Output) -> Verdict {
        let (started, ended, reason) = match seen {
            Seen::Run { started, ended } => (Some(started), Some(ended), not_executed(ended.end, &asked.argv)),
            Seen::Refused(reason) => (None, None, Some(reason.clone())),
            Seen::Failed(reason, started) => (started.as_ref(), None, Some(reason.clone())),
        };
        let denials = ended.map(|ended| denials::of(ended)).unwrap_or_default();
        let profile = asked.profile;
        let hint = denials::hint(&denials, &profile);
        let recording = started.map_or("off", |started| started.recording.word());
        let evidence = ended.map(|ended| Evidence::of(&ended.watch, recording)).unwrap_or_default();
        Verdict {
            version: VERSION,
            id: asked.id,
            time: asked.time,
            caller: asked.caller,
            agent: asked.agent,
            session: asked.session,
            profile,
            tier: started.map(|started| started.tier.word().to_owned()),
            plan: started.map(|started| started.plan.clone()),
            argv: asked.argv.iter().map(|argument| String::from_utf8_lossy(argument).into_owned()).collect(),
            cwd: started.map(|started| started.cwd.clone()),
            outcome: outcome(seen),
            exit_code: ended.and_then(|ended| if let End::Exited(code) = ended.end { Some(code) } else { None }),
            signal: ended.and_then(|ended| if let End::Signalled(signal) = ended.end { Some(signal) } else { None }),
            reason,
            enforcement: started.map(|started| enforcement(&started.enforcement)).unwrap_or_default(),
            denial_hint: hint,
            denials,
            evidence,
            activity: ended.map(|ended| Activity::of(ended)).unwrap_or_default(),
            resources: ended.map(|ended| resources(ended)).unwrap_or_default(),
            output,
            shortened: false,
            seq: None,
            previous: None,
            digest: None,
        }
    }
}

/// Why the command is none that can be executed in the jail.
fn not_executed(end: End, argv: &[Vec<u8>]) -> Option<Reason> {
    let End::NotExecuted(number) = end else { return None };
    let errno = nix::errno::Errno::from_raw(number);
    let name = argv.first().map_or_else(Default::default, |name| String::from_utf8_lossy(name));
    let why = if number == libc::ENOENT { "not found in the jail" } else { errno.desc() };
    let message = format!("cannot execute `{name}`: {why}");
    Some(Reason { code: format!("not_executed.{errno:?}"), message, remedy: None })
}

fn outcome(seen: &Seen) -> Outcome {
    let ended = match seen {
        Seen::Refused(_) => return Outcome::Refused,
        Seen::Failed(..) => return Outcome::Failed,
        Seen::Run { ended, .. } => ended,
    };
    match (ended.out_of_memory && ended.end != End::Exited(0), ended.cause, ended.end) {
        (true, ..) => Outcome::OutOfMemory,
        (_, Some(Cause::TimedOut), _) => Outcome::TimedOut,
        (_, Some(Cause::Killed), _) => Outcome::Killed,
        (_, None, End::Exited(_)) => Outcome::Exited,
        (_, None, End::Signalled(_)) => Outcome::Signalled,
        (_, None, End::NotExecuted(_)) => Outcome::NotExecuted,
    }
}

fn enforcement(kept: &[(Promise, Keeping, Vec<Finding>)]) -> Enforcement {
    let partial = kept.iter().any(|(_, keeping, _)| keeping.missing.is_some());
    let promises = kept.iter().map(|(promise, keeping, findings)| Kept {
        promise: promise.word().to_owned(),
        mechanisms: keeping.mechanisms.clone(),
        missing: keeping.missing.clone(),
        probed: !findings.is_empty(),
        probes: findings
            .iter()
            .map(|finding| Probe { tried: finding.tried.clone(), got: errno_name(finding.errno) })
            .collect(),
    });
    Enforcement { level: if partial { Level::Partial } else { Level::Full }, promises: promises.collect() }
}

fn errno_name(errno: i32) -> String {
    format!("{:?}", nix::errno::Errno::from_raw(errno))
}

fn resources(ended: &Ended) -> Resources {
    Resources {
        wall_us: ended.used.wall_us,
        cpu_user_us: ended.used.user_us,
        cpu_system_us: ended.used.system_us,
        peak_memory: ended.used.peak_memory,
        peak_processes: ended.used.peak_processes,
        read_bytes: ended.used.transferred.map(|(read, _)| read),
        written_bytes: ended.used.transferred.map(|(_, written)| written),
    }
}

/// The JSON Schema of a verdict.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Verdict).to_value()
}
