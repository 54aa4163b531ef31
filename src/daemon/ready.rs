//! Jails made ahead for a client that stays connected: the next run like its last one starts in a jail that stands.
//!
//! They belong to a connection and go with it, so nobody is acted for who is not there. Each is used once. One that is not
//! used for a while is let go, and so is one that was made before the configuration was read again.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::unix::AsyncFd;

use super::config::Config;
use super::connection::Client;
use crate::host::Tier;
use crate::jail::channel::Channel;
use crate::profile::narrow::Narrow;
use crate::wire::privsep::{RunRequest, ToLauncher};

/// What a jail is made by. Requests that agree in it can have the same jail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    profile: String,
    workspace: Vec<u8>,
    tier: Option<Tier>,
    narrow: Narrow,
    // By whose name its gate knows hosts.
    agent: Option<String>,
}

impl Kind {
    /// That of the jail that `request` is for.
    pub fn of(request: &RunRequest) -> Kind {
        Kind {
            profile: request.profile.clone(),
            workspace: request.workspace.clone(),
            tier: request.tier,
            narrow: request.narrow.clone(),
            agent: request.agent.clone(),
        }
    }

    fn request(self) -> RunRequest {
        let Kind { profile, tier, workspace, narrow, agent } = self;
        RunRequest { agent, ..RunRequest::for_jail(profile, tier, workspace, narrow) }
    }
}

/// One such jail.
pub struct Ready {
    number: u64,
    kind: Kind,
    config: Rc<Config>,
    keeper: AsyncFd<Rc<Channel>>,
    _counted: Counted,
}

/// Those of one client.
#[derive(Default)]
pub struct Readies {
    ready: Vec<Ready>,
    made: u64,
}

/// How many there are by profile, of all clients.
#[derive(Default)]
pub struct Pool(Rc<RefCell<BTreeMap<String, u64>>>);

/// One of them, for as long as it is there.
struct Counted {
    profile: String,
    pool: Rc<RefCell<BTreeMap<String, u64>>>,
}

impl Pool {
    /// The numbers, as they are now.
    pub fn now(&self) -> BTreeMap<String, u64> {
        self.0.borrow().clone()
    }

    fn count(&self, profile: &str) -> Counted {
        *self.0.borrow_mut().entry(profile.to_owned()).or_default() += 1;
        Counted { profile: profile.to_owned(), pool: self.0.clone() }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(count) = self.pool.borrow_mut().get_mut(&self.profile) {
            *count = count.saturating_sub(1);
        }
    }
}

/// Takes one for `request`, if there is one.
pub fn take(client: &Client, request: &RunRequest) -> Option<AsyncFd<Rc<Channel>>> {
    let config = client.service.config();
    let kind = Kind::of(request);
    let ready = &mut client.ready.borrow_mut().ready;
    ready.retain(|ready| Rc::ptr_eq(&ready.config, &config));
    let place = ready.iter().position(|ready| ready.kind == kind)?;
    Some(ready.remove(place).keeper)
}

/// Makes as many of `kind` as there may be. One that cannot be made is missed by nobody: the run that would have had it is told
/// why.
pub async fn make(client: &Rc<Client>, kind: Kind) {
    let config = client.service.config();
    let most = config.pool.size;
    let of_kind = || client.ready.borrow().ready.iter().filter(|ready| ready.kind == kind).count();
    for _ in of_kind()..most {
        // Another run of the client may have made some meanwhile.
        if of_kind() >= most || client.is_gone() || make_one(client, kind.clone(), config.clone()).await.is_err() {
            return;
        }
    }
}

async fn make_one(client: &Rc<Client>, kind: Kind, config: Rc<Config>) -> std::io::Result<()> {
    let most = config.pool.size;
    let prepare = ToLauncher::Prepare(Box::new(kind.clone().request()));
    let keeper = client.service.link.keeper(client.number, &prepare, &[]).await?;
    let counted = client.service.pool.count(&kind.profile);
    let idle = Duration::from_millis(config.pool.idle_ms);
    let number = {
        let mut readies = client.ready.borrow_mut();
        readies.made += 1;
        let number = readies.made;
        readies.ready.push(Ready { number, kind, config, keeper, _counted: counted });
        // What the client asked for last counts.
        let over = readies.ready.len().saturating_sub(most);
        readies.ready.drain(..over);
        number
    };
    let client = Rc::downgrade(client);
    tokio::task::spawn_local(async move {
        tokio::time::sleep(idle).await;
        if let Some(client) = client.upgrade() {
            client.ready.borrow_mut().ready.retain(|ready| ready.number != number);
        }
    });
    Ok(())
}
