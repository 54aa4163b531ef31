//! Who may start a run now, who waits, and who is told to come back later.
//!
//! One queue a caller, served in turn: a caller with a thousand requests waits for its own, and another with one waits for at
//! most one of each caller's.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::config::Limits;
use crate::wire::fault::Fault;

/// The desk at which runs are admitted.
#[derive(Default)]
pub struct Admission {
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    running: usize,
    // The bounds of the last that asked: a reload counts from the next request on.
    most: usize,
    most_per_caller: usize,
    callers: BTreeMap<u32, Caller>,
    // Callers with somebody waiting, the next first.
    turns: VecDeque<u32>,
}

struct Caller {
    running: usize,
    waiting: VecDeque<oneshot::Sender<Permit>>,
    // A bucket of starts that fills by the minute.
    starts: f64,
    filled: Instant,
}

/// Leave to have one run going. It ends when this is dropped.
pub struct Permit {
    admission: Rc<Admission>,
    uid: u32,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.release(self.uid);
    }
}

impl Admission {
    /// Waits for a turn, or says why there will be none.
    pub async fn admit(self: &Rc<Self>, uid: u32, limits: &Limits) -> Result<Permit, Fault> {
        let waiting = {
            let mut state = self.state.borrow_mut();
            state.most = limits.runs;
            state.most_per_caller = limits.runs_per_caller;
            let caller = state.callers.entry(uid).or_insert_with(|| Caller::new(limits));
            caller.count_start(limits)?;
            if caller.waiting.len() >= limits.waiting_per_caller {
                let message = format!("{} runs of yours wait for their turn already", caller.waiting.len());
                return Err(Fault::refused("busy", message).with_retry_after(1000));
            }
            let (sender, receiver) = oneshot::channel();
            caller.waiting.push_back(sender);
            if !state.turns.contains(&uid) {
                state.turns.push_back(uid);
            }
            receiver
        };
        self.serve();
        // The sender is dropped only with the whole desk.
        waiting.await.map_err(|_| Fault::refused("stopping", "the service is stopping").with_retry_after(1000))
    }

    /// Whether one more of `uid` may wait.
    pub fn has_room(&self, uid: u32, limits: &Limits) -> bool {
        let state = self.state.borrow();
        state.callers.get(&uid).is_none_or(|caller| caller.waiting.len() < limits.waiting_per_caller)
    }

    /// Counts something that is no run, and costs as much as starting one.
    pub fn count(&self, uid: u32, limits: &Limits) -> Result<(), Fault> {
        let mut state = self.state.borrow_mut();
        state.callers.entry(uid).or_insert_with(|| Caller::new(limits)).count_start(limits)
    }

    fn release(self: &Rc<Self>, uid: u32) {
        {
            let mut state = self.state.borrow_mut();
            state.running = state.running.saturating_sub(1);
            if let Some(caller) = state.callers.get_mut(&uid) {
                caller.running = caller.running.saturating_sub(1);
            }
            if state.callers.len() > 1024 {
                // Those who come back find a full bucket, which is what they would have by then anyway.
                state
                    .callers
                    .retain(|_, caller| caller.running > 0 || !caller.waiting.is_empty() || caller.is_recent());
            }
        }
        self.serve();
    }

    /// Gives permits while there are any, one to each caller in turn.
    fn serve(self: &Rc<Self>) {
        while let Some((uid, waiting)) = self.next() {
            let permit = Permit { admission: self.clone(), uid };
            // One that does not wait any more drops it at once, which is another release.
            drop(waiting.send(permit));
        }
    }

    fn next(&self) -> Option<(u32, oneshot::Sender<Permit>)> {
        let state = &mut *self.state.borrow_mut();
        for _ in 0..state.turns.len() {
            if state.running >= state.most {
                return None;
            }
            let uid = state.turns.pop_front()?;
            let caller = state.callers.get_mut(&uid)?;
            caller.waiting.retain(|waiting| !waiting.is_closed());
            if caller.waiting.is_empty() {
                continue;
            }
            state.turns.push_back(uid);
            if caller.running < state.most_per_caller
                && let Some(waiting) = caller.waiting.pop_front()
            {
                caller.running += 1;
                state.running += 1;
                return Some((uid, waiting));
            }
        }
        None
    }
}

impl Caller {
    fn new(limits: &Limits) -> Caller {
        let starts = limits.runs_per_minute.unwrap_or(0) as f64;
        Caller { running: 0, waiting: VecDeque::new(), starts, filled: Instant::now() }
    }

    fn is_recent(&self) -> bool {
        self.filled.elapsed().as_secs() < 60
    }

    fn count_start(&mut self, limits: &Limits) -> Result<(), Fault> {
        let Some(most) = limits.runs_per_minute else { return Ok(()) };
        let per_ms = most as f64 / 60_000.0;
        self.starts = (self.starts + self.filled.elapsed().as_secs_f64() * 1000.0 * per_ms).min(most as f64);
        self.filled = Instant::now();
        if self.starts >= 1.0 {
            self.starts -= 1.0;
            return Ok(());
        }
        let wait = ((1.0 - self.starts) / per_ms).ceil() as u64;
        Err(Fault::refused("rate", format!("more than {most} runs in a minute")).with_retry_after(wait.max(1)))
    }
}
