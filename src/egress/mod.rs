//! The gate: the process through which a jail's bytes leave, and the only one.
//!
//! One for each jail whose profile has `[egress]`: forked by the launcher, of a user of its own, without capabilities, under
//! Landlock and seccomp, and gone with the jail. It lives in the host's network and holds sockets that were made in the
//! jail's (`confine::gateway`), where every connection ends.
//!
//! ```text
//!   command --name?--> [names]     only what a rule allows gets an answer, an address that means that name here
//!   command --TCP----> [gate]      whose name was this address? may it be reached on this port?
//!                         |        what is said first must speak of that name: TLS server name, HTTP Host
//!                      [resolver]  asked for that name only now
//!                         |        each address is judged, too
//!                       [dial]     and connected to: what was judged is what is dialled
//! ```
//!
//! It reads hostile bytes from both sides, so nothing here indexes, unwraps or waits for ever. Whatever it does is recorded and
//! told to the launcher when a run ends. Must not make a process or open a file once it serves.

pub mod acquaintance;
pub mod answers;
pub mod authority;
pub mod budget;
pub mod connection;
pub mod datagrams;
pub mod dial;
pub mod explicit;
pub mod first;
pub mod follow;
pub mod gate;
pub mod hello;
pub mod http;
pub mod life;
pub mod listen;
pub mod lookups;
pub mod names;
pub mod needles;
pub mod packets;
pub mod proxy;
pub mod record;
pub mod refusal;
pub mod relay;
pub mod requests;
pub mod resolver;
pub mod roots;
pub mod secrets;
pub mod secure;
pub mod sources;
pub mod strays;
pub mod unpack;
pub mod unreachable;
