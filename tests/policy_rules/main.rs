//! Every rule of every shipped policy, asked of the kernel itself: what a rule allows is allowed, what is beside it is
//! denied with the errno that is promised. Children are forked, so there is no test harness: one line a check.

#![expect(unsafe_code, reason = "system calls are made raw, as a hostile program makes them")]
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking; the launcher may not")]

mod broker;
mod effects;
mod kernel;
mod observe;
mod sockets;
mod trial;

use std::process::ExitCode;

use clawjail::plan::filter::{Otherwise, Program, compile};
use clawjail::policy::syscalls::numbers::{self, Architecture, NEWEST};
use clawjail::policy::syscalls::{Action, Condition, SyscallPolicy, SyscallRule, merge, parse};
use kernel::{Call, MARKER, answers};

/// What a denied call returns.
pub const EPERM: i64 = -(libc::EPERM as i64);
/// What a missing call returns.
pub const ENOSYS: i64 = -(libc::ENOSYS as i64);

/// The sets as jails wear them.
const WORN: [&[&str]; 5] = [
    &["default", "namespaced", "loopback", "direct"],
    &["default"],
    &["default", "bare"],
    &["default", "namespaced", "loopback"],
    &["default", "namespaced", "loopback", "unix"],
];

/// What a jail with namespaces wears.
pub const LOOPBACK: &[&str] = &["default", "namespaced", "loopback"];

/// Counts checks and prints each.
#[derive(Default)]
pub struct Checks {
    passed: usize,
    failed: usize,
}

impl Checks {
    /// One check; `wrong` says what was found instead, nothing if all was as it should be.
    pub fn check(&mut self, name: &str, wrong: &[String]) {
        if wrong.is_empty() {
            self.passed += 1;
            println!("check {name} ... ok");
        } else {
            self.failed += 1;
            println!("check {name} ... FAILED\n    {}", wrong.join("\n    "));
        }
    }
}

