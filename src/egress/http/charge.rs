//! What the bytes of a connection are charged to, and what must not be among them.

use std::rc::Rc;

use super::looking::Looking;
use crate::egress::budget::Account;
use crate::egress::gate::Gate;
use crate::egress::record::Open;
use crate::egress::secrets::Secrets;
use crate::policy::egress::Denied;

/// Shared by a connection and the bodies that go over it.
pub struct Charge {
    /// Who looks.
    pub gate: Rc<Gate>,
    /// How.
    pub looking: Rc<Looking>,
    /// The connection's record.
    pub open: Open,
    /// Whose budget is spent.
    pub account: Account,
}

impl Charge {
    /// What must not leave.
    pub fn secrets(&self) -> &Secrets {
        &self.looking.secrets
    }

    /// Pays for what is sent and counts it; or says why it may not be.
    pub fn pay(&self, bytes: usize) -> Result<(), Denied> {
        self.gate.meter.send(&self.account, bytes as u64)?;
        let sent = &self.open.entry().sent;
        sent.set(sent.get() + bytes as u64);
        Ok(())
    }

    /// Counts what was received.
    pub fn received(&self, bytes: usize) {
        let received = &self.open.entry().received;
        received.set(received.get() + bytes as u64);
    }
}
