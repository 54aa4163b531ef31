//! How much has left a jail, and whether more may.
//!
//! Owns the counters. What would go over is denied before any of it is sent; nothing that was counted is ever given back. The
//! counters are the gate's, so they live as long as the jail, and no command can reach them.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::record::Open;
use crate::policy::egress::Denied;
use crate::policy::egress::terms::Budget;

/// Hosts that are counted one by one.
const MOST_HOSTS: usize = 65_536;
/// What `requests_per_minute` speaks of.
const MINUTE: Duration = Duration::from_secs(60);
/// What is counted together: a count is kept for a minute and such a part.
const PART: Duration = Duration::from_secs(1);

/// The counters of one jail.
pub struct Meter {
    budget: Budget,
    sent: Cell<u64>,
    by_host: RefCell<HashMap<String, Rc<Cell<u64>>>>,
    connections: Cell<u64>,
    window: RefCell<Window>,
}

/// What one host was sent.
#[derive(Clone, Debug, Default)]
pub struct Account(Rc<Cell<u64>>);

/// Requests of the last minute, in parts of it.
#[derive(Default)]
struct Window {
    parts: VecDeque<(Instant, u64)>,
    count: u64,
}

impl Meter {
    /// Nothing has left yet.
    pub fn new(budget: &Budget) -> Meter {
        Meter {
            budget: budget.clone(),
            sent: Cell::default(),
            by_host: RefCell::default(),
            connections: Cell::default(),
            window: RefCell::default(),
        }
    }

    /// One more connection.
    pub fn connect(&self) -> Result<(), Denied> {
        let count = self.connections.get();
        match self.budget.connections {
            Some(most) if count >= most => Err(over("connections", &most.to_string())),
            _ => {
                self.connections.set(count + 1);
                Ok(())
            }
        }
    }

    /// So many more requests.
    pub fn request(&self, count: u64) -> Result<(), Denied> {
        let Some(most) = self.budget.requests_per_minute else { return Ok(()) };
        let admitted = self.window.borrow_mut().admit(Instant::now(), count, most);
        if admitted { Ok(()) } else { Err(over("requests_per_minute", &most.to_string())) }
    }

    /// The account of `host`, where there are any.
    pub fn account(&self, host: &str) -> Result<Account, Denied> {
        let Some(most) = self.budget.sent_per_host else { return Ok(Account::default()) };
        let mut all = self.by_host.borrow_mut();
        if let Some(account) = all.get(host) {
            return Ok(Account(account.clone()));
        }
        if all.len() >= MOST_HOSTS {
            return Err(over("sent_per_host", &format!("{most} bytes, to more hosts than are counted")));
        }
        let account = Rc::<Cell<u64>>::default();
        all.insert(host.to_owned(), account.clone());
        Ok(Account(account))
    }

    /// Whether another byte may be sent to the host of `account`. Nothing is counted.
    pub fn has_room(&self, account: &Account) -> Result<(), Denied> {
        self.check(self.sent.get().saturating_add(1), account.0.get().saturating_add(1))
    }

    fn check(&self, all: u64, own: u64) -> Result<(), Denied> {
        if let Some(most) = self.budget.sent.filter(|most| all > *most) {
            return Err(over("sent", &format!("{most} bytes")));
        }
        match self.budget.sent_per_host.filter(|most| own > *most) {
            Some(most) => Err(over("sent_per_host", &format!("{most} bytes"))),
            None => Ok(()),
        }
    }

    /// So many more bytes to the host of `account`: all of them or none.
    pub fn send(&self, account: &Account, bytes: u64) -> Result<(), Denied> {
        let (all, own) = (self.sent.get().saturating_add(bytes), account.0.get().saturating_add(bytes));
        self.check(all, own)?;
        self.sent.set(all);
        account.0.set(own);
        Ok(())
    }
}

/// What one connection is paid from.
pub struct Purse<'a> {
    /// The jail's counters.
    pub meter: &'a Meter,
    /// Its host's.
    pub account: Account,
}

