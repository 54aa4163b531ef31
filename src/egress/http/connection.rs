//! A connection that is looked into, as each of its requests knows it.

use std::cell::Cell;
use std::rc::Rc;

use super::charge::Charge;
use super::upstream::Upstream;
use crate::egress::authority::Version;
use crate::policy::egress::http::Carrier;
use crate::policy::egress::name::Name;

/// How many requests there are on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// As many as come.
    Often,
    /// One: the next could be for another host.
    Once,
}

/// Requests of one connection that are listed in its record.
const MOST_LISTED: usize = 16;

/// One that is looked into.
pub struct Connection {
    /// What its bytes are charged to.
    pub charge: Rc<Charge>,
    /// To whom.
    pub name: Name,
    /// The port that was connected to.
    pub port: u16,
    /// By what.
    pub over: Carrier,
    /// In which version.
    pub version: Version,
    /// The other side.
    pub upstream: Upstream,
    /// How often it may ask.
    pub asks: Asks,
    /// How many of its requests are listed.
    pub listed: Cell<usize>,
}

impl Connection {
    /// Whether one more request can be listed.
    pub fn may_list(&self) -> bool {
        let listed = self.listed.get();
        self.listed.set(listed.saturating_add(1));
        listed < MOST_LISTED
    }
}
