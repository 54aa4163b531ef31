//! Jails that stay open, each with its keeper.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use super::config::Standing;
use super::connection::Client;
use super::gauge::Gauge;
use super::link;
use super::order::{self, Named};
use super::running;
use super::service::Service;
use crate::jail::channel::Channel;
use crate::supervise::watch;
use crate::verdict::{Asked, Caller, Reason, Seen, Verdict};
use crate::wire::fault::Fault;
use crate::wire::id::Id;
use crate::wire::privsep::{FromLauncher, Lifetime, Opened, RunRequest, ToLauncher};
use crate::wire::reply;
use crate::wire::request::JailOpen;

/// Most directories beside a workspace.
const MOST_MOUNTS: usize = 64;

/// One open jail.
pub struct Open {
    /// As a client is shown it.
    pub shown: reply::Jail,
    /// Its workspace on the host.
    pub workspace: Vec<u8>,
    /// Where its keeper listens.
    pub keeper: AsyncFd<Rc<Channel>>,
    /// What it uses.
    pub gauge: Gauge,
    runs: Cell<usize>,
    denials: Cell<u64>,
    gone: Cell<bool>,
    going: Notify,
}

/// A run that is in a jail, for as long as it is.
pub struct Inside(Rc<Open>);

impl Inside {
    /// One more.
    pub fn of(jail: &Rc<Open>) -> Inside {
        jail.runs.set(jail.runs.get() + 1);
        Inside(jail.clone())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.runs.set(self.0.runs.get().saturating_sub(1));
    }
}

impl Open {
    /// As `jail.list` shows it.
    pub fn listed(&self) -> reply::Jail {
        reply::Jail { runs: self.runs.get(), ..self.shown.clone() }
    }

    /// What ended runs in it were denied.
    pub fn denials(&self) -> u64 {
        self.denials.get()
    }

    /// Has it closed, and waits until it is.
    pub async fn close(&self) {
        // A keeper that is gone has closed it already.
        let _ = link::send(&self.keeper, &ToLauncher::Close, &[]).await;
        while !self.gone.get() {
            self.going.notified().await;
        }
    }
}

/// The table.
#[derive(Default)]
pub struct Jails {
    open: RefCell<BTreeMap<String, Rc<Open>>>,
}

impl Jails {
    /// The jail `id`, if `may_see` its owner. One that is somebody else's is answered as one that never was.
    pub fn find(&self, id: &str, may_see: impl Fn(u32) -> bool) -> Result<Rc<Open>, Fault> {
        let found = self.open.borrow().get(id).filter(|jail| may_see(jail.shown.uid)).cloned();
        found.ok_or_else(unknown)
    }

    /// The jail `id` for a run of its owner. Nobody else may run in it: it acts for its owner.
    pub fn enter(&self, id: &str, uid: u32) -> Result<Rc<Open>, Fault> {
        self.find(id, |owner| owner == uid)
    }

    /// Counts what a run in the jail `id` was denied.
    pub fn count_denials(&self, id: &str, verdict: &Verdict) {
        let more: u64 = verdict.denials.iter().map(|denial| denial.count).sum();
        if let Some(jail) = self.open.borrow().get(id) {
            jail.denials.set(jail.denials.get().saturating_add(more));
        }
    }

    /// All of them.
    pub fn all(&self) -> Vec<Rc<Open>> {
        self.open.borrow().values().cloned().collect()
    }

    /// An id that none of them has.
    fn new_id(&self) -> String {
        loop {
            // The end of such an id is random.
            let id: String = uuid::Uuid::now_v7().simple().to_string().chars().rev().take(10).collect();
            if !self.open.borrow().contains_key(&id) {
                return id;
            }
        }
    }
}

/// What is said of a jail that is not there.
pub fn unknown() -> Fault {
    Fault::refused("unknown_jail", "there is no such jail of yours, or it was closed")
}

/// Opens a jail and answers.
pub async fn open(client: &Rc<Client>, id: Id, asked: JailOpen) {
    let (bound, typed) = (asked.until_disconnect, as_typed(client, &asked));
    match raise(client, asked).await {
        Ok(jail) => {
            client.service.jails.open.borrow_mut().insert(jail.shown.jail.clone(), jail.clone());
            let bound = bound.then(|| client.clone());
            tokio::task::spawn_local(attend(client.service.clone(), jail.clone(), bound));
            let _ = client.answer(&id, &jail.shown).await;
        }
        Err(fault) => running::turn_down(client, &id, typed, fault).await,
    }
}

