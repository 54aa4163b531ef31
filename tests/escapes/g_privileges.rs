//! What privileged launchers got wrong elsewhere: mount targets that move, directories of theirs that others made, secrets that
//! others read, and read-only that is only said.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{chown, symlink};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::a_repositories::living;
use super::client::KINDS;
use super::support::etc::Etc;
use super::trial::{Trial, denied, works};
use super::{Case, case};

const NO: &str = "EACCES|EROFS|EPERM|ENOENT";

/// The cases.
pub const CASES: &[Case] = &[
    case(
        "G4",
        "a shielded path that is swapped for a link while a run starts shows and changes nothing else",
        swapped_shields,
    ),
    case("G6", "no command makes the directory from which profiles are read, or any file of the host's /etc", settings),
    case("G6w", "whatever a supervisor says, the launcher runs what is whole, refuses the rest or ends", odd_messages),
    case("G9", "what is private to a run is private from every other user of the host", others),
    case("G11", "what is granted for reading is read-only however it is opened again", read_only),
];

fn swapped_shields(trial: &mut Trial) {
    let private = trial.place.outside.join("private");
    fs::create_dir(&private).expect("own directory");
    fs::write(private.join("key"), "PRIVATEKEY").expect("own directory");
    let owner = trial.place.account();
    for path in [private.clone(), private.join("key")] {
        chown(path, Some(owner.uid), Some(owner.gid)).expect("root gives, others give to themselves");
    }
    trial.place.make_repository();
    trial.place.write(".env", "TOKEN=1\n");
    trial.place.mkdir(".vscode");
    let workspace = trial.place.workspace.clone();
    let shields = [(".git/hooks", private.clone()), (".env", private.join("key")), (".vscode", private.clone())];
    let (spare, done) = (trial.place.outside.join("spare"), AtomicBool::new(false));
    for (index, (_, target)) in shields.iter().enumerate() {
        symlink(target, spare.with_extension(index.to_string())).expect("own directory");
    }
    let (mut shown, mut ran_whole) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for (index, (name, _)) in shields.iter().enumerate() {
                    let (other, here) = (spare.with_extension(index.to_string()), workspace.join(name));
                    let _ = nix::fcntl::renameat2(
                        nix::fcntl::AT_FDCWD,
                        &other,
                        nix::fcntl::AT_FDCWD,
                        &here,
                        nix::fcntl::RenameFlags::RENAME_EXCHANGE,
                    );
                }
                std::thread::yield_now();
            }
        });
        for _ in 0..40 {
            let ran = trial.jail().bash(
                "cat .git/hooks/key .env .vscode/key 2>/dev/null; touch .git/hooks/evil .vscode/evil 2>/dev/null; \
                 echo evil 2>/dev/null >> .env; echo ran",
            );
            shown += usize::from(ran.text().contains("PRIVATEKEY"));
            ran_whole += usize::from(ran.text().ends_with("ran"));
        }
        done.store(true, Ordering::Relaxed);
    });
    trial.deny("the key inside", shown == 0, format!("shown {shown} times"));
    let key = fs::read_to_string(private.join("key")).unwrap_or_default();
    trial.deny("the key outside", key == "PRIVATEKEY", key);
    trial.deny("a new file beside it", !private.join("evil").exists(), "it is there");
    trial.allow("runs that started", ran_whole > 0, "none did");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    trial.deny("mounts of the host", !mounts.contains(&trial.place.token), mounts);
}

fn settings(trial: &mut Trial) {
    let before = fs::read("/etc/resolv.conf").unwrap_or_default();
    // A host that has it already would say so before it says anything else.
    let directory = if fs::exists("/etc/clawjail").unwrap_or(true) { "/etc/clawjail/new" } else { "/etc/clawjail" };
    trial.attack([
        denied(format!("mkdir {directory}"), NO),
        denied("create /etc/clawjail.toml", NO),
        denied("write /etc/resolv.conf", NO),
        denied("open-create /etc/hosts", NO),
        denied("unlink /etc/hostname", NO),
        works("create plain"),
    ]);
    trial.deny("the host's resolv.conf", fs::read("/etc/resolv.conf").unwrap_or_default() == before, "it changed");
    let Some(etc) = Etc::new(&trial.place) else { return };
    let owner = trial.place.account();
    if owner.uid == 0 {
        return;
    }
    etc.write(
        "profiles/open.toml",
        "summary = \"Hides and protects nothing.\"\nextends = \"base\"\n[workspace]\naccess = \"rw\"\n[filesystem]\n\
         read = [\"@system\"]\nexecute = [\"@programs\"]\n[require]\nlimits = \"partial\"\n",
    );
    let home = owner.home.display();
    for (linked, workspace, refused) in [
        (false, ".config", true),
        (false, ".config/clawjail", true),
        (true, "dotfiles", true),
        (true, "dotfiles/config", true),
        (false, "work", false),
        (true, "work", false),
    ] {
        let settings = if linked {
            "mkdir -p dotfiles/config/clawjail; ln -s dotfiles/config .config"
        } else {
            "mkdir -p .config/clawjail"
        };
        let script = format!(
            "rm -rf \"$D/home\"; mkdir -p \"$D/home/work\"; (cd \"$D/home\"; {settings}); chown -R {}:{} \"$D/home\"; mount --bind \"$D/home\" {home}",
            owner.uid, owner.gid
        );
        let jail = trial.jail().profile("open").option("--workspace").option(owner.home.join(workspace));
        let mut command = etc.command_after(&script, &jail.command(["touch", "made"]));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let ran = jail.finish(command.spawn().expect("everyone has unshare"));
        let what = format!("{workspace}{}", if linked { ", settings by a link" } else { "" });
        if refused {
            trial.refused(&what, &ran);
        } else {
            trial.allow(&what, ran.code == Some(0), ran.whole());
        }
    }
}

