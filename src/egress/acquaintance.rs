//! Which hosts an agent has reached before.
//!
//! Owns the decision about a host that was never reached. What is known comes from the launcher, which keeps it where no jail
//! gets; what is new is told to it with the contact.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::policy::egress::terms::FirstContact;
use crate::policy::egress::{Denied, ONLY_IF};
use crate::verdict::run::Met;

/// What one jail's agent knows.
#[derive(Default)]
pub struct Acquaintance {
    first: Option<FirstContact>,
    known: RefCell<BTreeSet<String>>,
}

impl Acquaintance {
    /// With those who are known already.
    pub fn new(first: Option<FirstContact>, known: Vec<String>) -> Acquaintance {
        Acquaintance { first, known: RefCell::new(known.into_iter().collect()) }
    }

    /// Whether `host` may be reached as far as this goes. From now on it is known here.
    pub fn meet(&self, host: &str) -> Result<Met, Denied> {
        let Some(first) = self.first else { return Ok(Met::Before) };
        if self.known.borrow().contains(host) {
            return Ok(Met::Before);
        }
        let met = match first {
            FirstContact::Deny => {
                let remedy = format!("{ONLY_IF}have the operator say that it is known: `clawjail contacts add {host}`");
                return Err(Denied::by("first contact: `first_contact` is `deny`", remedy));
            }
            FirstContact::Flag => Met::Flagged,
            FirstContact::Allow => Met::Quietly,
        };
        self.known.borrow_mut().insert(host.to_owned());
        Ok(met)
    }

    /// From now on it is these who are known: the next run can be for another agent.
    pub fn know(&self, known: Vec<String>) {
        *self.known.borrow_mut() = known.into_iter().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_met_for_the_first_time_once() {
        let known = || vec!["old.example".to_owned()];
        let flagging = Acquaintance::new(Some(FirstContact::Flag), known());
        assert_eq!(flagging.meet("old.example"), Ok(Met::Before));
        assert_eq!(flagging.meet("new.example"), Ok(Met::Flagged));
        assert_eq!(flagging.meet("new.example"), Ok(Met::Before));
        let quiet = Acquaintance::new(Some(FirstContact::Allow), known());
        assert_eq!(quiet.meet("new.example"), Ok(Met::Quietly));
        assert_eq!(Acquaintance::default().meet("new.example"), Ok(Met::Before));
    }

    #[test]
    fn who_is_denied_at_first_contact_stays_denied_until_somebody_knows_them() {
        let strict = Acquaintance::new(Some(FirstContact::Deny), vec!["old.example".to_owned()]);
        assert_eq!(strict.meet("old.example"), Ok(Met::Before));
        assert!(strict.meet("new.example").is_err() && strict.meet("new.example").is_err());
        strict.know(vec!["new.example".to_owned()]);
        assert_eq!(strict.meet("new.example"), Ok(Met::Before));
    }
}