/// A jail that was refused is recorded as if it were a command.
fn as_typed(client: &Client, asked: &JailOpen) -> Asked {
    Asked {
        id: uuid::Uuid::now_v7().to_string(),
        time: jiff::Timestamp::now().to_string(),
        caller: Caller { uid: client.peer.uid, gid: client.peer.gid },
        agent: asked.agent.clone(),
        session: None,
        profile: asked.profile.clone().unwrap_or_default(),
        argv: vec![b"jail.open".to_vec()],
    }
}

async fn raise(client: &Client, asked: JailOpen) -> Result<Rc<Open>, Fault> {
    let config = client.service.config();
    let standing = client.standing().filter(Standing::runs);
    let standing = standing.ok_or_else(|| order::not_granted(&client.peer.name))?;
    let named = Named { profile: &asked.profile, agent: &asked.agent, workspace: &asked.workspace };
    let (profile, workspace) = named.choose(&config, &standing)?;
    let tier = asked.tier.as_deref().map(order::tier).transpose()?;
    if asked.mounts.len() > MOST_MOUNTS {
        let message = format!("more than {MOST_MOUNTS} directories beside the workspace");
        return Err(Fault::refused("request_invalid", message));
    }
    let mounts = asked.mounts.into_iter().map(|mount| (mount.path.0, mount.at)).collect();
    let narrow = asked.narrow.unwrap_or_default();
    let agent = asked.agent.clone();
    let request = RunRequest { mounts, agent, ..RunRequest::for_jail(profile, tier, workspace.clone(), narrow) };
    let lifetime = Lifetime {
        idle_ms: asked.idle_ms.map_or(config.limits.idle_ms, |asked| asked.min(config.limits.idle_ms)),
        age_ms: asked.age_ms.map_or(config.limits.age_ms, |asked| asked.min(config.limits.age_ms)),
    };
    // Making one costs what a run costs; it counts as one while it is made.
    let _turn = client.service.admission.admit(client.peer.uid, &config.limits).await?;
    let failed = |error: std::io::Error| Fault::failed("supervise", format!("cannot open a jail: {error}"));
    let open = ToLauncher::Open(Box::new(request), lifetime);
    let keeper = client.service.link.keeper(client.number, &open, &[]).await.map_err(failed)?;
    let opened = match watch::hear(&keeper).await {
        Ok(Some((FromLauncher::Opened(opened), _))) => *opened,
        Ok(Some((other, _))) => return Err(not_opened(&watch::not_started(other))),
        Ok(None) | Err(_) => return Err(not_opened(&watch::launcher_gone(None))),
    };
    Ok(Rc::new(Open {
        shown: show(client, opened, asked.agent, asked.session, &workspace),
        workspace,
        keeper,
        gauge: Gauge::default(),
        runs: Cell::new(0),
        denials: Cell::new(0),
        gone: Cell::new(false),
        going: Notify::new(),
    }))
}

fn not_opened(seen: &Seen) -> Fault {
    match seen {
        Seen::Refused(reason) | Seen::Failed(reason, _) => Fault::of_reason(reason),
        Seen::Run { .. } => Fault::of_reason(&Reason {
            code: "failed.launcher".into(),
            message: "the keeper of the jail made no sense".into(),
            remedy: None,
        }),
    }
}

fn show(
    client: &Client,
    opened: Opened,
    agent: Option<String>,
    session: Option<String>,
    workspace: &[u8],
) -> reply::Jail {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    reply::Jail {
        jail: client.service.jails.new_id(),
        uid: client.peer.uid,
        agent,
        session,
        profile: opened.profile,
        tier: opened.tier.word().to_owned(),
        plan: opened.plan,
        workspace: text(workspace),
        at: opened.workspace.as_deref().map(text),
        time: jiff::Timestamp::now().to_string(),
        runs: 0,
    }
}

/// Waits until the jail is closed, has it closed when the client whose it is alone is gone, and takes it off the table.
async fn attend(service: Rc<Service>, jail: Rc<Open>, bound: Option<Rc<Client>>) {
    let mut told = false;
    loop {
        let gone = async {
            match &bound {
                Some(client) => client.gone().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            heard = watch::hear::<FromLauncher>(&jail.keeper) => match heard {
                Ok(Some((FromLauncher::Closed(_) | FromLauncher::Failed(_), _))) | Ok(None) | Err(_) => break,
                Ok(Some((FromLauncher::Looked(usage), _))) => jail.gauge.tell(usage),
                Ok(Some(_)) => {}
            },
            () = jail.gauge.asked() => drop(link::send(&jail.keeper, &ToLauncher::Look, &[]).await),
            () = gone, if !told => {
                told = true;
                let _ = link::send(&jail.keeper, &ToLauncher::Close, &[]).await;
            }
        }
    }
    service.jails.open.borrow_mut().remove(&jail.shown.jail);
    jail.gone.set(true);
    jail.going.notify_waiters();
}
