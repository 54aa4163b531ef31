//! A caller that has too little of something: descriptors, processes, memory, disk. One clear line, and nothing half done.

use std::os::unix::fs::chown;
use std::process::Command;

use super::*;
use support::etc::Etc;

/// Runs `touch NAME` under prlimit(1) with these limits.
fn limited(place: &Place, limits: &[String], name: &str) -> Ran {
    let jail = Jail::new(place);
    let inner = jail.command(["touch", name]);
    let mut command = place.host("prlimit");
    command.args(limits).arg("--").arg(inner.get_program()).args(inner.get_args());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    jail.finish(command.spawn().expect("everyone has prlimit"))
}

/// It ran whole, or it says in our own lines why not, with our own exit code.
fn whole_or_one_line(place: &Place, name: &str, ran: &Ran, what: &str) {
    assert!(!ran.hung, "{what}: {}", ran.whole());
    if ran.code == Some(0) {
        assert!(place.holds(name), "{what}: {}", ran.whole());
        return;
    }
    let lines: Vec<String> = ran.error_text().lines().map(str::to_owned).collect();
    let ours = lines.iter().all(|line| line.starts_with("clawjail: "));
    assert!(matches!(ran.code, Some(125 | 126)) && ours, "{what}: {}", ran.whole());
    assert!((1..=2).contains(&lines.len()) && ran.stdout.is_empty(), "{what}: {}", ran.whole());
    if ran.error_text().contains("nothing was executed") || ran.code == Some(126) {
        assert!(!place.holds(name), "{what}: {}", ran.whole());
    }
}

#[test]
fn too_few_descriptors_are_one_line() {
    in_every_tier(|place| {
        for most in [0, 1, 3, 4, 5, 6, 8, 10, 12, 14, 16, 18, 20, 24, 32, 64] {
            let name = format!("made{most}");
            let ran = limited(place, &[format!("--nofile={most}")], &name);
            whole_or_one_line(place, &name, &ran, &format!("{most} descriptors"));
        }
        assert!(place.holds("made64"), "64 are enough");
    });
}

#[test]
fn too_few_processes_are_one_line() {
    in_tiers(
        |tier| !tier.as_root(),
        |place| {
            for most in 0..14 {
                let name = format!("made{most}");
                let ran = limited(place, &[format!("--nproc={most}")], &name);
                whole_or_one_line(place, &name, &ran, &format!("{most} processes"));
            }
            let ran = limited(place, &["--nproc=1000".into()], "enough");
            assert!(ran.code == Some(0) && place.holds("enough"), "{}", ran.whole());
        },
    );
}

#[test]
fn too_little_memory_is_one_line() {
    in_every_tier(|place| {
        // Below this no process of any kind starts (a debug build has more than one in its file); in between, threads and then
        // buffers are what cannot be had.
        for megabytes in [2, 4, 8, 64] {
            let name = format!("made{megabytes}");
            let ran = limited(place, &[format!("--data={}", megabytes << 20)], &name);
            // A thread of its own that cannot be made comes late, when the command may have begun.
            let _ = fs::remove_file(place.workspace.join(&name));
            assert!(!ran.hung && matches!(ran.code, Some(0 | 125 | 126)), "{megabytes} MiB: {}", ran.whole());
            let ours = ran.error_text().lines().all(|line| line.starts_with("clawjail: ") || line.contains("memory"));
            assert!(ours && (ran.code == Some(0) || !ran.stderr.is_empty()), "{megabytes} MiB: {}", ran.whole());
        }
        let ran = limited(place, &[format!("--data={}", 512 << 20)], "enough");
        assert!(ran.code == Some(0) && place.holds("enough"), "{}", ran.whole());
    });
}

#[test]
fn a_limit_of_file_sizes_that_the_verdict_does_not_fit_in_is_one_line() {
    in_every_tier(|place| {
        let ran = limited(place, &["--fsize=2048".into()], "made");
        assert_eq!(ran.signal, None, "{}", ran.whole());
        assert_one_line(&ran, 125, "cannot write the verdict");
    });
}

/// Runs a script in the jail, with a small filesystem mounted at `small` beside the workspace.
fn with_small_disk(place: &Place, etc: &Etc, script: &str, options: [&str; 2], after: &str) -> Ran {
    let owner = place.account();
    let mount = format!(
        "mkdir -p \"$D/small\"; mount -t tmpfs -o size=64k,nr_inodes=16,mode=755,uid={},gid={} none \"$D/small\"; {after}",
        owner.uid, owner.gid
    );
    let jail = Jail::new(place).option(options[0]).option(options[1]);
    let mut command = etc.command_after(&mount, &jail.command(["bash", "-c", script]));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    jail.finish(command.spawn().expect("everyone has unshare"))
}

