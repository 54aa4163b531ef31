//! The unprivileged half of a run: its output, its signals, its terminal, until it is over.
//!
//! Forks once, before anything else: the launcher ([`launch`]).

pub mod launch;
pub mod outer;
pub mod relay;
pub mod watch;
