//! The filter, run by a small interpreter of classic BPF. The kernel's own opinion is in `tests/policy_rules.rs`.

use proptest::prelude::*;

use super::*;
use crate::policy::syscalls::{Condition, merge, parse};

const X86: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;

/// What a program answers to a call, in the words of its instructions.
fn run(program: &Program, architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let word = |offset: u32| match offset {
        0 => number,
        4 => architecture,
        8 | 12 => 0,
        _ => (arguments[(offset as usize - 16) / 8] >> (if offset.is_multiple_of(8) { 0 } else { 32 })) as u32,
    };
    let (mut at, mut loaded) = (0usize, 0u32);
    loop {
        let Instruction { code, jt, jf, k } = program.instructions[at];
        at += 1;
        let branch = |holds: bool| usize::from(if holds { jt } else { jf });
        match code {
            0x20 => loaded = word(k),
            0x54 => loaded &= k,
            0x05 => at += k as usize,
            0x15 => at += branch(loaded == k),
            0x35 => at += branch(loaded >= k),
            0x45 => at += branch(loaded & k != 0),
            0x06 => return k,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

fn policy(text: &str) -> SyscallPolicy {
    parse("test", "test.toml", text).expect("a valid policy")
}

fn program(text: &str, otherwise: Otherwise) -> Program {
    compile_for(Architecture::X86_64, &policy(text), otherwise).expect("compiles")
}

fn shipped(names: &[&str]) -> SyscallPolicy {
    let read = |name: &&str| {
        let path = format!("{}/policies/syscalls/{name}.toml", env!("CARGO_MANIFEST_DIR"));
        parse(name, &path, &std::fs::read_to_string(&path).expect("readable")).unwrap_or_else(|error| panic!("{error}"))
    };
    merge(names.iter().map(read).collect())
}

/// The answer by the definition: the greatest action whose conditions hold.
fn expected(policy: &SyscallPolicy, name: &str, arguments: [u64; 6], otherwise: Otherwise) -> u32 {
    let holds = |rule: &&SyscallRule| {
        rule.call == name && rule.when.iter().all(|one| arguments[usize::from(one.arg)] & one.mask == one.value)
    };
    let greatest = policy.rules.iter().filter(holds).map(|rule| rule.action).max();
    greatest.map_or(unnamed(true, otherwise), answer)
}

#[test]
fn an_empty_policy_is_refused_and_so_is_one_for_other_architectures_only() {
    let empty = SyscallPolicy::default();
    assert_eq!(compile(&empty, Otherwise::Deny), Err(FilterError::Empty));
    let x86_only = policy("[[rule]]\ncall = \"open\"\nwhy = \"x\"");
    assert_eq!(compile_for(Architecture::Aarch64, &x86_only, Otherwise::Deny), Err(FilterError::Empty));
}

#[test]
fn a_call_without_rule_is_denied_and_one_that_nobody_knows_is_missing() {
    let program = program("[[rule]]\ncall = \"read\"\nwhy = \"x\"", Otherwise::Deny);
    for (number, answer) in [(0, RETURN_ALLOW), (1, DENIED), (NEWEST, DENIED), (NEWEST + 1, MISSING), (400, MISSING)] {
        assert_eq!(run(&program, X86, number, [0; 6]), answer, "{number}");
    }
}

#[test]
fn no_call_of_another_interface_is_allowed_also_on_top_of_everything() {
    for otherwise in [Otherwise::Deny, Otherwise::Allow] {
        let program = program("[[rule]]\ncall = \"read\"\nwhy = \"x\"", otherwise);
        for number in (0..600).chain([u32::MAX]) {
            assert_eq!(run(&program, I386, number, [0; 6]), DENIED);
            if number < 600 {
                assert_eq!(run(&program, X86, number | X32_BIT, [0; 6]), DENIED);
                assert_eq!(run(&program, X86, number | 0xc000_0000, [0; 6]), DENIED);
            }
        }
        assert_eq!(run(&program, X86, u32::MAX, [0; 6]), MISSING);
    }
}

#[test]
fn deny_wins_over_missing_over_notify_over_allow_on_the_arguments() {
    let program = program(
        "[[rule]]\ncall = \"ioctl\"\nwhy = \"x\"\n\
         [[rule]]\ncall = \"ioctl\"\naction = \"notify\"\narg1 = [1, 2, 3]\nwhy = \"x\"\n\
         [[rule]]\ncall = \"ioctl\"\naction = \"missing\"\narg0 = { mask = 2, is = 2 }\nwhy = \"x\"\n\
         [[rule]]\ncall = \"ioctl\"\naction = \"deny\"\narg1 = { long = 3 }\nwhy = \"x\"",
        Otherwise::Deny,
    );
    let ioctl = |arg0, arg1| run(&program, X86, 16, [arg0, arg1, 0, 0, 0, 0]);
    assert_eq!(ioctl(0, 0), RETURN_ALLOW);
    assert_eq!(ioctl(0, 2), RETURN_NOTIFY);
    assert_eq!(ioctl(2, 2), MISSING);
    assert_eq!(ioctl(2, 3), DENIED);
    assert_eq!(ioctl(2, 1 << 32 | 3), MISSING, "a long is compared in all its bits, an int is not");
    assert_eq!(ioctl(0, 1 << 32 | 3), RETURN_NOTIFY);
}

#[test]
fn impossible_conditions_are_refused() {
    for condition in [Condition { arg: 6, mask: 1, value: 1 }, Condition { arg: 0, mask: 1, value: 2 }] {
        let mut policy = policy("[[rule]]\ncall = \"read\"\nwhy = \"x\"");
        policy.rules[0].when = vec![condition];
        assert_eq!(compile(&policy, Otherwise::Deny), Err(FilterError::Impossible("read".to_owned())));
    }
}

#[test]
fn a_program_that_the_kernel_would_not_take_is_refused() {
    let values: Vec<String> = (0..5000).map(|value| (value * 2).to_string()).collect();
    let policy = policy(&format!("[[rule]]\ncall = \"ioctl\"\narg1 = [{}]\nwhy = \"x\"", values.join(",")));
    assert!(matches!(compile(&policy, Otherwise::Deny), Err(FilterError::TooLong(_))));
}

#[test]
fn jumps_over_more_than_255_instructions_arrive() {
    let values: Vec<String> = (0..700).map(|value| (value * 3).to_string()).collect();
    let text = format!("[[rule]]\ncalls = [\"ioctl\", \"read\"]\narg1 = [{}]\nwhy = \"x\"", values.join(","));
    let program = program(&(text + "\n[[rule]]\ncall = \"prctl\"\narg0 = 4\nwhy = \"x\""), Otherwise::Deny);
    for value in 0..2200 {
        let allowed = value % 3 == 0 && value < 2100;
        let answer = if allowed { RETURN_ALLOW } else { DENIED };
        assert_eq!(run(&program, X86, 16, [0, value, 0, 0, 0, 0]), answer);
        assert_eq!(run(&program, X86, 157, [value, 0, 0, 0, 0, 0]), if value == 4 { RETURN_ALLOW } else { DENIED });
    }
}

#[test]
fn shipped_policies_compile_for_every_architecture_and_stay_small() {
    let sets: [&[&str]; 4] = [
        &["default", "namespaced", "loopback", "unix"],
        &["default", "namespaced", "loopback"],
        &["default", "bare"],
        &["default"],
    ];
    for names in sets {
        for architecture in [Architecture::X86_64, Architecture::Aarch64] {
            let program = compile_for(architecture, &shipped(names), Otherwise::Deny).expect("compiles");
            println!("{names:?} {architecture:?}: {} instructions", program.instructions.len());
            assert!(program.instructions.len() < 260);
        }
    }
    let broker = compile(&shipped(&["broker"]), Otherwise::Allow).expect("compiles");
    println!("broker: {} instructions", broker.instructions.len());
}

#[test]
fn shipped_filters_answer_every_call_as_their_rules_say() {
    let interesting =
        [0, 1, 2, 3, 5, 16, 0x40, 0x5412, 0x1000_0000, 0x6000, 0xffff_ffff, 1 << 32, (1 << 32) + 0x5412, u64::MAX];
    let sets: [(&[&str], Otherwise); 3] = [
        (&["default", "namespaced", "loopback"], Otherwise::Deny),
        (&["default", "bare"], Otherwise::Deny),
        (&["broker"], Otherwise::Allow),
    ];
    for (names, otherwise) in sets {
        let policy = shipped(names);
        let program = compile_for(Architecture::X86_64, &policy, otherwise).expect("compiles");
        for call in Call::all() {
            let Some(number) = call.number(Architecture::X86_64) else {
                continue;
            };
            for (one, other) in interesting.iter().flat_map(|one| interesting.iter().map(move |other| (*one, *other))) {
                let arguments = [one, other, one, 0, 0, 0];
                let answer = run(&program, X86, number, arguments);
                assert_eq!(
                    answer,
                    expected(&policy, call.name(), arguments, otherwise),
                    "{} {arguments:x?}",
                    call.name()
                );
            }
        }
    }
}

/// Values and masks from few bits, so that conditions meet and overlap.
fn conditions() -> impl Strategy<Value = Vec<Condition>> {
    let bits =
        prop_oneof![Just(1u64), Just(2), Just(3), Just(1 << 32), Just(3 << 32), Just(0xffff_ffff), Just(u64::MAX)];
    let condition =
        (0u8..3, bits, prop_oneof![Just(0u64), Just(1), Just(2), Just(3), Just(1 << 32), Just((1 << 33) + 2)]);
    prop::collection::vec(condition.prop_map(|(arg, mask, value)| Condition { arg, mask, value: value & mask }), 0..4)
}

fn rules() -> impl Strategy<Value = Vec<SyscallRule>> {
    let call = prop_oneof![Just("read"), Just("write"), Just("open"), Just("mseal"), Just("prctl")];
    let action = prop_oneof![Just(Action::Allow), Just(Action::Notify), Just(Action::Missing), Just(Action::Deny)];
    let rule = (call, action, conditions());
    let rule =
        rule.prop_map(|(call, action, when)| SyscallRule { call: call.to_owned(), action, when, why: String::new() });
    prop::collection::vec(rule, 1..24)
}

proptest! {
    #[test]
    fn any_policy_answers_as_its_rules_say(
        rules in rules(),
        deny in any::<bool>(),
        arguments in prop::collection::vec(prop::array::uniform6(0u64..4).prop_map(|low| low.map(|bits| bits | (bits & 1) << 32)), 16),
    ) {
        let otherwise = if deny { Otherwise::Deny } else { Otherwise::Allow };
        let policy = merge(vec![SyscallPolicy { rules }]);
        let program = compile_for(Architecture::X86_64, &policy, otherwise).expect("compiles");
        for arguments in arguments {
            for name in ["read", "write", "open", "mseal", "prctl", "close"] {
                let number = Call::named(name).and_then(|call| call.number(Architecture::X86_64)).expect("known");
                prop_assert_eq!(run(&program, X86, number, arguments), expected(&policy, name, arguments, otherwise));
            }
        }
    }
}
