//! The launcher's own class of mistakes: what it opens, mounts and holds on somebody's behalf.

use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

use super::support::place::clawjail;
use super::trial::{Trial, denied, works};
use super::{Case, case};

const GONE: &str = "EACCES|ENOENT|EPERM|EROFS|ETXTBSY";

/// The cases.
pub const CASES: &[Case] = &[
    case("G1", "the host's binary cannot be reached by way of the processes that run it", own_binary),
    case("G2", "a workspace that is swapped for a link while a run starts shows nothing else", swapped_workspace),
    case("G3", "an open directory of the caller does not lead out", leaked_directory),
    case("G5", "names of the view that a workspace also has lead to nothing of the host", names_of_the_view),
    case("G7", "what the caller may not read is not opened for them", callers_rights),
    case("G8", "private places on the host have names that nobody can guess, and are closed to others", private_places),
    case("G14", "a workspace that is a link, a home, a file, missing or of somebody else is refused", bad_workspaces),
];

fn own_binary(trial: &mut Trial) {
    let before = std::fs::metadata(clawjail()).expect("it exists");
    let ran = trial.attack([
        denied("read /proc/1/exe", GONE),
        denied("write /proc/1/exe", GONE),
        denied("open-trunc /proc/1/exe", GONE),
        denied("write /proc/self/exe", "ETXTBSY|EACCES|EROFS|ENOENT|EPERM"),
        denied("write /proc/self/fd/3", "ENOENT|EACCES"),
        works("read ./attack"),
    ]);
    let after = std::fs::metadata(clawjail()).expect("it exists");
    let same = (before.ino(), before.size(), before.mtime_nsec()) == (after.ino(), after.size(), after.mtime_nsec());
    trial.deny("the binary", same, ran.whole());
    // A script whose interpreter is the binary that runs it.
    trial.place.write_program("script", "#!/proc/self/exe\n");
    let ran = trial.jail().run(["./script"]);
    trial.deny("a script for /proc/self/exe", matches!(ran.code, Some(126 | 127)), ran.whole());
}

fn swapped_workspace(trial: &mut Trial) {
    let secret = trial.place.outside.join("secret");
    let inner = trial.place.outside.join("inner");
    for directory in [&secret, &inner] {
        trial.place.command("mkdir").arg(directory).status().expect("everyone has mkdir");
        trial.place.command("mkdir").arg(directory.join("work")).status().expect("everyone has mkdir");
    }
    std::fs::write(secret.join("work/key"), "SECRET").expect("own directory");
    std::fs::write(inner.join("work/key"), "plain").expect("own directory");
    let (spare, link) = (trial.place.outside.join("spare"), trial.place.outside.join("link"));
    symlink(&secret, &link).expect("own directory");
    let done = AtomicBool::new(false);
    let (mut shown, mut plain, mut clear) = (0, 0, true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _ = std::fs::rename(&inner, &spare);
                let _ = std::fs::rename(&link, &inner);
                std::thread::yield_now();
                let _ = std::fs::rename(&inner, &link);
                let _ = std::fs::rename(&spare, &inner);
                std::thread::sleep(std::time::Duration::from_micros(500));
            }
        });
        for _ in 0..40 {
            let ran = trial.jail().option("--workspace").option(inner.join("work")).run(["cat", "key"]);
            shown += usize::from(ran.text().contains("SECRET"));
            plain += usize::from(ran.text() == "plain");
            // 1 is cat's own: the link was followed to where nothing is granted.
            clear &= matches!(ran.code, Some(0 | 1 | 125 | 126));
        }
        done.store(true, Ordering::Relaxed);
    });
    trial.deny(
        "the swapped workspace",
        shown == 0 && clear,
        format!("{shown} of 40 runs showed it, clear ends: {clear}"),
    );
    // On a busy machine a run can take so long that the swap always falls into it; it is over now.
    if inner.is_symlink() {
        std::fs::rename(&inner, &link).and_then(|()| std::fs::rename(&spare, &inner)).expect("own directory");
    }
    let ran = trial.jail().option("--workspace").option(inner.join("work")).run(["cat", "key"]);
    trial.allow("the real one", ran.text() == "plain", format!("shown {plain} times before, {}", ran.whole()));
}

fn leaked_directory(trial: &mut Trial) {
    use std::os::fd::AsRawFd;
    use std::os::unix::process::CommandExt;
    let directory = std::fs::File::open("/").expect("everyone can open it");
    let number = directory.as_raw_fd();
    for cwd in ["/proc/self/fd/9", "/proc/self/fd/9/etc", "/dev/fd/9"] {
        let jail = trial.jail().option("--cwd").option(cwd);
        let mut command = jail.command(["pwd"]);
        // SAFETY: between fork and exec only a call that is safe there.
        unsafe {
            command.pre_exec(move || match libc::dup2(number, 9) {
                -1 => Err(std::io::Error::last_os_error()),
                _ => Ok(()),
            });
        }
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let ran = jail.finish(command.spawn().expect("the binary can be executed"));
        trial.refused(cwd, &ran);
    }
    let ran = trial
        .jail()
        .started_in("/")
        .option("--workspace")
        .option(&trial.place.workspace)
        .bash("pwd; ls -d ../../etc/shadow /proc/self/cwd/../../etc/shadow");
    let inside = trial.place.inside().display().to_string();
    trial.deny("started in /", ran.text() == inside, ran.whole());
    trial.allow("started in /", ran.text().starts_with(&inside), ran.whole());
}

