//! Places that profiles, hosts and repositories name: what is opened on somebody's behalf, and what is left unhandled.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::process::Stdio;

use clawjail::host::Tier as HostTier;

use super::attack_landlock::plan;
use super::support::etc::Etc;
use super::support::tier::Tier;
use super::trial::{Trial, denied, works};
use super::{Case, case};

const GONE: &str = "EACCES|ENOENT|EPERM";

/// The cases.
pub const CASES: &[Case] = &[
    case("A14m", "a path that a profile grants in the workspace is not reached through a planted link", planted_grants),
    case("A15", "a private place does not follow TMPDIR through a link or into the workspace", private_places),
    case("A16", "a copy-on-write workspace is refused until there is one that cannot be led astray", copy_on_write),
    case(
        "A21",
        "a granted path that only root may enter is granted to root's runs and takes nothing else away",
        locked,
    ),
    case("A22", "each right of each Landlock ABI is denied from the ABI on that has it", rights),
    case("A24c", "a workspace that does not tell upper from lower case is refused, and none can be made", folding),
    Case {
        id: "A3h",
        says: "a secret of the home that is a link into the workspace is hidden there",
        run: linked_secret,
        gaps: &[(Tier::Root, LINKED), (Tier::User, LINKED), (Tier::BareAsRoot, LINKED), (Tier::Bare, LINKED)],
    },
];

const LINKED: &str = "links of the home into the workspace are not followed; SECURITY.md says so";

fn planted_grants(trial: &mut Trial) {
    let outside = trial.place.outside.join("private");
    for directory in [outside.clone(), outside.join("deep")] {
        fs::create_dir(&directory).expect("own directory");
    }
    fs::write(outside.join("deep/key"), "PRIVATEKEY\n").expect("own directory");
    let owner = trial.place.account();
    for path in [outside.clone(), outside.join("deep"), outside.join("deep/key")] {
        chown(path, Some(owner.uid), Some(owner.gid)).expect("root gives, others give to themselves");
    }
    trial.place.write("real/deep/file", "text\n");
    trial.place.link(&outside, "middle");
    trial.place.link(outside.join("deep"), "last");
    let workspace = trial.place.workspace.clone();
    let at = |below: &str| workspace.join(below).display().to_string();
    for list in ["read", "write"] {
        let text = format!(
            "summary = \"Test.\"\nextends = \"untrusted\"\n[workspace]\naccess = \"ro\"\nat = \"same\"\n[filesystem]\n{list} = [{}]\n",
            [at("middle/deep"), at("last"), at("real/deep"), "@system".into()]
                .map(|path| format!("\"{path}\""))
                .join(", ")
        );
        let mut wishes = vec![
            denied(format!("read {}", at("middle/deep/key")), GONE),
            denied(format!("read {}", at("last/key")), GONE),
            denied(format!("read {}/deep/key", outside.display()), GONE),
            denied(format!("create {}", at("middle/deep/new")), "EACCES|ENOENT|EPERM|EROFS"),
            denied(format!("create {}", at("last/new")), "EACCES|ENOENT|EPERM|EROFS"),
            works(format!("read {}", at("real/deep/file"))),
        ];
        // Where nothing translates its owner, the throw-away uid may not write there.
        if list == "write" && trial.tier != Tier::Root {
            wishes.push(works(format!("create {}", at("real/deep/new"))));
        }
        trial.attack_under_text(&text, wishes);
    }
    trial.deny("a new file outside", !outside.join("deep/new").exists(), "it is there");
}

