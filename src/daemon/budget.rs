//! The memory that one caller may take up in the supervisor, over all their connections: with requests that have not been
//! answered yet, and with answers that they have not read.
//!
//! What is short costs nothing, so whoever has used all of it up can still end what uses it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::wire::fault::Fault;

/// What one caller has.
const MOST_BYTES: usize = 64 << 20;
/// The unit in which it is counted. Less than one costs nothing.
const UNIT: usize = 1 << 10;
/// How long somebody waits for what others of the same caller give back.
const PATIENCE: Duration = Duration::from_secs(10);

/// The memory of all callers.
#[derive(Default)]
pub struct Budgets {
    callers: RefCell<BTreeMap<u32, Weak<Semaphore>>>,
}

/// The memory of one caller.
#[derive(Clone)]
pub struct Budget(Arc<Semaphore>);

/// A part of it, given back when this is dropped.
#[derive(Default)]
pub struct Room {
    permit: Option<OwnedSemaphorePermit>,
}

impl Budgets {
    /// That of `uid`, shared by all their connections.
    pub fn of(&self, uid: u32) -> Budget {
        let mut callers = self.callers.borrow_mut();
        if let Some(budget) = callers.get(&uid).and_then(Weak::upgrade) {
            return Budget(budget);
        }
        callers.retain(|_, budget| budget.strong_count() > 0);
        let budget = Arc::new(Semaphore::new(MOST_BYTES / UNIT));
        callers.insert(uid, Arc::downgrade(&budget));
        Budget(budget)
    }
}

impl Budget {
    /// Room for `bytes`, once there is some.
    pub async fn take(&self, bytes: usize) -> Result<Room, Fault> {
        let mut room = Room::default();
        self.enlarge(&mut room, bytes).await?;
        Ok(room)
    }

    /// Makes `room` large enough for `bytes`, once there is so much.
    pub async fn enlarge(&self, room: &mut Room, bytes: usize) -> Result<(), Fault> {
        let more = (bytes / UNIT).min(MOST_BYTES / UNIT).saturating_sub(room.units());
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        if more == 0 {
            return Ok(());
        }
        let busy = || {
            let message = "requests and answers of yours that are under way take up all the memory there is for them";
            Fault::refused("busy", message).with_retry_after(1000)
        };
        // Closed never: it is ours.
        let taken = timeout(PATIENCE, self.0.clone().acquire_many_owned(more)).await.map_err(|_| busy())?;
        room.add(taken.map_err(|_| busy())?);
        Ok(())
    }
}

impl Room {
    fn units(&self) -> usize {
        self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    fn add(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            None => self.permit = Some(more),
        }
    }

    /// Gives back what is not needed for `bytes`.
    pub fn shrink(&mut self, bytes: usize) {
        let excess = self.units().saturating_sub(bytes / UNIT);
        drop(self.permit.as_mut().and_then(|permit| permit.split(excess)));
    }

    /// Gives a part of it, as large as `bytes` if there is so much, to somebody else.
    pub fn split(&mut self, bytes: usize) -> Room {
        let units = self.units().min(bytes / UNIT);
        Room { permit: self.permit.as_mut().and_then(|permit| permit.split(units)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether there is room for so much now.
    async fn has(budget: &Budget, bytes: usize) -> bool {
        timeout(Duration::from_millis(5), budget.take(bytes)).await.is_ok()
    }

    #[tokio::test]
    async fn a_caller_has_so_much_and_another_as_much_again() {
        let budgets = Budgets::default();
        let (one, other) = (budgets.of(1), budgets.of(2));
        let all = one.take(MOST_BYTES).await.expect("it is all there");
        assert!(!has(&budgets.of(1), UNIT).await, "all connections of a caller share it");
        assert!(has(&one, UNIT - 1).await, "what is short costs nothing");
        assert!(has(&other, MOST_BYTES).await);
        drop(all);
        assert!(has(&one, MOST_BYTES).await);
    }

    #[tokio::test]
    async fn a_part_that_was_given_away_is_given_back_by_itself() {
        let budget = Budgets::default().of(1);
        let mut room = budget.take(MOST_BYTES).await.expect("it is all there");
        let part = room.split(MOST_BYTES / 2);
        drop(room);
        assert!(!has(&budget, MOST_BYTES).await);
        assert!(has(&budget, MOST_BYTES / 2).await);
        drop(part);
        assert!(has(&budget, MOST_BYTES).await);
    }
}
