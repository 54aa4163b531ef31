//! Jails made ahead for a client that stays connected: the next run like its last one starts in a jail that stands.
//!
//! They belong to a connection and go with it, so nobody is acted for who is not there. Each is used once. One that is not
//! used for a while is let go, and so is one that was made before the configuration was read again.

use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::unix::AsyncFd;

use super::config::Config;
use super::connection::Client;
use super::privsep::Ask;
use crate::host::Tier;
use crate::jail::channel::Channel;
use crate::profile::narrow::Narrow;
use crate::sys::readiness;
use crate::wire::privsep::{RunRequest, Terminal, ToLauncher};

/// What a jail is made by. Requests that agree in it can have the same jail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    profile: String,
    workspace: Vec<u8>,
    tier: Option<Tier>,
    narrow: Narrow,
}

impl Kind {
    /// That of the jail that `request` is for.
    pub fn of(request: &RunRequest) -> Kind {
        Kind {
            profile: request.profile.clone(),
            workspace: request.workspace.clone(),
            tier: request.tier,
            narrow: request.narrow.clone(),
        }
    }

    fn request(self) -> RunRequest {
        RunRequest {
            profile: self.profile,
            tier: self.tier,
            argv: Vec::new(),
            set: Vec::new(),
            pass: Vec::new(),
            inherited: Vec::new(),
            workspace: self.workspace,
            cwd: None,
            terminal: Terminal::None,
            timeout_ms: None,
            narrow: self.narrow,
        }
    }
}

/// One such jail.
pub struct Ready {
    number: u64,
    kind: Kind,
    config: Rc<Config>,
    keeper: AsyncFd<Rc<Channel>>,
}

/// Those of one client.
#[derive(Default)]
pub struct Readies {
    ready: Vec<Ready>,
    made: u64,
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

/// Makes one of `kind`, unless there are as many as there may be. One that cannot be made is missed by nobody: the run
/// that would have had it is told why.
pub async fn make(client: &Rc<Client>, kind: Kind) {
    let config = client.service.config();
    let most = config.pool.size;
    let of_kind = client.ready.borrow().ready.iter().filter(|ready| ready.kind == kind).count();
    if of_kind >= most || client.is_gone() {
        return;
    }
    let Ok(keeper) = ask(client, &kind).await else { return };
    let idle = Duration::from_millis(config.pool.idle_ms);
    let number = {
        let mut readies = client.ready.borrow_mut();
        readies.made += 1;
        let number = readies.made;
        readies.ready.push(Ready { number, kind, config, keeper });
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
}

async fn ask(client: &Client, kind: &Kind) -> std::io::Result<AsyncFd<Rc<Channel>>> {
    let (ours, keepers) = Channel::pair()?;
    client.service.link.ask(&Ask::Keep(client.number), &[keepers.as_fd()]).await?;
    drop(keepers);
    // The channel is new and empty, so this does not wait.
    ours.send(&ToLauncher::Prepare(Box::new(kind.clone().request())), &[])?;
    ours.never_wait()?;
    readiness::watch(Rc::new(ours))
}