fn private_places(trial: &mut Trial) {
    let outside = trial.place.outside.join("elsewhere");
    fs::create_dir(&outside).expect("own directory");
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o777)).expect("own directory");
    trial.place.link(&outside, "tmp");
    trial.place.mkdir("plain");
    let real = trial.place.outside.join("real");
    fs::create_dir(&real).expect("own directory");
    chown(&real, Some(trial.place.account().uid), Some(trial.place.account().gid)).expect("root can give");
    let good = trial.place.outside.join("good");
    symlink(&real, &good).expect("own directory");
    let list = |path: &PathBuf| fs::read_dir(path).map_or(0, Iterator::count);
    for (what, path, used) in [
        ("a link that the repository planted", trial.place.workspace.join("tmp"), false),
        ("a directory of the workspace", trial.place.workspace.join("plain"), false),
        ("a directory that is not there", trial.place.outside.join("missing/below"), false),
        ("a directory that everybody can change", outside.clone(), false),
        ("a relative one", PathBuf::from("plain"), false),
        ("the caller's own, by a link of their own", good, true),
    ] {
        let ran = trial.jail().environment("TMPDIR", &path).bash(
            "cd $HOME && touch file && echo $HOME; ls -a /proc/self/cwd/ >/dev/null; [ -e /workspace/plain ] || true",
        );
        let home = ran.text().lines().next().unwrap_or_default().to_owned();
        trial.allow(&format!("a run with {what}"), ran.code == Some(0) && !home.is_empty(), ran.whole());
        let expected = if trial.tier.has_namespaces() {
            home == "/home/agent"
        } else if used {
            home.starts_with(&real.display().to_string())
        } else {
            home.starts_with("/tmp/clawjail.")
        };
        trial.deny(what, expected, &home);
        let left = list(&outside) + list(&real) + list(&trial.place.workspace.join("plain"));
        trial.deny(&format!("what is left by {what}"), left == 0 && !PathBuf::from(&home).exists(), left);
    }
}

fn copy_on_write(trial: &mut Trial) {
    let text =
        |access: &str| format!("summary = \"Test.\"\nextends = \"untrusted\"\n[workspace]\naccess = \"{access}\"\n");
    let ran = trial.run_under(&text("cow"), &["touch", "executed"]);
    trial.refused("copy on write", &ran);
    trial.host_has("executed", None);
    let ran = trial.run_under(&text("rw"), &["touch", "made"]);
    trial.allow("read and write", ran.code == Some(0) && trial.place.holds("made"), ran.whole());
}

fn locked(trial: &mut Trial) {
    if Etc::new(&trial.place).is_none() {
        return trial.skip("not started as root");
    }
    let locked = trial.place.outside.join("locked");
    fs::create_dir_all(locked.join("inner")).expect("own directory");
    fs::write(locked.join("inner/file"), "text\n").expect("own directory");
    fs::write(locked.join("other"), "text\n").expect("own directory");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o700)).expect("own directory");
    let inner = locked.join("inner/file").display().to_string();
    let text = format!(
        "summary = \"Test.\"\nextends = \"untrusted\"\n[filesystem]\nread = [\"{}\", \"@system\"]\n",
        locked.join("inner").display()
    );
    let granted =
        if trial.tier.as_root() { works(format!("read {inner}")) } else { denied(format!("read {inner}"), GONE) };
    let ran = trial.attack_under_text(
        &text,
        vec![
            granted,
            denied(format!("write {inner}"), "EACCES|ENOENT|EPERM|EROFS"),
            denied(format!("read {}/other", locked.display()), GONE),
            denied("read /etc/shadow", GONE),
            denied("create .envrc", "EACCES|EROFS|EPERM"),
            works("read /usr/bin/env"),
            works("create plain"),
        ],
    );
    let held = ran.verdict["enforcement"]["promises"]
        .as_array()
        .is_some_and(|promises| promises.iter().any(|one| one["promise"] == "filesystem" && one["probed"] == true));
    trial.deny("the probe", held, &ran.verdict);
}

/// From which ABI on each right is handled; landlock(7). Denied from then on, and open before.
const SINCE: [(&str, u32); 20] = [
    ("read_file", 1),
    ("write_file", 1),
    ("read_dir", 1),
    ("execute", 1),
    ("make_reg", 1),
    ("make_dir", 1),
    ("make_fifo", 1),
    ("make_sock", 1),
    ("make_char", 1),
    ("make_block", 1),
    ("make_sym", 1),
    ("remove_file", 1),
    ("remove_dir", 1),
    // Denied without being handled: ABI 1 lets nothing change its directory.
    ("link_out", 1),
    ("rename_out", 1),
    ("truncate", 3),
    ("connect_tcp", 4),
    ("bind_tcp", 4),
    ("abstract", 6),
    ("signal", 6),
];

