//! The unprivileged half of a run: its output, its signals, its terminal, until it is over.
//!
//! Must not fork: the launcher exists before this begins.

pub mod outer;
pub mod relay;
pub mod watch;
