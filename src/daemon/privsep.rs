//! The messages between a service's supervisor and its launcher. What keepers are told is in [`crate::wire::privsep`].
//!
//! ```text
//! supervisor --> launcher   Keep [keeper's end of a channel]   Closed   Reload
//! launcher --> supervisor   Connected [connection]   Reloaded | NotReloaded
//! ```

use serde::{Deserialize, Serialize};

use super::config::{Config, Peer};

/// A connection, by the launcher's number for it. Numbers are not used twice.
pub type Connection = u64;

/// From the supervisor to the launcher.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Ask {
    /// Fork a keeper for the caller of this connection. Descriptor: the end of a channel that the keeper serves. A refusal
    /// comes over that channel too.
    Keep(Connection),
    /// Nothing more will be asked for this connection.
    Closed(Connection),
    /// Read the configuration again.
    Reload,
}

/// From the launcher to the supervisor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Somebody connected. Descriptor: the connection.
    Connected(Connection, Peer),
    /// This counts from now on.
    Reloaded(Box<Config>),
    /// Nothing has changed, because of this.
    NotReloaded {
        /// One line, with the place.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
}
