//! `fs.*`: files of an open jail, by a process in it.
//!
//! What that process answers is as little to be believed as anything else that comes out of a jail: it is bounded and checked,
//! and shown to nobody but the jail's owner.

use std::io::{Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde_json::{Value, json};
use tokio::io::unix::AsyncFd;

use super::admission::Permit;
use super::connection::Client;
use super::jails::{Inside, Open};
use super::link;
use super::pipes::{Loose, Pipes};
use crate::jail::channel::Channel;
use crate::supervise::watch;
use crate::sys::readiness;
use crate::verdict::{Asked, Caller, Denial, Output, Reason, Seen, Verdict};
use crate::wire::fault::{Fault, number};
use crate::wire::files::{Answer, FileJob, MOST_READ};
use crate::wire::id::Id;
use crate::wire::privsep::{FromLauncher, RunRequest, Terminal, ToLauncher, Work};
use crate::wire::reply::Done;
use crate::wire::reply_files::{Content, Directory, Listed, Stat};
use crate::wire::request_files::{FsList, FsMkdir, FsRead, FsRemove, FsRename, FsStat, FsWrite};

/// How long one of these may take.
const WALL_MS: u64 = 30_000;
/// Bytes that an answer may have: those of the largest read, and of a directory's largest list.
const MOST_ANSWER: usize = 2 * MOST_READ as usize;

/// What is asked for, in which jail, with what content.
pub struct FileOrder {
    jail: String,
    job: FileJob,
    content: Vec<u8>,
}

fn order(jail: String, job: FileJob) -> FileOrder {
    FileOrder { jail, job, content: Vec::new() }
}

/// `fs.stat`.
pub fn stat(asked: FsStat) -> FileOrder {
    let look = asked.look.map(|length| length.min(MOST_READ));
    order(asked.jail, FileJob::Stat { path: asked.path.0, follow: asked.follow, look })
}

/// `fs.read`.
pub fn read(asked: FsRead) -> FileOrder {
    let length = asked.length.unwrap_or(MOST_READ).min(MOST_READ);
    order(asked.jail, FileJob::Read { path: asked.path.0, offset: asked.offset, length })
}

/// `fs.write`.
pub fn write(asked: FsWrite) -> FileOrder {
    let look = asked.look.map(|length| length.min(MOST_READ));
    let job = FileJob::Write { path: asked.path.0, mode: asked.mode, look };
    FileOrder { jail: asked.jail, job, content: asked.content.0 }
}

/// `fs.create`.
pub fn create(asked: FsWrite) -> FileOrder {
    let look = asked.look.map(|length| length.min(MOST_READ));
    let job = FileJob::Create { path: asked.path.0, mode: asked.mode, look };
    FileOrder { jail: asked.jail, job, content: asked.content.0 }
}

/// `fs.mkdir`.
pub fn make_directory(asked: FsMkdir) -> FileOrder {
    order(asked.jail, FileJob::Mkdir { path: asked.path.0, parents: asked.parents, mode: asked.mode })
}

/// `fs.remove`.
pub fn remove(asked: FsRemove) -> FileOrder {
    order(asked.jail, FileJob::Remove { path: asked.path.0, recursive: asked.recursive })
}

/// `fs.rename`.
pub fn rename(asked: FsRename) -> FileOrder {
    order(asked.jail, FileJob::Rename { from: asked.from.0, to: asked.to.0, replace: asked.replace })
}

/// `fs.list`.
pub fn list(asked: FsList) -> FileOrder {
    order(asked.jail, FileJob::List { path: asked.path.0, after: asked.after.map(|after| after.0) })
}

/// Has it done and answers.
pub async fn answer(client: &Rc<Client>, id: &Id, order: FileOrder) {
    // Held until the client has read the answer, or it waits in the outbox.
    let room = client.budget.take(most_answered(&order.job)).await;
    let performed = match &room {
        Ok(_) => perform(client, order).await,
        Err(fault) => Err(fault.clone()),
    };
    // A client that is gone wants no answer.
    drop(match performed {
        Ok(result) => client.answer(id, &result).await,
        Err(fault) => client.fault(Some(id), &fault).await,
    });
}

/// Bytes that an answer may take up: as they came, as JSON, and as the line of it.
fn most_answered(job: &FileJob) -> usize {
    match job {
        FileJob::Read { length, .. }
        | FileJob::Stat { look: Some(length), .. }
        | FileJob::Write { look: Some(length), .. }
        | FileJob::Create { look: Some(length), .. } => {
            usize::try_from(*length).unwrap_or(usize::MAX).saturating_mul(4)
        }
        FileJob::List { .. } => MOST_ANSWER,
        _ => 0,
    }
}

async fn perform(client: &Client, order: FileOrder) -> Result<Value, Fault> {
    if order.job.words().iter().any(|word| word.is_empty() || word.contains(&0)) {
        return Err(Fault::refused("path_invalid", "a path is empty, or holds a NUL byte"));
    }
    let jail = client.service.jails.enter(&order.jail, client.peer.uid)?;
    let config = client.service.config();
    let permit = client.service.admission.admit(client.peer.uid, &config.limits).await?;
    let changes = order.job.changes();
    let claim = if changes { Some(client.service.recording.claim().await?) } else { None };
    let inside = Inside::of(&jail);
    let asked = asked(client, &jail, &order.job);
    let (keeper, answer) = run(&jail, &order).await.map_err(failed)?;
    if !changes {
        return glance(keeper, answer, permit).await;
    }
    let seen = end(&keeper).await.map_err(failed)?;
    drop((inside, permit));
    let told = tell(&seen, answer);
    let mut verdict = Verdict::new(asked, &seen, Output::default());
    verdict.denials.extend(told.as_ref().err().filter(|_| verdict.denials.is_empty()).and_then(denial));
    verdict.redact(&[]);
    client.service.record(&mut verdict, claim).await;
    if let Some(reason) = verdict.reason.filter(|reason| reason.code == "failed.ledger") {
        return Err(Fault::of_reason(&reason));
    }
    told
}

fn asked(client: &Client, jail: &Open, job: &FileJob) -> Asked {
    Asked {
        id: uuid::Uuid::now_v7().to_string(),
        time: jiff::Timestamp::now().to_string(),
        caller: Caller { uid: client.peer.uid, gid: client.peer.gid },
        agent: jail.shown.agent.clone(),
        session: jail.shown.session.clone(),
        profile: jail.shown.profile.clone(),
        argv: job.words(),
    }
}

fn failed(error: std::io::Error) -> Fault {
    Fault::failed("supervise", format!("cannot work with files: {error}"))
}

/// What was asked by who changes nothing: told as soon as it is there. That the process has ended, nobody waits for but whoever
/// is next in its place.
async fn glance(keeper: Keeper, answer: Option<Answer>, permit: Permit) -> Result<Value, Fault> {
    let Some(answer) = answer else { return tell(&end(&keeper).await.map_err(failed)?, None) };
    tokio::task::spawn_local(async move {
        drop(end(&keeper).await);
        drop(permit);
    });
    tell_answer(answer)
}

/// What the kernel denied, as the record has it.
fn denial(fault: &Fault) -> Option<Denial> {
    let what = fault.message.clone();
    let remedy = fault.data.remedy.clone()?;
    let kernel = fault.code == number::DENIED;
    kernel.then(|| Denial {
        kind: "file".into(),
        what,
        mechanism: "kernel".into(),
        rule: String::new(),
        count: 1,
        remedy,
        ..Denial::default()
    })
}

/// The keeper's end of a run.
type Keeper = AsyncFd<Rc<Channel>>;

/// One run in the jail: who tells of its end, and what it answered, where that makes sense.
async fn run(jail: &Open, order: &FileOrder) -> std::io::Result<(Keeper, Option<Answer>)> {
    let (ours, keepers) = Channel::pair()?;
    let input = in_memory(&order.content)?;
    let Pipes { ours: [_, output, error], commands: [_, their_output, their_error] } = Pipes::new()?;
    drop(error);
    let descriptors =
        [&input, &their_output, &their_error, &input, &their_output, &their_error].map(AsFd::as_fd).into_iter();
    let descriptors: Vec<_> = descriptors.chain([keepers.as_fd()]).collect();
    let message = ToLauncher::Enter(Box::new(request(jail, &order.job)), Work::File(order.job.clone()));
    link::send(&jail.keeper, &message, &descriptors).await?;
    drop((input, their_output, their_error, keepers));
    ours.never_wait()?;
    let keeper = readiness::watch_reading(Rc::new(ours))?;
    let answer = collect(&keeper, output).await?;
    Ok((keeper, postcard::from_bytes(&answer).ok()))
}

/// How a run ended, or that it did not begin.
async fn end(keeper: &Keeper) -> std::io::Result<Seen> {
    let started = match watch::hear(keeper).await? {
        Some((FromLauncher::Started(started), _)) => started,
        Some((FromLauncher::Ended(Some(started), ended), _)) => return Ok(Seen::Run { started, ended }),
        Some((other, _)) => return Ok(watch::not_started(other)),
        None => return Ok(watch::launcher_gone(None)),
    };
    Ok(match watch::hear(keeper).await? {
        Some((FromLauncher::Ended(_, ended), _)) => Seen::Run { started, ended },
        Some((FromLauncher::Failed(failure), _)) => Seen::Failed(watch::cut_short(&failure), Some(started)),
        Some(_) | None => watch::launcher_gone(Some(started)),
    })
}

/// Sealed: what a keeper gives to a command must be for reading alone, and no more to be changed.
fn in_memory(content: &[u8]) -> std::io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut memory = std::fs::File::from(memfd_create(c"clawjail-content", flags)?);
    memory.write_all(content)?;
    memory.rewind()?;
    fcntl(&memory, FcntlArg::F_ADD_SEALS(SealFlag::all()))?;
    Ok(memory.into())
}