impl Purse<'_> {
    /// Pays for bytes of a connection, or marks it as denied and ends it.
    pub fn send(&self, open: &Open, bytes: usize) -> io::Result<()> {
        settle(open, self.meter.send(&self.account, bytes as u64))
    }

    /// Pays for requests, or marks the connection as denied and ends it.
    pub fn request(&self, open: &Open, count: u64) -> io::Result<()> {
        settle(open, self.meter.request(count))
    }
}

fn settle(open: &Open, paid: Result<(), Denied>) -> io::Result<()> {
    paid.map_err(|denied| {
        open.deny(denied);
        io::ErrorKind::ConnectionAborted.into()
    })
}

impl Window {
    fn admit(&mut self, now: Instant, count: u64, most: u64) -> bool {
        while let Some((began, old)) = self.parts.front().copied()
            && now.duration_since(began) >= MINUTE + PART
        {
            self.parts.pop_front();
            self.count = self.count.saturating_sub(old);
        }
        let wanted = self.count.saturating_add(count);
        if wanted > most {
            return false;
        }
        self.count = wanted;
        match self.parts.back_mut() {
            Some((began, own)) if now.duration_since(*began) < PART => *own += count,
            _ => self.parts.push_back((now, count)),
        }
        true
    }
}

fn over(word: &str, most: &str) -> Denied {
    let remedy = format!("have the operator raise `{word}` in [egress.budget]");
    let wait = if word == "requests_per_minute" { "wait a minute, or " } else { "" };
    Denied::by(format!("budget: `{word}` ({most}) is used up"), format!("{wait}{remedy}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn meter(budget: Budget) -> Meter {
        Meter::new(&budget)
    }

    #[test]
    fn without_a_budget_nothing_is_ever_used_up() {
        let free = meter(Budget::default());
        let account = free.account("a.example").expect("no bound");
        for _ in 0..100 {
            assert!(free.connect().is_ok() && free.request(1000).is_ok() && free.send(&account, u64::MAX / 2).is_ok());
        }
    }

    #[test]
    fn bytes_are_counted_for_all_hosts_and_for_each() {
        let bounded = meter(Budget { sent: Some(100), sent_per_host: Some(60), ..Budget::default() });
        let [one, other] = ["a.example", "b.example"].map(|host| bounded.account(host).expect("room"));
        assert!(bounded.send(&one, 60).is_ok());
        let again = bounded.account("a.example").expect("room");
        assert!(bounded.send(&again, 1).expect_err("used up").rule.contains("`sent_per_host` (60 bytes)"));
        assert!(bounded.send(&other, 41).expect_err("used up").rule.contains("`sent` (100 bytes)"));
        assert!(bounded.send(&other, 40).is_ok());
        assert!(bounded.send(&other, 1).is_err() && bounded.has_room(&other).is_err());
    }

    #[test]
    fn connections_are_counted_for_ever_and_requests_for_a_minute() {
        let bounded = meter(Budget { connections: Some(2), requests_per_minute: Some(3), ..Budget::default() });
        assert!(bounded.connect().is_ok() && bounded.connect().is_ok());
        assert!(bounded.connect().expect_err("used up").remedy.contains("`connections` in [egress.budget]"));
        assert!(bounded.request(3).is_ok());
        assert!(bounded.request(1).expect_err("used up").remedy.contains("wait a minute"));
    }

    proptest! {
        #[test]
        fn no_minute_has_more_requests_than_it_may(steps in proptest::collection::vec((0u64..20_000, 1u64..4), 1..200)) {
            let (mut window, begin, mut at) = (Window::default(), Instant::now(), 0);
            let mut admitted: Vec<(u64, u64)> = Vec::new();
            for (pause, count) in steps {
                at += pause;
                if window.admit(begin + Duration::from_millis(at), count, 5) {
                    admitted.push((at, count));
                }
                let recent: u64 = admitted.iter().filter(|(when, _)| at - when < 60_000).map(|(_, count)| count).sum();
                prop_assert!(recent <= 5);
            }
            prop_assert!(!admitted.is_empty());
        }
    }
}
