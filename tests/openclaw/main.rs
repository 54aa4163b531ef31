//! `clawjail openclaw`, from outside: what OpenClaw is answered, and what is found in its settings. What is looked at is made by
//! the tests themselves.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test may stop where it stands")]

mod answers;
mod checks;
mod fixes;
mod folders;
mod home;
mod rules;
mod skill;