fn main() -> ExitCode {
    let mut checks = Checks::default();
    for names in WORN {
        let policy = shipped(names);
        let program = compile(&policy, Otherwise::Deny).expect("shipped policies compile");
        let worn = names.join("+");
        every_rule(&mut checks, &worn, &policy, &program);
        every_number(&mut checks, &worn, &policy, &program);
        other_interfaces(&mut checks, &worn, &program);
        random_calls(&mut checks, &worn, &policy, &program);
    }
    sockets::all(&mut checks);
    effects::all(&mut checks);
    broker::all(&mut checks);
    broker::of_git(&mut checks);
    observe::all(&mut checks);
    let Checks { passed, failed } = checks;
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {result}. {passed} passed; {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The shipped policies of those names as one.
pub fn shipped(names: &[&str]) -> SyscallPolicy {
    let read = |name: &&str| {
        let path = format!("{}/policies/syscalls/{name}.toml", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).expect("a shipped policy can be read");
        parse(name, &path, &text).expect("a shipped policy is valid")
    };
    merge(names.iter().map(read).collect())
}

/// The filter of those policies.
pub fn worn(names: &[&str]) -> Program {
    compile(&shipped(names), Otherwise::Deny).expect("shipped policies compile")
}

/// What a call comes back with, by the definition of a policy.
fn expected(rules: &[SyscallRule], (_, arguments): &Call) -> i64 {
    let holds = |one: &Condition| arguments[usize::from(one.arg)] & one.mask == one.value;
    let greatest = rules.iter().filter(|rule| rule.when.iter().all(holds)).map(|rule| rule.action).max();
    match greatest {
        Some(Action::Allow) => MARKER,
        Some(Action::Missing) => ENOSYS,
        Some(Action::Notify | Action::Deny) | None => EPERM,
    }
}

/// The number of a call that the kernel asks filters about. It does not ask about these two (Linux 6.14): its own
/// tracing makes them, and the first one ends a process that makes it by itself.
fn number(name: &str) -> Option<u32> {
    if ["uretprobe", "uprobe"].contains(&name) {
        return None;
    }
    numbers::Call::named(name)?.number(Architecture::CURRENT)
}

/// Arguments that meet the conditions of a rule, all other bits from `rest`.
fn meeting(when: &[Condition], rest: u64) -> [u64; 6] {
    let mut arguments = [rest, rest, rest, rest, rest, 0];
    for one in when {
        let argument = &mut arguments[usize::from(one.arg)];
        *argument = *argument & !one.mask | one.value;
    }
    arguments
}

/// Arguments one bit, or one, beside those that meet the conditions.
fn neighbours(when: &[Condition], rest: u64) -> Vec<[u64; 6]> {
    let mut all = Vec::new();
    for one in when {
        let mut beside = |change: u64| {
            let mut arguments = meeting(when, rest);
            arguments[usize::from(one.arg)] ^= change;
            all.push(arguments);
        };
        (0..64).filter(|bit| one.mask & 1 << bit != 0).for_each(|bit| beside(1 << bit));
        beside(one.value ^ (one.value.wrapping_add(1) & one.mask));
    }
    all
}

fn every_rule(checks: &mut Checks, worn: &str, policy: &SyscallPolicy, program: &Program) {
    for rules in policy.rules.chunk_by(|one, next| one.call == next.call) {
        let Some(number) = number(&rules[0].call) else {
            continue;
        };
        for rule in rules {
            let mut calls: Vec<Call> = Vec::new();
            for rest in [0, u64::MAX, 0xffff_ffff_0000_0000] {
                calls.push((number, meeting(&rule.when, rest)));
                calls.extend(neighbours(&rule.when, rest).into_iter().map(|arguments| (number, arguments)));
            }
            let name = format!("{worn}: {:?} {} {}", rule.action, rule.call, described(&rule.when));
            checks.check(&name, &differences(program, &calls, |call| expected(rules, call)));
        }
    }
}

fn described(when: &[Condition]) -> String {
    let one = |one: &Condition| format!("arg{}&{:#x}={:#x} ", one.arg, one.mask, one.value);
    when.iter().map(one).collect()
}

/// Every number, named by a rule or not, known or not.
fn every_number(checks: &mut Checks, worn: &str, policy: &SyscallPolicy, program: &Program) {
    let named = |number: u32| numbers::Call::all().find(|call| call.number(Architecture::CURRENT) == Some(number));
    let asked = |number: &u32| named(*number).is_none_or(|call| self::number(call.name()).is_some());
    let calls: Vec<Call> = (0..=NEWEST + 600).filter(asked).map(|number| (number, [0; 6])).collect();
    let wrong = differences(program, &calls, |call| match named(call.0) {
        Some(known) => {
            let rules: Vec<SyscallRule> =
                policy.rules.iter().filter(|rule| rule.call == known.name()).cloned().collect();
            expected(&rules, call)
        }
        None => ENOSYS,
    });
    checks.check(&format!("{worn}: every number, and those nobody knows are missing"), &wrong);
}

/// x32 numbers, the skipped call, and the 32-bit gate.
fn other_interfaces(checks: &mut Checks, worn: &str, program: &Program) {
    if cfg!(not(target_arch = "x86_64")) {
        return;
    }
    let x32: Vec<Call> = (0..=NEWEST + 100).map(|number| (number | 0x4000_0000, [0; 6])).collect();
    checks.check(&format!("{worn}: every x32 number is denied"), &differences(program, &x32, |_| EPERM));
    let odd =
        [0x3fff_ffff, 0x7fff_ffff, 0x8000_0000, 0xc000_0000, 0xffff_fffe, u32::MAX].map(|number| (number, [0; 6]));
    let wrong = differences(program, &odd, |(number, _)| match *number {
        0x3fff_ffff | u32::MAX => ENOSYS,
        _ => EPERM,
    });
    checks.check(&format!("{worn}: odd numbers"), &wrong);
}

/// Agreement of kernel and definition on calls that nobody chose.
fn random_calls(checks: &mut Checks, worn: &str, policy: &SyscallPolicy, program: &Program) {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let rules: Vec<&[SyscallRule]> = policy.rules.chunk_by(|one, next| one.call == next.call).collect();
    let (mut calls, mut wanted) = (Vec::new(), Vec::new());
    for _ in 0..20_000 {
        let rules = rules[random() as usize % rules.len()];
        let Some(number) = number(&rules[0].call) else {
            continue;
        };
        let chosen = &rules[random() as usize % rules.len()];
        let rest = random() >> (random() % 64);
        let mut arguments = meeting(&chosen.when, rest);
        arguments[random() as usize % 5] ^= 1 << (random() % 64) & random();
        wanted.push(expected(rules, &(number, arguments)));
        calls.push((number, arguments));
    }
    let mut wanted = wanted.into_iter();
    let wrong = differences(program, &calls, |_| wanted.next().unwrap_or_default());
    checks.check(&format!("{worn}: kernel and rules agree on random calls"), &wrong);
}

/// The calls that come back otherwise than they should, at most a few.
fn differences(program: &Program, calls: &[Call], mut wanted: impl FnMut(&Call) -> i64) -> Vec<String> {
    let compared = calls.iter().zip(answers(program, calls));
    let wrong = compared.filter_map(|(call, found)| match wanted(call) {
        wanted if wanted == found => None,
        wanted => Some(format!("{} {:x?}: {found} instead of {wanted}", call.0, call.1)),
    });
    wrong.take(5).collect()
}
