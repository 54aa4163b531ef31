//! The messages between a launcher and its jail's gate.
//!
//! ```text
//! launcher --> gate   Open [sockets]   Know   Tell
//! gate --> launcher   Failed | Trust   Ready   Stirred   Reached
//! ```

use serde::{Deserialize, Serialize};

use super::privsep::Failure;
use crate::verdict::run::Reached;

/// From the launcher to the gate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToGate {
    /// Serve. Descriptors: sockets made in the jail's network, TCP and names over UDP and TCP, of IPv4 and then of IPv6.
    Open {
        /// Hosts that the agent has reached before, where the terms ask for that.
        known: Vec<String>,
        /// What whoever connects has to know, where it is a proxy on the host's loopback: its listener is then the only descriptor.
        token: Option<String>,
    },
    /// From now on these are the hosts that were reached before: the next run's agent can be another.
    Know(Vec<String>),
    /// Say what was reached.
    Tell {
        /// What went on within so many microseconds from now, backwards.
        within_us: u64,
    },
}

/// From the gate to the launcher.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FromGate {
    /// It could not confine itself, and has ended.
    Failed(Failure),
    /// Whom the jail's programs are to trust, before anything else is said, where TLS ends at the gate.
    Trust {
        /// As nearly all programs read it.
        pem: Vec<u8>,
        /// As Java reads it.
        jks: Vec<u8>,
    },
    /// It serves.
    Ready,
    /// There is something to tell, for the first time since it began or was last asked: who was told of nothing need not ask.
    Stirred,
    /// What was reached.
    Reached {
        /// That.
        reached: Box<Reached>,
        /// Whether some of it goes on. If not, what comes next is `Stirred`.
        going: bool,
    },
}
