//! The service: many callers, on one socket.
//!
//! ```text
//!   guard        root; starts the other two, starts them again when one was killed           handles no input at all
//!     |  fork, before any thread
//!     +--> launcher     root, one thread; accepts, notes who it is (SO_PEERCRED), forks keepers
//!     |      |  fork, for one caller each
//!     |      '--> keeper      what `clawjail run` calls its launcher: one jail, one caller, fixed at the fork
//!     |             '--> init --> commands
//!     +--> recorder     root without a capability, Landlock, seccomp; holds the ledger, which others only add to
//!     '--> supervisor   another user, no capability, Landlock, seccomp; tokio: requests, output, verdicts
//! ```
//!
//! The launcher accepts connections itself and names them to the supervisor by number. A supervisor that handed over
//! descriptors instead could hand over one that it connected to somebody else's socket, of which the kernel would say that
//! root is at the other end. A supervisor that was taken over can act for callers that are connected and for those
//! whose jails are open, and for nobody else.
//!
//! A request for a run becomes a keeper: the supervisor makes a channel, sends one end of it to the launcher with the
//! number of the connection, and speaks to the keeper over the other as `clawjail run` does.

pub mod admission;
pub mod attending;
pub mod budget;
pub mod config;
pub mod configuring;
pub mod confinement;
pub mod connection;
pub mod files;
pub mod gauge;
pub mod guard;
pub mod jails;
pub mod launcher;
pub mod librarian;
pub mod link;
pub mod methods;
pub mod metrics;
pub mod names;
pub mod notify;
pub mod order;
pub mod outbox;
pub mod pipes;
pub mod prepared;
pub mod privsep;
pub mod ready;
pub mod recorder;
pub mod recording;
pub mod running;
pub mod runs;
pub mod schema;
pub mod service;
pub mod socket;
pub mod streams;
pub mod supervisor;
pub mod top;
pub mod verdicts;