fn names_of_the_view(trial: &mut Trial) {
    for name in
        ["dev", "proc", "etc", "tmp", "usr", "home", ".empty-file", ".empty-directory", ".clawjail", "workspace"]
    {
        trial.place.link("/etc", name);
    }
    let count = || std::fs::read_dir("/dev").map_or(0, Iterator::count);
    let before = (count(), std::fs::read("/etc/hostname").unwrap_or_default());
    let ran = trial
        .jail()
        .bash("ls dev/ | head -3; : > dev/null; rm -rf dev/ proc/ etc/ tmp/; echo x > etc/hostname; echo end");
    trial.allow("a run", ran.text().ends_with("end"), ran.whole());
    trial.deny(
        "the host's /dev and /etc",
        before == (count(), std::fs::read("/etc/hostname").unwrap_or_default()),
        "they changed",
    );
}

fn callers_rights(trial: &mut Trial) {
    if trial.tier.as_root() {
        return trial.skip("root may read everything");
    }
    let ran = trial.jail().option("--workspace").option("/root").run(["ls"]);
    trial.refused("somebody else's home", &ran);
    let ran = trial.jail().option("--workspace").option("/root/x/y").run(["ls"]);
    trial.refused("below somebody else's home", &ran);
    let ran = trial.jail().option("--workspace").option("/tmp").run(["ls"]);
    trial.refused("a directory of root", &ran);
    let ran = trial.jail().run(["ls"]);
    trial.allow("its own", ran.code == Some(0), ran.whole());
}

fn private_places(trial: &mut Trial) {
    let ran = trial
        .jail()
        .bash("echo $HOME $TMPDIR; stat -c '%a' $HOME $TMPDIR; touch $HOME/a $TMPDIR/b && ls $HOME $TMPDIR | wc -l");
    let text = ran.text();
    trial.allow("private places can be written", ran.code == Some(0), ran.whole());
    let home = std::path::PathBuf::from(text.split(' ').next().unwrap_or_default());
    if trial.tier.has_namespaces() {
        trial.deny("the home", home == std::path::Path::new("/home/agent"), &text);
        trial.deny("the home on the host", !home.exists(), "it exists");
        return;
    }
    let parent = home.parent().expect("a home has a parent").to_path_buf();
    let name = parent.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let random = name.rsplit('.').next().unwrap_or_default();
    trial.deny("its name", random.len() >= 16 && random.chars().all(|digit| digit.is_ascii_hexdigit()), &name);
    trial.deny("its mode", text.lines().nth(1) == Some("700") && text.lines().nth(2) == Some("700"), &text);
    trial.deny("afterwards", !parent.exists(), "it is still there");
    let odd = trial.jail().bash(
        "mkdir -p $HOME/a/b && touch $HOME/a/b/c && chmod 0 $HOME/a/b $HOME/a && ln -s / $TMPDIR/root && echo $HOME",
    );
    let home = std::path::PathBuf::from(odd.text());
    trial.deny("one with unreadable directories", odd.code == Some(0) && !home.exists(), odd.whole());
    let program = trial.place.inside().join(trial.arm());
    let deep = trial.jail().bash(&format!("echo $HOME; cd $HOME && {} 'deep 60'", program.display()));
    let home = std::path::PathBuf::from(deep.text().lines().next().unwrap_or_default());
    trial.deny("one deeper than any path", deep.text().contains("deep 60\tok") && !home.exists(), deep.whole());
    trial.deny("what a link in it leads to", std::path::Path::new("/usr").exists(), "it is gone");
}

fn bad_workspaces(trial: &mut Trial) {
    let place = &trial.place.outside;
    symlink(&trial.place.workspace, place.join("link")).expect("own directory");
    symlink(place, place.join("up")).expect("own directory");
    std::fs::write(place.join("file"), "").expect("own directory");
    let home = trial.place.account().home.clone();
    let bad = [
        place.join("link"),
        place.join("up/workspace"),
        place.join("file"),
        place.join("missing"),
        home.clone(),
        "/".into(),
        "/usr".into(),
        "/etc".into(),
        "/proc/self".into(),
        "/dev".into(),
        "/tmp".into(),
        "/usr/share".into(),
        "/proc/self/cwd".into(),
        home.join(".ssh"),
    ];
    for path in bad {
        let ran = trial.jail().option("--workspace").option(&path).run(["true"]);
        trial.refused(&path.display().to_string(), &ran);
    }
    let ran = trial.jail().option("--workspace").option(&trial.place.workspace).run(["true"]);
    trial.allow("a plain one", ran.code == Some(0), ran.whole());
}