#[test]
fn a_full_disk_under_the_workspace_is_the_commands_own_error_and_loses_nothing() {
    in_every_tier(|place| {
        let Some(etc) = Etc::new(place) else { return say_skipped("a small filesystem: not started as root") };
        let small = place.outside.join("small").display().to_string();
        let fill = "echo kept > \"$D/small/kept\"; chmod 666 \"$D/small/kept\"; dd if=/dev/zero of=\"$D/small/fill\" bs=1k count=200 2>/dev/null || :";
        let script = "cat kept; echo more > new; echo $?; mkdir d; echo $?";
        let ran = with_small_disk(place, &etc, script, ["--workspace", &small], fill);
        // Where the filesystem cannot translate owners (tmpfs before Linux 6.3), there is no such run.
        if ran.code == Some(126) {
            return say_skipped("a full workspace: this kernel cannot idmap tmpfs");
        }
        assert!(ran.text().starts_with("kept\n1"), "{}", ran.whole());
        assert!(ran.error_text().contains("No space left"), "{}", ran.whole());
        let ran = with_small_disk(place, &etc, "echo more > new && cat new", ["--workspace", &small], ":");
        assert_eq!(ran.text(), "more", "{}", ran.whole());
    });
}

#[test]
fn a_full_disk_under_private_places_is_one_line_and_nothing_runs() {
    in_tiers(
        |tier| !tier.has_namespaces(),
        |place| {
            let Some(etc) = Etc::new(place) else { return say_skipped("a small filesystem: not started as root") };
            let jail = Jail::new(place).environment("TMPDIR", place.outside.join("small"));
            let owner = place.account();
            // As many names as there can be are taken.
            let mount = |names: u32| {
                format!(
                    "mkdir -p \"$D/small\"; mount -t tmpfs -o nr_inodes={names},mode=755,uid={},gid={} none \"$D/small\"",
                    owner.uid, owner.gid
                )
            };
            for (names, works) in [(2, false), (3, false), (40, true)] {
                let mut command = etc.command_after(&mount(names), &jail.command(["touch", "executed"]));
                command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
                let ran = jail.finish(command.spawn().expect("everyone has unshare"));
                if works {
                    assert!(ran.code == Some(0) && place.holds("executed"), "{}", ran.whole());
                } else {
                    assert_one_line(&ran, 125, "No space left");
                    assert!(!place.holds("executed"), "{}", ran.whole());
                }
            }
        },
    );
}

#[test]
fn an_environment_over_the_kernels_limit_is_one_clear_line() {
    in_every_tier(|place| {
        // One string above 128 KiB is too long for execve(2), however much room there is in all.
        let long = "x".repeat(120_000);
        let fits = Jail::new(place).environment("LONG", &long).option("--pass").option("LONG").bash("echo ${#LONG}");
        assert_eq!(fits.text(), "120000", "{}", fits.whole());
        // The kernel takes 6 MiB in all where the stack is unlimited, and a message of ours 4.
        let names: Vec<String> = (0..42).map(|number| format!("LONG{number}")).collect();
        for (count, works) in [(30, true), (42, false)] {
            let passed = names.iter().take(count);
            let jail = passed.fold(Jail::new(place), |jail, name| jail.option("--pass").option(name));
            let inner = jail.command(["touch", "executed"]);
            let script = format!(
                "ulimit -s unlimited; long=$(head -c 120000 /dev/zero | tr '\\0' x); \
                 for i in $(seq 0 {}); do export LONG$i=$long; done; exec \"$@\"",
                count - 1
            );
            let mut outer = place.host("bash");
            outer.args(["-c", &script, "bash"]).arg(inner.get_program()).args(inner.get_args());
            outer.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let ran = jail.finish(outer.spawn().expect("everyone has bash"));
            if works {
                assert!(ran.code == Some(0) && place.holds("executed"), "{}", ran.whole());
                fs::remove_file(place.workspace.join("executed")).expect("root or owner");
            } else {
                assert_one_line(&ran, 125, "Argument list too long");
                assert!(!place.holds("executed"));
            }
        }
    });
}

#[test]
fn a_workspace_of_somebody_else_is_refused() {
    in_tiers(
        |tier| !tier.as_root(),
        |place| {
            let other = place.outside.join("other");
            fs::create_dir(&other).expect("own directory");
            fs::set_permissions(&other, fs::Permissions::from_mode(0o777)).expect("own directory");
            if chown(&other, Some(12345), None).is_err() {
                return say_skipped("a workspace of somebody else: not started as root");
            }
            let ran = Jail::new(place).option("--workspace").option(&other).bash("touch executed");
            assert_one_line(&ran, 126, "belongs to uid 12345");
            assert!(!other.join("executed").exists());
        },
    );
}

#[test]
fn a_run_that_is_refused_or_fails_leaves_no_process_behind() {
    in_every_tier(|place| {
        let name = format!("{}behind", place.token);
        for limit in ["--nofile=12", "--nofile=16", "--nofile=20"] {
            let _ = limited(place, &[limit.into()], &name);
        }
        let found = Command::new("pgrep").args(["-f", &name]).output().expect("everyone has pgrep");
        assert!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));
    });
}