fn others(trial: &mut Trial) {
    if !nix::unistd::geteuid().is_root() {
        return trial.skip("not started as root");
    }
    let token = format!("{}private", trial.place.token);
    let script = format!(
        "echo $SECRET > $HOME/secret; echo $SECRET > $TMPDIR/secret; chmod 777 $HOME $TMPDIR $HOME/secret $TMPDIR/secret; touch ready; sleep 60; true {token}"
    );
    let jail = trial.jail().environment("SECRET", "THESECRET").option("--pass").option("SECRET");
    let mut child = jail.start(["bash", "-c", &script]);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !trial.place.holds("ready") && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    let pids: Vec<String> = living(&token).iter().map(ToString::to_string).collect();
    let look = format!(
        "for p in {}; do cat /proc/$p/environ /proc/$p/root/home/agent/secret /proc/$p/root/tmp/secret /proc/$p/mem; ls /proc/$p/fd/ /proc/$p/cwd/; done; \
         cat /tmp/clawjail.*/home/secret /tmp/clawjail.*/tmp/secret; ls /tmp/clawjail.*/",
        pids.join(" ")
    );
    let as_user = |uid: &str| {
        let output = Command::new("setpriv")
            .args(["--reuid", uid, "--regid", uid, "--clear-groups", "sh", "-c", &look])
            .current_dir("/")
            .output()
            .expect("everyone has setpriv");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let (nobody, root) = (as_user("65534"), as_user("0"));
    trial.deny("what nobody reads", !nobody.contains("THESECRET") && !nobody.contains("attack"), &nobody);
    trial.allow("what root reads", root.contains("THESECRET") && !pids.is_empty(), &root);
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), nix::sys::signal::Signal::SIGTERM);
    let _ = child.wait();
}

fn odd_messages(trial: &mut Trial) {
    let client = trial.place.outside.join("client");
    fs::copy(std::env::current_exe().expect("the kernel knows it"), &client).expect("there is room in /tmp");
    for (kind, wanted) in KINDS {
        let _ = fs::remove_file(trial.place.workspace.join("executed"));
        let mut command = trial.place.command(&client);
        command.arg(kind).arg(&trial.place.workspace).arg(trial.tier.word()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let jail = trial.jail();
        let child = loop {
            match command.spawn() {
                // A process that another case starts holds the copy open for writing until it executes.
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
                child => break child.expect("the binary can be executed"),
            }
        };
        let ran = jail.finish(child);
        let held = ran.text().starts_with(&format!("{kind}\t{wanted}")) && !ran.hung;
        trial.deny(kind, held, format!("must be {wanted}: {}", ran.whole()));
        if wanted.starts_with("ended Exited(0)") {
            trial.allow(&format!("{kind} runs"), trial.place.holds("executed"), ran.whole());
        } else if !wanted.starts_with("ended") {
            trial.host_has("executed", None);
        }
    }
}

fn read_only(trial: &mut Trial) {
    trial.place.write("README", "text\n");
    trial.place.write("plain", "text\n");
    trial.arm();
    let ways = [
        "write README",
        "append README",
        "open-trunc README",
        "truncate README",
        "reopen README",
        "map-and-write README",
        "write-by-descriptor README",
        "chmod README 0o777",
        "utime README",
        "xattr README",
        "unlink README",
        "rename README other",
        "link README other",
        "openat2 README 1 0",
    ];
    let denials = || ways.iter().map(|way| denied(*way, "EACCES|EROFS|EPERM|EBADF|EXDEV|ENOSYS"));
    let mut wishes: Vec<_> = denials().collect();
    wishes.push(works("read README"));
    trial.attack_under("readonly", wishes);
    let system: Vec<_> = ["write", "reopen", "truncate", "chmod", "utime", "xattr", "unlink"]
        .iter()
        .map(|way| {
            denied(
                format!("{way} /usr/bin/env{}", if *way == "chmod" { " 0o777" } else { "" }),
                // Where the broker looks at settings of git, attributes cannot be set at all.
                if *way == "xattr" { "EACCES|EROFS|EPERM|ENOSYS" } else { "EACCES|EROFS|EPERM|ETXTBSY" },
            )
        })
        .chain([works("read /usr/bin/env"), works("reopen plain")])
        .collect();
    trial.attack_all(system);
    trial.host_has("README", Some("text\n"));
}
