//! All that a gate knows while it serves.

use std::cell::RefCell;
use std::rc::Rc;

use super::acquaintance::Acquaintance;
use super::budget::{Account, Meter};
use super::http::looking::Looking;
use super::names::Names;
use super::proxy::Proxy;
use super::record::Records;
use super::resolver::Resolver;
use crate::policy::egress::{Denied, Rules};
use crate::verdict::run::Met;

/// That.
pub struct Gate {
    /// What may be reached.
    pub rules: Rules,
    /// Which address means which name.
    pub names: RefCell<Names>,
    /// Whoever knows the addresses outside.
    pub resolver: Resolver,
    /// The proxy of the host's network, if there is one to go through.
    pub proxy: Option<Proxy>,
    /// What was done.
    pub records: Records,
    /// How much has left.
    pub meter: Meter,
    /// Who was reached before.
    pub acquaintance: Acquaintance,
    /// Whether the jail has IPv6.
    pub has_v6: bool,
    /// By what it looks into requests, where the rules ask for that.
    pub looking: Option<Rc<Looking>>,
}

impl Gate {
    /// Whether the terms allow one more connection to `host`, which the rules allow, and what it is charged to.
    pub fn admit(&self, host: &str) -> Result<(Account, Met), Denied> {
        let account = self.meter.account(host)?;
        self.meter.has_room(&account)?;
        let met = self.acquaintance.meet(host)?;
        self.meter.connect()?;
        Ok((account, met))
    }
}
