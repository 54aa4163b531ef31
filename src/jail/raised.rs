//! A jail that stands, or will in a moment, with all that is known of it.

use std::collections::BTreeSet;

use super::deciding::Prepared;
use super::opening::Jail;
use crate::confine::shields::Shielded;

/// What exists of what shields name.
pub type Found = BTreeSet<Shielded>;

/// A jail whose init builds and confines itself.
pub struct Raised {
    /// The jail.
    pub jail: Jail,
    /// What it is made by.
    pub prepared: Prepared,
    /// What of it is known by now, in the bare tier.
    pub private: Private,
    /// The name of its plan.
    pub digest: String,
    /// What existed of what shields name, where rules for ever were made around that (bare tier) and more runs may come.
    pub found: Found,
}

/// What a jail has of its own that no plan knows: most of it where it has no view.
#[derive(Clone, Debug, Default)]
pub struct Private {
    /// Where its home and its temporary files are.
    pub places: String,
    /// Where its gate is, as programs are told.
    pub gate: String,
    /// What is in everything that stands for a secret, in any tier.
    pub mark: Option<String>,
}

impl Private {
    /// What stands for the secret `name` in this jail; of no use anywhere else.
    pub fn placeholder(&self, name: &str) -> Option<String> {
        self.mark.as_ref().map(|mark| format!("{mark}-{name}"))
    }
}
