//! What a supervisor that was taken over gets from the launcher: nothing that its callers could not have.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clawjail::daemon::privsep::Ask;
use clawjail::host::Tier;
use clawjail::jail::channel::Channel;
use clawjail::sys::socket;
use clawjail::wire::privsep::{Lifetime, ToLauncher, Work};

use crate::as_root;
use crate::callers::two_grants;
use crate::service::{PATIENCE, comm, somebody_else, workspace_of};
use crate::support::account::{self, Account};
use crate::takeover::{Streams, Takeover, outcome, request, run_over, wait_only_so_long};

const DONE: &str = "Exited(0)";

/// A taken-over service with two connected callers, and a workspace of each.
struct Scene {
    takeover: Takeover,
    operator: (crate::service::Client, u64, PathBuf),
    guest: (crate::service::Client, u64, PathBuf),
}

fn scene(name: &str, config: &str) -> Option<Scene> {
    if !as_root(name) {
        return None;
    }
    let takeover = Takeover::of(&format!("{}{config}", two_grants()));
    let caller = |account: &Account, suffix: &str| {
        let workspace = workspace_of(account, &format!("{name}.{suffix}"));
        fs::set_permissions(&workspace, fs::Permissions::from_mode(0o700)).expect("own directory");
        fs::write(workspace.join("whose"), suffix).expect("own directory");
        std::os::unix::fs::chown(workspace.join("whose"), Some(account.uid), None).expect("root can give");
        let (client, number) = takeover.connect(account);
        (client, number, workspace)
    };
    let (operator, guest) = (caller(account::ordinary(), "operator"), caller(&somebody_else(), "guest"));
    Some(Scene { takeover, operator, guest })
}

#[test]
fn it_has_no_other_profile_directory_tier_or_environment_than_its_caller() {
    let Some(Scene { takeover, operator: (_client, number, own), guest }) = scene("wrong", "") else { return };
    let honest = request("untrusted", &own, &["cat", "whose"]);
    assert_eq!(takeover.run(number, &honest), (DONE.into(), "operator".into()));
    let no =
        |request, word: &str| assert_eq!(takeover.run(number, &request), (word.into(), String::new()), "{request:?}");
    let profile = |name: &str| crate::takeover::request(name, &own, &["cat", "whose"]);
    no(profile("trusted"), "refused.profile_not_granted");
    for made_up in ["summary = 'all'\n[filesystem]\nread = ['/']\n", "/tmp/x.toml", "../untrusted", "", "Untrusted"] {
        no(profile(made_up), "refused.profile_not_granted");
    }
    for elsewhere in [guest.2.as_path(), "/etc".as_ref(), "/root".as_ref(), "/".as_ref(), "whose".as_ref()] {
        let (word, text) = takeover.run(number, &request("untrusted", elsewhere, &["cat", "whose"]));
        assert!(word.starts_with("refused.workspace_"), "{}: {word}", elsewhere.display());
        assert_eq!(text, "", "{}", elsewhere.display());
    }
    let mut outside = honest.clone();
    outside.cwd = Some(b"/tmp".to_vec());
    no(outside, "refused.cwd_outside");
    for tier in [Tier::Bare, Tier::User] {
        let mut other = honest.clone();
        other.tier = Some(tier);
        no(other, "refused.tier_not_for_others");
    }
    let mut loader = honest.clone();
    loader.set = vec![(b"LD_PRELOAD".to_vec(), b"/workspace/evil.so".to_vec())];
    let (word, _) = takeover.run(number, &loader);
    assert!(word.starts_with("refused."), "{word}");
    let mut longer = request("untrusted", &own, &["sh", "-c", "ulimit -t; ulimit -n"]);
    let before = takeover.run(number, &longer);
    longer.timeout_ms = Some(u64::MAX);
    assert_eq!(takeover.run(number, &longer), before, "a limit is only ever shortened");
}

