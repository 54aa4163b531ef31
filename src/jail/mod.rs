//! The privileged half: launcher and init, and what they need.
//!
//! The launcher ([`launcher`]) turns requests into plans and plans into jails; init ([`init`]) is a jail's first process,
//! confines itself and starts runs. Neither knows terminals of users, tokio or verdicts.

pub mod accounts;
pub mod ahead;
pub mod asker;
pub mod asking;
pub mod audit_record;
pub mod auditing;
pub mod beside;
pub mod broker;
pub mod cgroup;
pub mod changes;
pub mod channel;
pub mod command;
pub mod contacts;
pub mod deciding;
pub mod delegation;
pub mod descendants;
pub mod ends;
pub mod environment;
pub mod examine;
pub mod files;
pub mod folding;
pub mod forked;
pub mod gate;
pub mod idmap;
pub mod init;
pub mod judging;
pub mod keeping;
pub mod launcher;
pub mod listening;
pub mod lookout;
pub mod lost;
pub mod mandate;
pub mod naming;
pub mod not_started;
pub mod observing;
pub mod opening;
pub mod placing;
pub mod probe;
pub mod raised;
pub mod recorder;
pub mod remains;
pub mod removal;
pub mod repository;
pub mod runner;
pub mod runs;
pub mod spare;
pub mod start;
pub mod stdio;
pub mod survey;
pub mod trees;
pub mod unguessable;
pub mod usage;
pub mod vetting;
pub mod waiting;
pub mod watch;
pub mod witness;
pub mod workspace;
pub mod writing;

use crate::confine::Failed;
use crate::wire::privsep::Failure;

/// A failed step as the wire tells it.
pub fn failure(failed: Failed) -> Failure {
    Failure { step: failed.step.to_owned(), errno: failed.errno as i32, what: failed.what }
}

/// An error and its sources in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}