/// Reads the answer to its end. One that is too long ends the process that gives it.
async fn collect(keeper: &Keeper, output: OwnedFd) -> std::io::Result<Vec<u8>> {
    let output = Loose::new(output)?;
    let mut answer = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match output.read(&mut buffer).await {
            Ok(0) | Err(_) => return Ok(answer),
            Ok(count) => answer.extend_from_slice(buffer.get(..count).unwrap_or_default()),
        }
        if answer.len() > MOST_ANSWER {
            link::send(keeper, &ToLauncher::Kill(crate::wire::privsep::Cause::Killed), &[]).await?;
            return Ok(Vec::new());
        }
    }
}

fn request(jail: &Open, job: &FileJob) -> RunRequest {
    RunRequest {
        profile: jail.shown.profile.clone(),
        tier: None,
        argv: job.words(),
        set: Vec::new(),
        pass: Vec::new(),
        inherited: Vec::new(),
        workspace: jail.workspace.clone(),
        cwd: None,
        terminal: Terminal::None,
        timeout_ms: Some(WALL_MS),
        narrow: Default::default(),
        mounts: Vec::new(),
        agent: jail.shown.agent.clone(),
    }
}

fn tell(seen: &Seen, answer: Option<Answer>) -> Result<Value, Fault> {
    if let Seen::Refused(reason) | Seen::Failed(reason, _) = seen {
        return Err(Fault::of_reason(reason));
    }
    let no_sense = || Reason {
        code: "failed.files".into(),
        message: "the process that works with files ended without an answer".into(),
        remedy: None,
    };
    tell_answer(answer.ok_or_else(|| Fault::of_reason(&no_sense()))?)
}

fn tell_answer(answer: Answer) -> Result<Value, Fault> {
    match answer {
        Answer::Done => Ok(json!(Done {})),
        Answer::Facts(facts, seen) => Ok(json!(Stat::new(facts, seen))),
        Answer::Listed { entries, more } => {
            Ok(json!(Directory { entries: entries.into_iter().map(Listed::from).collect(), more }))
        }
        Answer::Read(part) => Ok(json!(Content::from(part))),
        Answer::Not { errno, what } => Err(not_done(Errno::from_raw(errno), &what)),
    }
}

/// The kernel's or the broker's no, by its errno; a name that every system has is a word that stays.
fn not_done(errno: Errno, what: &str) -> Fault {
    let what: String = what.chars().take(2048).collect();
    let denied = Fault::denied(&format!("{errno:?}").to_lowercase(), format!("{what}: {}", errno.desc()));
    match errno {
        Errno::EACCES | Errno::EPERM | Errno::EROFS => {
            denied.with_remedy("the jail's profile does not grant it; `clawjail profile explain` shows what it grants")
        }
        _ => denied,
    }
}