#[test]
fn it_cannot_speak_for_whoever_is_not_connected_or_has_left() {
    let Some(Scene { takeover, operator: (client, number, own), guest }) = scene("forged", "") else { return };
    let asked = request("untrusted", &own, &["cat", "whose"]);
    let (_stranger, stranger) = takeover.connect(account::own());
    for (who, word) in [(0, "not_connected"), (u64::MAX, "not_connected"), (number + 1000, "not_connected")] {
        assert_eq!(takeover.run(who, &asked).0, format!("refused.{word}"), "{who}");
    }
    // Somebody else's connection is somebody else: their profiles, their directories.
    assert_eq!(takeover.run(guest.1, &asked).0, "refused.profile_not_granted");
    assert_eq!(takeover.run(guest.1, &request("readonly", &own, &["cat", "whose"])).0, "refused.workspace_not_owned");
    assert_eq!(takeover.run(stranger, &request("untrusted", &own, &["cat", "whose"])).0, DONE, "root may anything");
    // What was prepared while they were there begins nothing once they are gone, and nor does a second request.
    let (one, two) = (takeover.keeper(number), takeover.keeper(number));
    assert_eq!(run_over(&one, &asked), (DONE.into(), "operator".into()));
    assert_eq!(run_over(&one, &asked).0, "gone", "one keeper, one run");
    drop(client);
    assert_eq!(run_over(&two, &asked), ("refused.not_connected".into(), String::new()));
    assert_eq!(takeover.run(number, &asked).0, "refused.not_connected");
    // The same for one that the launcher was told to forget.
    takeover.channel.send(&Ask::Closed(guest.1), &[]).expect("the launcher listens");
    assert_eq!(takeover.run(guest.1, &request("readonly", &guest.2, &["true"])).0, "refused.not_connected");
}

#[test]
fn whoever_has_no_role_gets_nothing_by_it_either() {
    let Some(Scene { takeover, .. }) = scene("strangers", "") else { return };
    let stranger = Account { name: "stranger".into(), uid: 7777, gid: 7777, home: "/".into() };
    let workspace = workspace_of(&stranger, "strangers.own");
    let (_client, number) = takeover.connect(&stranger);
    for profile in ["untrusted", "readonly"] {
        let (word, _) = takeover.run(number, &request(profile, &workspace, &["true"]));
        assert_eq!(word, "refused.not_granted", "{profile}");
    }
}

