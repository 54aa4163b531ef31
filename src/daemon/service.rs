//! What all connections of a service share.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use tokio::sync::oneshot;

use super::admission::Admission;
use super::budget::Budgets;
use super::config::Config;
use super::jails::Jails;
use super::link::Link;
use super::prepared::Prepared;
use super::privsep::Ask;
use super::ready::Pool;
use super::recording::{Claim, Recording};
use super::runs::Runs;
use super::verdicts::Followers;
use crate::confine::Ids;
use crate::ledger::metrics::Counters;
use crate::verdict::{Outcome, Verdict};
use crate::wire::fault::Fault;

/// Refusals that only ask to come back later. They are not recorded one by one: whoever floods us would fill the disk.
const NOT_RECORDED: [&str; 3] = ["refused.busy", "refused.rate", "refused.stopping"];

type NotReloaded = (String, Option<String>);

/// The service.
pub struct Service {
    /// To the launcher.
    pub link: Link,
    /// As whom the launcher acts.
    pub own: Ids,
    /// Who may start a run.
    pub admission: Rc<Admission>,
    /// The memory that each caller may take up.
    pub budgets: Budgets,
    /// Runs that are known.
    pub runs: Runs,
    /// Jails that are open.
    pub jails: Jails,
    /// How many jails are made ahead.
    pub pool: Pool,
    /// Runs that were told and not begun.
    pub prepared: Prepared,
    /// Who writes down what was run.
    pub recording: Rc<Recording>,
    /// Who wants to hear of each verdict.
    pub followers: Followers,
    /// `/dev/null`, opened while it could be.
    pub null: OwnedFd,
    counters: RefCell<Counters>,
    config: RefCell<Rc<Config>>,
    // Those who wait for the launcher's answer, in the order in which they asked.
    reloading: RefCell<Vec<oneshot::Sender<Result<(), NotReloaded>>>>,
}

impl Service {
    /// One that nobody has connected to.
    pub fn new(link: Link, recording: Rc<Recording>, config: Config, own: Ids, null: OwnedFd) -> Service {
        Service {
            link,
            recording,
            own,
            admission: Rc::default(),
            budgets: Budgets::default(),
            runs: Runs::default(),
            jails: Jails::default(),
            pool: Pool::default(),
            prepared: Prepared::default(),
            followers: Followers::default(),
            null,
            counters: RefCell::default(),
            config: RefCell::new(Rc::new(config)),
            reloading: RefCell::default(),
        }
    }

    /// What counts now.
    pub fn config(&self) -> Rc<Config> {
        self.config.borrow().clone()
    }

    /// The numbers, as they are now.
    pub fn metrics(&self) -> String {
        let counters = Counters {
            jails: self.jails.all().len() as u64,
            pool: self.pool.now(),
            unrecorded: self.recording.unrecorded(),
            untold: self.recording.untold(),
            ..self.counters.borrow().clone()
        };
        counters.render()
    }

    /// Writes a record if it is to be one, and tells those who follow. What was run and cannot be recorded has failed, and says so.
    pub async fn record(&self, verdict: &mut Verdict, claim: Option<Claim>) {
        if verdict.reason.as_ref().is_some_and(|reason| NOT_RECORDED.contains(&reason.code.as_str())) {
            return self.counters.borrow_mut().count(verdict);
        }
        if let Err(reason) = self.recording.append(verdict, claim).await
            && verdict.outcome != Outcome::Refused
        {
            (verdict.outcome, verdict.reason) = (Outcome::Failed, Some(reason));
        }
        self.counters.borrow_mut().count(verdict);
        self.followers.tell(verdict);
    }

    /// Has the launcher read the configuration, and waits for what it says.
    pub async fn reload(&self) -> Result<(), Fault> {
        let (sender, receiver) = oneshot::channel();
        self.reloading.borrow_mut().push(sender);
        let gone = || Fault::failed("launcher", "the launcher is gone");
        self.link.ask(&Ask::Reload, &[]).await.map_err(|_| gone())?;
        match receiver.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err((message, hint))) => {
                let fault = Fault::refused("configuration", message);
                Err(hint.into_iter().fold(fault, Fault::with_remedy))
            }
            Err(_) => Err(gone()),
        }
    }

    /// What the launcher said.
    pub fn reloaded(&self, answer: Result<Config, NotReloaded>) {
        let told = match answer {
            Ok(config) => {
                *self.config.borrow_mut() = Rc::new(config);
                Ok(())
            }
            Err(reason) => Err(reason),
        };
        let mut waiting = self.reloading.borrow_mut();
        if !waiting.is_empty() {
            // Whoever asked may be gone.
            drop(waiting.remove(0).send(told));
        }
    }

    /// Ends every run, and waits until each has its verdict.
    pub async fn end_all_runs(&self) {
        for entry in self.runs.all() {
            entry.end();
        }
        while !self.runs.all().iter().all(|entry| entry.is_over()) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}