fn rights(trial: &mut Trial) {
    let newest = clawjail::sys::abi::landlock();
    trial.arm();
    for abi in 1..=newest {
        let (tree, other) =
            (trial.place.outside.join(format!("tree{abi}")), trial.place.outside.join(format!("other{abi}")));
        let script = format!(
            "mkdir -p {0}/empty {1} && cd {0} && echo x > file && echo x > spare && cp /bin/true program",
            other.display(),
            tree.display()
        );
        let made = trial.place.host("sh").args(["-c", &script]).status();
        trial.allow("the directories", made.is_ok_and(|status| status.success()), &script);
        let operation = format!("landlock {abi} {} {}", tree.display(), other.display());
        let output = trial.place.host("./attack").arg(&operation).output().expect("the binary can be executed");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let answers: Vec<&str> =
            text.split_once("\tok ").map(|(_, said)| said.split_whitespace().collect()).unwrap_or_default();
        let answer = |right: &str| {
            answers
                .iter()
                .find_map(|answer| answer.strip_prefix(&format!("{right}=")))
                .unwrap_or("not tried")
                .to_owned()
        };
        for (right, since) in SINCE {
            let got = answer(right);
            if abi >= since {
                let denied = ["EACCES", "EPERM", "EXDEV"].contains(&got.as_str());
                trial.deny(&format!("{right} with ABI {abi}"), denied, format!("{got} in {text}"));
            } else {
                // That it is open here is what the promises below have to know.
                trial.allow(&format!("{right} with ABI {abi}"), got == "ok", format!("{got} in {text}"));
            }
        }
        trial.allow(&format!("its own tree with ABI {abi}"), answer("own") == "ok", &text);
    }
    for abi in 0..=newest {
        let kept = |tier| plan(tier, abi, &trial.place.workspace, false).is_ok();
        let (root, bare) = (kept(HostTier::Root), kept(HostTier::Bare));
        // With mounts of its own a jail needs Landlock as its second wall alone; without, each right counts.
        trial.deny(
            &format!("a plan for ABI {abi}"),
            root == (abi >= 1) && bare == (abi >= 6),
            format!("{root} {bare}"),
        );
    }
}

fn folding(trial: &mut Trial) {
    trial.place.mkdir("directory");
    trial.attack([
        denied("set-inode-flags directory 0x40000000", "EPERM"),
        denied("set-inode-flags directory 0", "EPERM"),
        works("inode-flags directory"),
    ]);
    let Some(etc) = Etc::new(&trial.place) else { return trial.skip("not started as root") };
    let image = trial.place.outside.join("image");
    let made = std::process::Command::new("sh")
        .args(["-c", "truncate -s 16M \"$1\" && mkfs.ext4 -q -O casefold -E encoding=utf8 \"$1\"", "sh"])
        .arg(&image)
        .stderr(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        return trial.skip("no mkfs.ext4 that knows casefold");
    }
    let owner = trial.place.account();
    for (folded, mark) in [(true, "chattr +F w"), (false, ":")] {
        let script = format!(
            "mkdir -p \"$D/mnt\"; mount -o loop \"$D/image\" \"$D/mnt\" 2>\"$D/why\" || exit 77; cd \"$D/mnt\"; rm -rf w; mkdir w; {mark}; chown {}:{} w; chmod 755 .; cd w",
            owner.uid, owner.gid
        );
        let jail = trial.jail().option("--workspace").option(trial.place.outside.join("mnt/w"));
        let inner = jail.command(["touch", "made"]);
        let mut command = etc.command_after(&script, &inner);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let ran = jail.finish(command.spawn().expect("everyone has unshare"));
        if ran.code == Some(77) {
            return trial.skip("no casefold in this kernel");
        }
        if folded {
            trial.refused("a workspace that folds", &ran);
        } else {
            trial.allow("one beside it that does not", ran.code == Some(0), ran.whole());
        }
    }
}

/// Where dot files are kept in a repository, the home holds links into it.
fn linked_secret(trial: &mut Trial) {
    let Some(etc) = Etc::new(&trial.place) else { return trial.skip("not started as root") };
    trial.place.write("ssh/id", "PRIVATEKEY\n");
    trial.place.write("plain", "text\n");
    let owner = trial.place.account();
    let script = format!(
        "mkdir \"$D/home\"; ln -s \"$D/workspace/ssh\" \"$D/home/.ssh\"; chown {}:{} \"$D/home\"; mount --bind \"$D/home\" {}",
        owner.uid,
        owner.gid,
        owner.home.display()
    );
    let program = trial.arm();
    let jail = trial.jail();
    let mut command = etc.command_after(&script, &jail.command([program.as_str(), "read ssh/id", "read plain"]));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ran = jail.finish(command.spawn().expect("everyone has unshare"));
    trial.judge(&ran, &[denied("read ssh/id", GONE), works("read plain")]);
}