#[test]
fn what_it_repeats_counts_again_and_what_it_holds_back_counts_too() {
    let Some(Scene { takeover, operator: (_client, number, own), .. }) =
        scene("repeated", "[limits]\njails_per_caller = 3\n")
    else {
        return;
    };
    let asked = request("untrusted", &own, &["true"]);
    let held: Vec<Channel> = (0..3).map(|_| takeover.keeper(number)).collect();
    assert_eq!(takeover.run(number, &asked).0, "refused.too_many_jails");
    let descriptors = takeover.descriptors();
    for _ in 0..200 {
        assert_eq!(takeover.run(number, &asked).0, "refused.too_many_jails");
    }
    assert_eq!(takeover.descriptors(), descriptors, "the launcher keeps nothing of what it refused");
    drop(held);
    let began = Instant::now();
    while takeover.run(number, &asked).0 != DONE {
        assert!(began.elapsed() < PATIENCE, "those that ended do not count");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_jail_stays_no_longer_than_the_service_lets_it_and_a_guest_has_none() {
    let Some(Scene { takeover, operator: (_client, number, own), guest }) =
        scene("staying", "[jails]\nidle = \"1s\"\n")
    else {
        return;
    };
    let for_ever = Lifetime { idle_ms: u64::MAX, age_ms: u64::MAX };
    let open = |number, profile: &str, workspace: &PathBuf| {
        let keeper = takeover.keeper(number);
        let asked = ToLauncher::Open(Box::new(request(profile, workspace, &[])), for_ever);
        keeper.send(&asked, &[]).expect("the keeper listens");
        keeper
    };
    assert_eq!(outcome(&open(guest.1, "readonly", &guest.2)), "refused.jails_not_granted");
    assert_eq!(takeover.run(guest.1, &request("readonly", &guest.2, &["true"])).0, DONE);
    let began = Instant::now();
    let keeper = open(number, "untrusted", &own);
    assert_eq!(outcome(&keeper), "opened");
    assert_eq!(outcome(&keeper), "closed, Idle");
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[test]
fn an_open_jail_stays_what_it_is_whatever_is_asked_of_it() {
    let Some(Scene { takeover, operator: (_client, number, own), guest }) = scene("entered", "") else { return };
    let keeper = takeover.keeper(number);
    let asked =
        ToLauncher::Open(Box::new(request("readonly", &own, &[])), Lifetime { idle_ms: 60_000, age_ms: 60_000 });
    keeper.send(&asked, &[]).expect("the keeper listens");
    assert_eq!(outcome(&keeper), "opened");
    let enter = |asked| {
        let (ours, theirs) = Channel::pair().expect("descriptors are left");
        wait_only_so_long(&ours);
        let streams = Streams::new();
        let descriptors: Vec<BorrowedFd<'_>> = streams.six().into_iter().chain([theirs.as_fd()]).collect();
        keeper.send(&ToLauncher::Enter(Box::new(asked), Work::Execute), &descriptors).expect("the keeper listens");
        drop(descriptors);
        drop(theirs);
        (outcome(&ours), streams.text())
    };
    let script = &["sh", "-c", "cat whose; echo x 2>/dev/null > new || echo ' cannot write'"];
    let expected = (DONE.to_owned(), "operator cannot write\n".to_owned());
    assert_eq!(enter(request("readonly", &own, script)), expected);
    // Another profile, another's workspace: it is the same jail.
    assert_eq!(enter(request("trusted", &guest.2, script)), expected);
    let mut elsewhere = request("readonly", &own, script);
    elsewhere.cwd = Some(std::os::unix::ffi::OsStrExt::as_bytes(guest.2.as_os_str()).to_vec());
    let (word, text) = enter(elsewhere);
    assert!(word.starts_with("refused.cwd_") && text.is_empty(), "{word} {text}");
}

#[test]
fn a_command_gets_nothing_through_it_that_reaches_further_than_bytes() {
    let Some(Scene { takeover, operator: (_client, number, own), .. }) = scene("reaching", "") else { return };
    let (socket, _peer) = UnixStream::pair().expect("descriptors are left");
    let directory = fs::File::open("/").expect("root may");
    let both = fs::File::options().read(true).write(true).open(own.join("whose")).expect("root may");
    let memory = fs::File::options().read(true).write(true).open("/dev/mem").ok();
    let reaching: Vec<(&str, BorrowedFd<'_>)> = [("socket", socket.as_fd()), ("directory", directory.as_fd())]
        .into_iter()
        .chain([("file for both", both.as_fd())])
        .chain(memory.as_ref().map(|memory| ("all memory", memory.as_fd())))
        .collect();
    let script = ["sh", "-c", "readlink /proc/self/fd/[012] | sed 's/:.*//' | sort -u; ls /proc/self/fd | wc -w"];
    let asked = request("untrusted", &own, &script);
    let run = |replaced: &[(usize, BorrowedFd<'_>)], count: usize| {
        let (keeper, streams) = (takeover.keeper(number), Streams::new());
        let given: Vec<BorrowedFd<'_>> = (0..count)
            .map(|at| {
                replaced.iter().find(|(place, _)| *place == at).map_or(streams.six()[at.min(5)], |(_, other)| *other)
            })
            .collect();
        keeper.send(&ToLauncher::Run(Box::new(asked.clone())), &given).expect("the keeper listens");
        drop(given);
        (outcome(&keeper), streams.text())
    };
    // Null or a pipe, and the directory that `ls` itself reads.
    assert_eq!(run(&[], 6), (DONE.into(), "/dev/null\npipe\n4\n".into()));
    for (what, reaching) in &reaching {
        assert_eq!(run(&[(0, *reaching)], 6), (DONE.into(), "pipe\n4\n".into()), "{what} instead of stdin is relayed");
        for relay in 3..6 {
            assert_eq!(run(&[(relay, *reaching)], 6), ("failed.stdio".into(), String::new()), "{what} as {relay}");
        }
        // With nothing to relay by, the keeper makes what output is counted by, and no input.
        assert_eq!(run(&[(0, *reaching)], 3), ("failed.stdio".into(), String::new()), "{what} instead of stdin");
        let (word, text) = run(&[(1, *reaching)], 3);
        assert!(word.starts_with("Exited") && text.is_empty(), "{what} instead of stdout: {word} {text}");
    }
    let (word, text) = run(&[], 3);
    assert!(word.starts_with("Exited") && text.is_empty(), "what is counted goes to the keeper's pipe: {word} {text}");
    for count in [0, 1, 2, 4, 5, 7, 15] {
        assert_eq!(run(&[], count), ("failed.stdio".into(), String::new()), "{count} descriptors");
    }
}

/// Bytes that repeat from run to run and mean nothing.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Ways to send what is no message. Whether the other end is still there does not matter.
fn nonsense(channel: &Channel, kind: &str) {
    let send = |bytes: &[u8], descriptors: &[BorrowedFd<'_>]| {
        let _ = socket::send(channel.as_fd(), bytes, descriptors);
    };
    let null = fs::File::open("/dev/null").expect("it is on every system");
    match kind {
        "1 MiB of noise" => noise(1 << 20).chunks(4096).for_each(|chunk| send(chunk, &[])),
        "noise in memory" => {
            let mut file = tempfile::tempfile().expect("own directory");
            std::io::Write::write_all(&mut file, &noise(8 << 20)).expect("own file");
            send(&[1], &[file.as_fd()]);
        }
        "no memory" => send(&[1], &[]),
        "a directory for memory" => send(&[1], &[fs::File::open("/").expect("root may").as_fd()]),
        "a pipe for memory" => {
            let (reader, _writer) = std::io::pipe().expect("descriptors are left");
            send(&[1], &[reader.as_fd()]);
        }
        "an unknown first byte" => send(&[7, 0, 0], &[]),
        "nothing" => send(&[], &[]),
        "too large" => send(&vec![0; 100 << 10], &[]),
        "253 descriptors" => send(&[0, 2], &[null.as_fd(); 253]),
        other => panic!("{other}"),
    }
}

const KINDS: [&str; 9] = [
    "1 MiB of noise",
    "noise in memory",
    "no memory",
    "a directory for memory",
    "a pipe for memory",
    "an unknown first byte",
    "nothing",
    "too large",
    "253 descriptors",
];

#[test]
fn what_makes_no_sense_ends_the_launcher_and_the_service_is_back_at_once() {
    for kind in KINDS {
        let Some(Scene { takeover, .. }) = scene(&format!("noise.{}", kind.replace(' ', "-")), "") else { return };
        nonsense(&takeover.channel, kind);
        let mut client = takeover.await_restart();
        let workspace = workspace_of(account::own(), &format!("noise.after.{}", kind.replace(' ', "-")));
        let run = serde_json::json!({ "argv": ["echo", "back"], "profile": "untrusted", "workspace": workspace });
        assert_eq!(client.run(run).0, "back\n", "{kind}");
        // With it goes the jail that was made ahead for its next run.
        drop(client);
        let began = Instant::now();
        let left = || takeover.service.processes().into_iter().map(comm).collect::<Vec<_>>();
        while left().len() > 2 {
            assert!(began.elapsed() < PATIENCE, "{kind}: a new pair alone should be left: {:?}", left());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn what_makes_no_sense_to_a_keeper_ends_that_one_alone() {
    let Some(Scene { takeover, operator: (_client, number, own), guest }) = scene("noise.keeper", "") else { return };
    let other = takeover.keeper(guest.1);
    for kind in KINDS {
        let keeper = takeover.keeper(number);
        nonsense(&keeper, kind);
        assert!(matches!(outcome(&keeper).as_str(), "gone" | "ECONNRESET"), "{kind}");
    }
    // Every beginning of a message that is one.
    let asked = request("untrusted", &own, &["touch", "made"]);
    let whole = postcard::to_extend(&ToLauncher::Run(Box::new(asked.clone())), vec![0]).expect("a message of ours");
    for length in (1..whole.len()).step_by(5) {
        let (keeper, streams) = (takeover.keeper(number), Streams::new());
        socket::send(keeper.as_fd(), &whole[..length], &streams.six()).expect("the keeper listens");
        assert!(matches!(outcome(&keeper).as_str(), "gone" | "ECONNRESET"), "the first {length} bytes");
    }
    assert!(!own.join("made").exists());
    assert_eq!(takeover.run(number, &asked).0, DONE);
    assert!(own.join("made").exists());
    assert_eq!(run_over(&other, &request("readonly", &guest.2, &["cat", "whose"])), (DONE.into(), "guest".into()));
    assert_eq!(comm(takeover.launcher), "clawjail-launch");
}

#[test]
fn what_is_no_channel_and_thousands_of_descriptors_leave_the_launcher_as_it_was() {
    let Some(Scene { takeover, operator: (_client, number, own), .. }) = scene("floods", "") else { return };
    let asked = request("untrusted", &own, &["true"]);
    assert_eq!(takeover.run(number, &asked).0, DONE);
    let before = takeover.descriptors();
    let (stream, _peer) = UnixStream::pair().expect("descriptors are left");
    let null: OwnedFd = fs::File::open("/dev/null").expect("it is on every system").into();
    let directory: OwnedFd = fs::File::open("/").expect("root may").into();
    for end in [stream.as_fd(), null.as_fd(), directory.as_fd()] {
        takeover.channel.send(&Ask::Keep(number), &[end]).expect("the launcher listens");
    }
    for _ in 0..400 {
        takeover.channel.send(&Ask::Closed(u64::MAX), &[null.as_fd(); 15]).expect("the launcher listens");
    }
    let began = Instant::now();
    while takeover.run(number, &asked).0 != DONE || takeover.descriptors() > before {
        assert!(began.elapsed() < PATIENCE, "{} descriptors, before {before}", takeover.descriptors());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(comm(takeover.launcher), "clawjail-launch");
}
