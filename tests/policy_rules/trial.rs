//! Calls made for real in a child that wears a filter.

use crate::kernel::{confine, in_child, raw};
use crate::{Checks, ENOSYS, EPERM, worn};

/// A real call and what is to come of it.
pub struct Trial {
    name: String,
    call: libc::c_long,
    arguments: [u64; 6],
    want: Want,
}

/// What is to come of it.
#[derive(Clone, Copy, PartialEq)]
pub enum Want {
    /// The call is made, and does what it does.
    Made,
    /// The call succeeds.
    Works,
    /// It returns `EPERM`.
    Denied,
    /// It returns `ENOSYS`.
    Missing,
}

/// A call with some arguments; the others are zero.
pub fn trial(name: impl Into<String>, call: libc::c_long, arguments: &[u64], want: Want) -> Trial {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    Trial { name: name.into(), call, arguments: all, want }
}

/// Makes the calls under the filter of those policies.
pub fn run(checks: &mut Checks, name: &str, sets: &[&str], trials: &[Trial]) {
    let program = worn(sets);
    let report = in_child(trials.len(), |report| {
        confine(&program);
        trials.iter().for_each(|trial| report(made(trial)));
    });
    let mut wrong: Vec<String> = Vec::new();
    if report.values.len() != trials.len() {
        wrong.push(format!("the child ended early: status {:#x}", report.status));
    }
    for (trial, found) in trials.iter().zip(report.values) {
        let right = match trial.want {
            Want::Made => found != EPERM && found != ENOSYS,
            Want::Works => found >= 0,
            Want::Denied => found == EPERM,
            Want::Missing => found == ENOSYS,
        };
        if !right {
            wrong.push(format!("{}: {found}", trial.name));
        }
    }
    checks.check(&format!("{}: {name}", sets.join("+")), &wrong);
}

/// A clone that should have been denied has a second process here, which must not go on with the trials.
fn made(trial: &Trial) -> i64 {
    let result = raw(trial.call as u32, trial.arguments);
    if trial.call == libc::SYS_clone && result == 0 {
        std::process::exit(0);
    }
    result
}
