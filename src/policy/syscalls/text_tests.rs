//! Every mistake that a policy file can hold, with the message that it gets.

use super::*;

fn message(text: &str) -> String {
    parse("test", "test.toml", text).expect_err("a mistake").to_string()
}

#[test]
fn a_rule_becomes_one_rule_for_each_call_and_each_combination_of_values() {
    let text = "[[rule]]\ncalls = [\"socketpair\", \"socket\"]\narg0 = \"AF_UNIX\"\narg1 = { mask = 'SOCK_TYPE_MASK', is = ['SOCK_STREAM', 5] }\nwhy = \"pairs\"";
    let policy = parse("test", "test.toml", text).expect("valid");
    assert_eq!(policy.rules.len(), 4);
    let first = &policy.rules[0];
    assert_eq!((first.call.as_str(), first.action, first.why.as_str()), ("socket", Action::Allow, "pairs"));
    assert_eq!(
        first.when,
        [Condition { arg: 0, mask: INT, value: 1 }, Condition { arg: 1, mask: 0xf, value: 1 }],
        "an int is compared in its 32 bits, a masked one in its mask"
    );
}

#[test]
fn a_long_is_compared_in_all_its_bits_and_names_can_be_joined() {
    let text = "[[rule]]\ncall = \"clone\"\narg0 = { mask = \"CLONE_NEWNS | CLONE_NEWUSER\", is = 0 }\narg1 = { long = 0x10 }\nwhy = \"x\"";
    let policy = parse("test", "test.toml", text).expect("valid");
    assert_eq!(
        policy.rules[0].when,
        [Condition { arg: 0, mask: 0x1002_0000, value: 0 }, Condition { arg: 1, mask: u64::MAX, value: 0x10 }]
    );
}

#[test]
fn an_unknown_call_is_placed_and_the_nearest_one_named() {
    assert_eq!(
        message("[[rule]]\ncalls = [\"read\", \"opennat\"]\nwhy = \"x\""),
        "test.toml:2:18: unknown system call `opennat`\ndid you mean `openat`?"
    );
}

#[test]
fn an_unknown_constant_is_placed_and_the_nearest_one_named() {
    assert_eq!(
        message("[[rule]]\ncall = \"socket\"\narg0 = \"AF_UNX\"\nwhy = \"x\""),
        "test.toml:3:8: unknown constant `AF_UNX`\ndid you mean `AF_UNIX`?"
    );
}

#[test]
fn an_unknown_key_or_action_is_placed_and_the_nearest_one_named() {
    assert_eq!(
        message("[[rule]]\ncall = \"read\"\nwyh = \"x\""),
        "test.toml:3:1: unknown key `wyh`\ndid you mean `why`?"
    );
    assert_eq!(
        message("[[rule]]\ncall = \"read\"\naction = \"denny\"\nwhy = \"x\""),
        "test.toml:3:10: unknown action `denny`\ndid you mean `deny`?"
    );
    assert_eq!(message("rules = 1"), "test.toml:1:1: unknown key `rules`\ndid you mean `rule`?");
}

#[test]
fn a_rule_needs_a_reason_and_a_call() {
    assert_eq!(message("[[rule]]\ncall = \"read\""), "test.toml:1:1: rule without `why`");
    assert_eq!(message("[[rule]]\ncall = \"read\"\nwhy = \" \""), "test.toml:1:1: rule without `why`");
    assert_eq!(message("[[rule]]\nwhy = \"x\""), "test.toml:1:1: rule without `calls`");
    assert_eq!(message("[[rule]]\ncalls = []\nwhy = \"x\""), "test.toml:2:9: expected a list of system calls");
}

#[test]
fn the_same_call_with_the_same_conditions_twice_is_a_mistake_whatever_the_action() {
    assert_eq!(
        message("[[rule]]\ncall = \"read\"\nwhy = \"x\"\n[[rule]]\ncall = \"read\"\naction = \"deny\"\nwhy = \"y\""),
        "test.toml:5:8: second rule for `read` with the same conditions"
    );
}

#[test]
fn an_empty_file_is_a_mistake_because_it_would_allow_or_deny_everything() {
    assert_eq!(message(""), "test.toml:1:1: system call policy `test` has no rule");
}

#[test]
fn conditions_that_can_never_hold_are_mistakes() {
    assert_eq!(
        message("[[rule]]\ncall = \"mknod\"\narg1 = { mask = \"S_IFMT\", is = 1 }\nwhy = \"x\""),
        "test.toml:3:32: expected a value within the bits that are compared"
    );
    assert_eq!(
        message("[[rule]]\ncall = \"ioctl\"\narg1 = 0x100005412\nwhy = \"x\""),
        "test.toml:3:8: expected a value within the bits that are compared"
    );
}
