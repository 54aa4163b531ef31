//! What processes say to each other: ours by [`privsep`], clients and a service by [`rpc`].
//!
//! Owns message types and their limits. Pure: `sys` moves the bytes, `jail` and `supervise` act on them.

pub mod fault;
pub mod files;
pub mod frame;
pub mod gate;
pub mod id;
pub mod privsep;
pub mod record;
pub mod reply;
pub mod reply_files;
pub mod reply_verdicts;
pub mod request;
pub mod request_files;
pub mod request_verdicts;
pub mod rpc;
pub mod schema;
pub mod text;
