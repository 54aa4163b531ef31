//! What runs inside: this same static binary, called again in the workspace by each contender.
//!
//! It times itself, so that how it was started does not count, and prints nanoseconds.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use clawjail::sys::seccomp::{Instruction, Refusals, install};
use landlock::{ABI, Access, AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr};
use nix::fcntl::{OFlag, open};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::stat::{Mode, stat};

use super::median;

/// Three directories down, as most files of a project are.
pub const DEEP_FILE: &str = "one/two/three/file";
/// The words before the helper's own arguments.
pub const WORD: &str = "--helper";
/// Written by `flood`.
pub const FLOOD_BYTES: usize = 1 << 30;

const BLOCK: usize = 1 << 16;

/// Does what the words say, if they are ours.
pub fn serve(words: &[String]) -> bool {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [WORD, "calls"] => calls(),
        [WORD, "floor"] => {
            put_up_smallest_walls();
            calls();
        }
        [WORD, "repeat", times, command @ ..] => println!("{}", repeat(times.parse().unwrap_or(1), command)),
        [WORD, "flood"] => flood(),
        _ => return false,
    }
    true
}

/// One line for each kind of call: its name and nanoseconds a call.
fn calls() {
    let file = Path::new(DEEP_FILE);
    report("getppid", 200_000, || {
        std::hint::black_box(nix::unistd::getppid());
    });
    report("stat", 100_000, || {
        std::hint::black_box(stat(file).expect("the bench made this file"));
    });
    report("open", 50_000, || {
        let file = open(file, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).expect("the bench made this file");
        nix::unistd::read(&file, &mut [0; 64]).expect("a regular file can be read");
    });
    report("socket", 50_000, || {
        drop(
            socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
                .expect("every contender allows this family"),
        );
    });
    report("spawn", 200, || {
        Command::new("/bin/true").status().expect("/bin/true can be executed");
    });
}

fn report(name: &str, count: u32, mut call: impl FnMut()) {
    // Five passes: the median of them is what a quiet moment gives.
    let passes = (0..5).map(|_| {
        let begin = Instant::now();
        (0..count / 5).for_each(|_| call());
        begin.elapsed().as_nanos() as f64 / f64::from(count / 5)
    });
    println!("{name} {}", median(passes.collect()).unwrap_or_default());
}

/// The median of several runs of a command, in nanoseconds.
fn repeat(times: usize, command: &[&str]) -> f64 {
    let once = || {
        let begin = Instant::now();
        let (program, arguments) = command.split_first().expect("the bench gives a command");
        let status = Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).status();
        assert!(status.is_ok_and(|status| status.success()), "cannot run `{}` in here", command.join(" "));
        begin.elapsed().as_nanos() as f64
    };
    median((0..times).map(|_| once()).collect()).unwrap_or_default()
}

/// One Landlock rule that grants everything and a filter of one instruction that allows everything: what these walls
/// cost on this kernel before they say anything. Whatever a sandbox with both does, it pays this.
fn put_up_smallest_walls() {
    let ruleset = Ruleset::default().handle_access(AccessFs::from_all(ABI::V1)).and_then(Ruleset::create);
    let top = PathFd::new("/").expect("there is a root");
    let ruleset = ruleset.and_then(|ruleset| ruleset.add_rule(PathBeneath::new(top, AccessFs::from_all(ABI::V1))));
    ruleset.and_then(RulesetCreated::restrict_self).expect("the kernel has Landlock, or clawjail could not run here");
    let allow = Instruction { code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000 };
    install(&[allow], Refusals::Silent).expect("no_new_privs is set by now");
}

fn flood() {
    let block = vec![b'x'; BLOCK];
    let mut stdout =
        std::fs::File::from(std::os::fd::AsFd::as_fd(&std::io::stdout()).try_clone_to_owned().expect("stdout is open"));
    for _ in 0..FLOOD_BYTES / BLOCK {
        stdout.write_all(&block).expect("the reader takes all of it");
    }
}
