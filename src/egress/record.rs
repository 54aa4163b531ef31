//! What a gate did, kept until somebody asks.
//!
//! Owns the list and its bounds. The same denial again only counts; beyond the most that is kept, the oldest is left out and
//! counted.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::policy::egress::Denied;
use crate::verdict::run::{Contact, Decision, Reached};

/// Contacts that are kept.
const MOST: usize = 512;

/// One connection under way, or what became of it.
pub struct Entry {
    contact: RefCell<Contact>,
    began: Instant,
    ended: Cell<Option<Instant>>,
    /// Bytes from the jail.
    pub sent: Cell<u64>,
    /// Bytes to the jail.
    pub received: Cell<u64>,
}

/// All of a gate's contacts.
pub struct Records {
    /// Says that there is something to tell; whether it was said.
    stir: Box<dyn Fn() -> bool>,
    stirred: Cell<bool>,
    began: Instant,
    entries: RefCell<VecDeque<Rc<Entry>>>,
    omitted: Cell<u64>,
}

/// Marks its entry as over when it goes away, however that comes about.
pub struct Open {
    entry: Rc<Entry>,
}

impl Records {
    /// None yet. By `stir` somebody hears that there is one, once until they ask; it says whether they could be told.
    pub fn new(stir: impl Fn() -> bool + 'static) -> Records {
        Records {
            stir: Box::new(stir),
            stirred: Cell::new(false),
            began: Instant::now(),
            entries: RefCell::default(),
            omitted: Cell::new(0),
        }
    }

    /// One that goes on.
    pub fn open(&self, contact: Contact) -> Open {
        Open { entry: self.push(contact) }
    }

    /// One that is over.
    pub fn note(&self, contact: Contact) {
        self.stir();
        let now = Instant::now();
        let entries = self.entries.borrow();
        let same = entries.iter().rev().find(|entry| entry.is_same(&contact));
        if let Some(entry) = same.filter(|_| contact.decision == Decision::Denied) {
            entry.ended.set(Some(now));
            entry.contact.borrow_mut().count += 1;
            return;
        }
        drop(entries);
        self.push(contact).ended.set(Some(now));
    }

    fn stir(&self) {
        if !self.stirred.get() {
            self.stirred.set((self.stir)());
        }
    }

    fn push(&self, contact: Contact) -> Rc<Entry> {
        self.stir();
        let began = Instant::now();
        let contact = Contact { after_us: micros(began - self.began), count: 1, ..contact };
        let entry = Rc::new(Entry {
            contact: RefCell::new(contact),
            began,
            ended: Cell::new(None),
            sent: Cell::new(0),
            received: Cell::new(0),
        });
        let mut entries = self.entries.borrow_mut();
        if entries.len() >= MOST {
            entries.pop_front();
            self.omitted.set(self.omitted.get() + 1);
        }
        entries.push_back(entry.clone());
        entry
    }

    /// Those that were still going on `within` ago, or began since; and whether there is more to tell of them later.
    pub fn since(&self, within: Duration) -> (Reached, bool) {
        let now = Instant::now();
        let entries = self.entries.borrow();
        let recent = |entry: &&Rc<Entry>| entry.ended.get().is_none_or(|ended| now.duration_since(ended) <= within);
        let contacts = entries.iter().filter(recent).map(|entry| entry.tell(now)).collect();
        let omitted = self.omitted.get();
        // What is left out belongs to every account.
        let going = omitted > 0 || entries.iter().any(|entry| entry.ended.get().is_none());
        self.stirred.set(going);
        (Reached { contacts, omitted, lost: false }, going)
    }
}

impl Entry {
    fn is_same(&self, other: &Contact) -> bool {
        let own = self.contact.borrow();
        own.decision == other.decision
            && (own.what, own.port, &own.name) == (other.what, other.port, &other.name)
            && (&own.address, &own.rule) == (&other.address, &other.rule)
            && own.listed == other.listed
    }

    fn tell(&self, now: Instant) -> Contact {
        Contact {
            sent: self.sent.get(),
            received: self.received.get(),
            lasted_us: micros(self.ended.get().unwrap_or(now).duration_since(self.began)),
            ..self.contact.borrow().clone()
        }
    }
}

impl Open {
    /// Its counters.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// What is known of it.
    pub fn contact(&self) -> Contact {
        self.entry.contact.borrow().clone()
    }

    /// It was under way, and may not go on.
    pub fn deny(&self, Denied { rule, remedy }: Denied) {
        self.learn(|contact| {
            contact.decision = Decision::Denied;
            contact.rule = rule;
            contact.remedy = Some(remedy);
        });
    }

    /// Changes what is known of it.
    pub fn learn(&self, change: impl FnOnce(&mut Contact)) {
        change(&mut self.entry.contact.borrow_mut());
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.entry.ended.set(Some(Instant::now()));
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::run::Attempt;

    fn records() -> (Records, Rc<Cell<u32>>) {
        let stirs = Rc::new(Cell::new(0));
        let counted = stirs.clone();
        let records = Records::new(move || {
            counted.set(counted.get() + 1);
            true
        });
        (records, stirs)
    }

    #[test]
    fn that_there_is_something_to_tell_is_said_once_until_all_of_it_was_told() {
        let (records, stirs) = records();
        assert!(records.since(Duration::MAX).0.contacts.is_empty() && stirs.get() == 0);
        let open = records.open(Contact::of(Attempt::Connect));
        records.note(Contact::of(Attempt::LookUp));
        assert_eq!(stirs.get(), 1);
        let (reached, going) = records.since(Duration::MAX);
        assert_eq!((reached.contacts.len(), going), (2, true), "one of them goes on");
        records.note(Contact::of(Attempt::Send));
        assert_eq!(stirs.get(), 1, "whoever knows that one goes on has to ask anyway");
        drop(open);
        assert!(!records.since(Duration::MAX).1);
        records.note(Contact::of(Attempt::Send));
        assert_eq!(stirs.get(), 2);
    }

    #[test]
    fn what_could_not_be_said_is_said_with_the_next() {
        let tries = Rc::new(Cell::new(0));
        let counted = tries.clone();
        let records = Records::new(move || {
            counted.set(counted.get() + 1);
            counted.get() > 1
        });
        for _ in 0..4 {
            records.note(Contact::of(Attempt::LookUp));
        }
        assert_eq!(tries.get(), 2);
    }
}
