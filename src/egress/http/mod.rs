//! Requests that the gate looks into, TLS or not.
//!
//! ```text
//!   client --TLS, certificate of the jail's authority--> [here] --TLS, judged by the host's authorities--> server
//!             each request: is it for this host? does a rule allow it? does something that stands for a secret leave?
//!                           then the secret is put in, the head written anew, the body passed on
//! ```
//!
//! Both sides speak the same version, the one that the server chose. A server is never believed without its certificate, and nothing is
//! relayed unseen because something went wrong: then each request is answered with what did.

mod body;
mod carry;
mod charge;
mod connection;
mod exchange;
pub mod head;
pub mod looking;
mod notes;
mod rewound;
mod tunnel;
mod upstream;
mod way;

pub use carry::{Begun, bounded, serve};
pub use connection::Asks;
pub use way::look;
