//! Names that clients have given to runs, for as long as they could be given again.
//!
//! A name becomes a verdict's id, so nobody may give one twice. It has the time in it when it was made, and an old one is none;
//! so what is remembered can be forgotten in the order in which it came.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use uuid::Uuid;

use crate::wire::fault::Fault;

/// How far the time in a name may be from ours, either way.
const AGE: Duration = Duration::from_secs(60);
/// Names of one caller that are remembered. Whoever gives more has to wait until some are too old.
const MOST: usize = 1 << 16;

/// All of them.
#[derive(Default)]
pub struct Names {
    given: BTreeSet<Uuid>,
    // Until when, and whose. The first was given first.
    order: VecDeque<(Instant, u32, Uuid)>,
    counts: BTreeMap<u32, usize>,
}

impl Names {
    /// Takes a name that `uid` gives `now`: a UUID of version 7 in its usual form, just made, and never given before.
    pub fn take(&mut self, uid: u32, name: &str, now: Instant) -> Result<(), Fault> {
        let bad = |what: &str| Fault::refused("request_invalid", format!("`name` {what}"));
        let parsed = Uuid::try_parse(name).ok().filter(|parsed| parsed.to_string() == name);
        let parsed = parsed.filter(|parsed| parsed.get_version_num() == 7);
        let parsed = parsed.ok_or_else(|| bad("is no UUID of version 7"))?;
        let (made, _) = parsed.get_timestamp().ok_or_else(|| bad("has no time in it"))?.to_unix();
        let today = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
        if made.abs_diff(today) > AGE.as_secs() {
            return Err(bad("was not made just now"));
        }
        self.forget(now);
        let count = self.counts.entry(uid).or_default();
        if *count >= MOST {
            return Err(Fault::refused("busy", "too many names were given within minutes").with_retry_after(1000));
        }
        if !self.given.insert(parsed) {
            return Err(bad("was given before"));
        }
        *count += 1;
        // One from the future is old when it has come and gone.
        self.order.push_back((now + 3 * AGE, uid, parsed));
        Ok(())
    }

    fn forget(&mut self, now: Instant) {
        while let Some((until, uid, name)) = self.order.pop_front() {
            if until > now {
                return self.order.push_front((until, uid, name));
            }
            self.given.remove(&name);
            let left = self.counts.remove(&uid).unwrap_or_default().saturating_sub(1);
            if left > 0 {
                self.counts.insert(uid, left);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(fault: Result<(), Fault>) -> Option<String> {
        fault.err().map(|fault| fault.data.code)
    }

    #[test]
    fn a_name_is_given_once_and_forgotten_when_it_is_too_old_to_be_given_again() {
        let (mut names, now) = (Names::default(), Instant::now());
        let name = Uuid::now_v7().to_string();
        assert_eq!(code(names.take(1, &name, now)), None);
        assert_eq!(code(names.take(2, &name, now)).as_deref(), Some("refused.request_invalid"));
        assert_eq!(code(names.take(2, &Uuid::now_v7().to_string(), now + 3 * AGE)), None);
        assert_eq!((names.given.len(), names.order.len(), names.counts.len()), (1, 1, 1));
    }

    #[test]
    fn who_gives_too_many_waits_and_nobody_else_does() {
        let (mut names, now) = (Names::default(), Instant::now());
        for _ in 0..MOST {
            assert_eq!(code(names.take(1, &Uuid::now_v7().to_string(), now)), None);
        }
        let mut take = |uid, at| code(names.take(uid, &Uuid::now_v7().to_string(), at));
        assert_eq!(take(1, now).as_deref(), Some("refused.busy"));
        assert_eq!((take(2, now), take(1, now + 3 * AGE)), (None, None));
    }
}
