//! Repositories as they are: nothing of ours is left in them, and every shape of them works.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::support::patience;
use super::support::place::{Place, clawjail};
use super::support::tier::Tier;
use super::trial::{Trial, denied, works};
use super::{Case, case};

const NO: &str = "EACCES|EROFS|EBUSY|EXDEV|EPERM";

/// The cases.
pub const CASES: &[Case] = &[
    case("A10", "a run leaves a repository as it was, also 20 runs at once", leaves_nothing),
    case("A10k", "kill -9 of supervisor, launcher or init at any moment leaves nothing behind", killed_at_any_moment),
    case("A10g", "a control group that a killed run left behind is in nobody's way", stale_groups),
    case("A10s", "what is left when all of a run's own processes are killed at once is removed by the doctor", swept),
    case("A11", "a worktree, a submodule and linked hooks start, work and stay protected", shapes),
    Case {
        id: "A11h",
        says: "hooks that the repository's own settings place in the workspace are protected",
        run: hooks_path,
        gaps: &[],
    },
    Case { id: "A11g", says: "the `.git` file of a worktree is protected", run: turned_repository, gaps: &[] },
    case(
        "A11s",
        "a repository that a command makes and calls a submodule runs nothing on the host",
        smuggled_submodule,
    ),
    Case { id: "A11l", says: "the file that a hook is a link to is protected", run: linked_hook, gaps: &[] },
];

/// Every name below the workspace with its kind, mode, owner and size, but the times.
fn inventory(place: &Place) -> String {
    let mut lines = Vec::new();
    let mut open = vec![place.workspace.clone()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).expect("root or owner").flatten() {
            let about = entry.metadata().expect("nobody removes it");
            lines.push(format!("{} {:o} {} {}", entry.path().display(), about.mode(), about.uid(), about.size()));
            if about.is_dir() {
                open.push(entry.path());
            }
        }
    }
    lines.sort();
    lines.join("\n")
}

fn leaves_nothing(trial: &mut Trial) {
    trial.place.make_repository();
    trial.place.write(".env", "TOKEN=1\n");
    trial.place.write("untracked", "text\n");
    let status = |trial: &Trial| {
        let output = trial.place.host_run(["git", "status", "--porcelain", "--ignored"]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let (before, listed) = (status(trial), inventory(&trial.place));
    let ran = trial.jail().run(["true"]);
    trial.allow("a run", ran.code == Some(0), ran.whole());
    trial.deny("git status afterwards", status(trial) == before, "it differs");
    trial.deny("every name afterwards", inventory(&trial.place) == listed, inventory(&trial.place));
    let children: Vec<Child> = (0..20).map(|_| trial.jail().start(["cat", "README"])).collect();
    for mut child in children {
        let status = child.wait().expect("our own child");
        trial.allow("one of twenty at once", status.success(), status);
    }
    trial.deny("git status after twenty at once", status(trial) == before, "it differs");
    trial.deny("every name after twenty at once", inventory(&trial.place) == listed, inventory(&trial.place));
}

/// Processes whose command line holds the token: ours and all they started with it.
pub fn living(token: &str) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").expect("every host has /proc").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.windows(token.len()).any(|part| part == token.as_bytes())
    })
    .collect()
}

/// The launcher or the init of a run, by the name that it gives itself.
fn named(token: &str, name: &str) -> Option<i32> {
    living(token)
        .into_iter()
        .find(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == name))
}

/// Control groups and private directories that belong to a launcher of this number.
fn leftovers(launcher: i32) -> Vec<String> {
    let controllers = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    let parents = controllers.chain([PathBuf::from("/sys/fs/cgroup"), PathBuf::from("/sys/fs/cgroup/clawjail")]);
    let groups =
        parents.chain(group_parents()).chain(own_groups()).map(|parent| parent.join(format!("clawjail.{launcher}")));
    let mut found: Vec<String> =
        groups.filter(|group| group.exists()).map(|group| group.display().to_string()).collect();
    for entry in std::fs::read_dir("/tmp").into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&format!("clawjail.{launcher}.")) {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

/// A run that goes on until its supervisor is killed, and its launcher.
fn long_run(trial: &Trial, token: &str) -> (Child, i32) {
    let child = trial.jail().start(["bash", "-c", &format!("touch {token}; sleep 300; true {token}")]);
    let deadline = Instant::now() + patience(Duration::from_secs(10));
    while !trial.place.holds(token) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    (child, named(token, "clawjail-launch").unwrap_or_default())
}

/// When all three are killed at once, nobody of them is left to clear up; the next doctor does.
fn swept(trial: &mut Trial) {
    let [dead, alive] = ["dead", "alive"].map(|word| format!("{}{word}", trial.place.token));
    let ((mut child, launcher), (mut other, living_launcher)) = (long_run(trial, &dead), long_run(trial, &alive));
    let kept = leftovers(living_launcher).len();
    let own: Vec<i32> = ["clawjail-launch", "clawjail-init"].iter().filter_map(|name| named(&dead, name)).collect();
    for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
        for pid in own.iter().copied().chain([child.id() as i32]) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
    let _ = child.wait();
    let deadline = Instant::now() + Duration::from_secs(20);
    while living(&dead).iter().any(|pid| own.contains(pid)) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    let before = leftovers(launcher);
    let said = trial.place.command(clawjail()).arg("doctor").output().expect("the binary can be executed");
    let after = leftovers(launcher);
    trial.deny("what is left of one that is gone", after.is_empty(), format!("{after:?} of {before:?}, {said:?}"));
    // In the user tier without groups there is nothing that could be left.
    trial.allow("something was left", !before.is_empty() || trial.tier == Tier::User, launcher);
    trial.allow("one that is not gone", leftovers(living_launcher).len() == kept, living_launcher);
    if trial.tier != Tier::Bare {
        trial.deny("processes of one that is gone", living(&dead).is_empty(), living(&dead).len());
    }
    trial.allow("a run beside it", other.try_wait().is_ok_and(|ended| ended.is_none()), "it ended");
    for pid in living(&dead) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let _ = kill(Pid::from_raw(other.id() as i32), Signal::SIGTERM);
    let _ = other.wait();
    trial.deny(
        "the other, afterwards",
        leftovers(living_launcher).is_empty(),
        format!("{:?}", leftovers(living_launcher)),
    );
}

fn killed_at_any_moment(trial: &mut Trial) {
    trial.place.make_repository();
    let listed = inventory(&trial.place);
    let mut launchers = Vec::new();
    for victim in ["supervisor", "clawjail-launch", "clawjail-init"] {
        for wait in [0, 2, 5, 10, 20, 40, 200] {
            let token = format!("{}{victim}{wait}", trial.place.token);
            let script = format!(
                "(setsid sleep 300 {token} 2>/dev/null || setsid bash -c 'sleep 300 # {token}') & sleep 300; true {token}"
            );
            let mut child = trial.jail().start(["bash", "-c", &script]);
            let begun = Instant::now();
            let mut launcher = None;
            while begun.elapsed() < Duration::from_millis(wait) {
                launcher = launcher.or_else(|| named(&token, "clawjail-launch"));
                std::thread::sleep(Duration::from_millis(1));
            }
            launchers.extend(launcher.or_else(|| named(&token, "clawjail-launch")));
            let target = if victim == "supervisor" { Some(child.id() as i32) } else { named(&token, victim) };
            // Not there yet: then the supervisor is the only one who can be killed.
            let target = Pid::from_raw(target.unwrap_or(child.id() as i32));
            let _ = kill(target, Signal::SIGKILL);
            let deadline = Instant::now() + patience(Duration::from_secs(10));
            while !living(&token).is_empty() && Instant::now() < deadline {
                let _ = child.try_wait();
                std::thread::sleep(Duration::from_millis(5));
            }
            let left = living(&token);
            trial.deny(
                &format!("after kill -9 of {victim} at {wait} ms"),
                left.is_empty(),
                format!("{} processes", left.len()),
            );
            let _ = child.kill();
            let _ = child.wait();
            for pid in left {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
    // A later run may be what removes it.
    let ran = trial.jail().run(["true"]);
    trial.allow("a run afterwards", ran.code == Some(0), ran.whole());
    let left: Vec<String> = launchers.iter().flat_map(|launcher| leftovers(*launcher)).collect();
    trial.deny("groups and directories", left.is_empty(), left.join(" "));
    trial.deny("every name of the workspace", inventory(&trial.place) == listed, inventory(&trial.place));
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    trial.deny("mounts", !mounts.contains(&trial.place.token), mounts);
}

fn shapes(trial: &mut Trial) {
    trial.place.make_repository();
    let (tree, part) = (trial.place.outside.join("tree"), trial.place.outside.join("part"));
    trial.place.host_run(["git", "worktree", "add", "--quiet", "../tree", "-b", "tree"]);
    let ran = trial.jail().option("--workspace").option(&tree).bash("cat README && echo more > new && mkdir d");
    trial.allow("a worktree", ran.code == Some(0), ran.whole());
    trial.place.host_run(["git", "clone", "--quiet", ".", "../part"]);
    let part = part.display().to_string();
    trial.place.host_run(["git", "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", &part, "part"]);
    trial.place.host_run(["git", "commit", "--quiet", "--message", "part"]);
    trial.place.mkdir("myhooks");
    std::fs::remove_dir_all(trial.place.workspace.join(".git/hooks")).expect("git made it");
    trial.place.link("../myhooks", ".git/hooks");
    trial.attack([
        denied("create .git/modules/part/hooks/pre-commit", NO),
        denied("write .git/modules/part/config", NO),
        denied("create myhooks/pre-commit", NO),
        denied("create .git/hooks/pre-commit", NO),
        denied("rename .git/modules moved", NO),
        denied("exchange .git/modules myhooks", NO),
        works("write part/README"),
        works("create .git/modules/part/new"),
    ]);
    let script = "cd part && git status --porcelain && cd .. && git add README && \
        git -c user.name=x -c user.email=x@example.org commit --allow-empty -q -m second && git log --oneline | wc -l";
    let ran = trial.jail().bash(script);
    trial.allow("git with a submodule", ran.code == Some(0) && ran.text().ends_with('3'), ran.whole());
    trial.host_has("myhooks/pre-commit", None);
}

/// The `.git` of a worktree or submodule is a file that says where the repository is: to turn it is to turn the host's git.
fn turned_repository(trial: &mut Trial) {
    trial.place.make_repository();
    trial.place.host_run(["git", "worktree", "add", "--quiet", "../tree", "-b", "tree"]);
    let tree = trial.place.outside.join("tree");
    let before = std::fs::read_to_string(tree.join(".git")).expect("git made it");
    for script in ["echo gitdir: evil > .git", "rm -f .git; mkdir .git", "mv .git old; echo gitdir: evil > .git"] {
        let ran = trial.jail().option("--workspace").option(&tree).bash(script);
        let now = std::fs::read_to_string(tree.join(".git")).unwrap_or_default();
        trial.deny(&format!("the `.git` file after `{script}`"), now == before, ran.whole());
    }
    let ran = trial.jail().option("--workspace").option(&tree).bash("echo more > README && cat README");
    trial.allow("work in a worktree", ran.text() == "more", ran.whole());
}

/// git looks into every repository that the index calls a submodule, and does what its settings say.
fn smuggled_submodule(trial: &mut Trial) {
    trial.place.make_repository();
    let proof = trial.place.outside.join("executed");
    let script = format!(
        "mkdir part && cd part && git init -q . && git config user.name x && git config user.email x@example.org && \
         git commit -q --allow-empty -m 1 && {{ git config core.fsmonitor 'touch {}; false'; true; }} && head=$(git rev-parse HEAD) && \
         cd .. && git update-index --add --cacheinfo 160000,$head,part; echo done",
        proof.display()
    );
    let ran = trial.jail().bash(&script);
    trial.allow("the script ran", ran.text().ends_with("done"), ran.whole());
    trial.place.host_run(["git", "status", "--porcelain"]);
    trial.deny("git status on the host afterwards", !proof.exists(), "it executed what the command left for it");
    let fsmonitor = format!("touch {}; false", proof.display());
    trial.place.host_run(["git", "-C", "part", "config", "core.fsmonitor", &fsmonitor]);
    trial.place.host_run(["git", "status", "--porcelain"]);
    trial.allow("the same set by the host", proof.exists(), "git does not look into it at all");
}

/// Hooks that are links to files of the repository.
fn linked_hook(trial: &mut Trial) {
    trial.place.make_repository();
    trial.place.write_program("tools/check", "#!/bin/sh\n");
    trial.place.link("../../tools/check", ".git/hooks/pre-commit");
    trial.attack([denied("write tools/check", NO), works("write README")]);
    trial.host_has("tools/check", Some("#!/bin/sh\n"));
}

fn hooks_path(trial: &mut Trial) {
    trial.place.make_repository();
    trial.place.mkdir("tools/hooks");
    trial.place.host_run(["git", "config", "core.hooksPath", "tools/hooks"]);
    trial.attack([denied("create tools/hooks/pre-commit", NO), works("create tools/other")]);
    trial.host_has("tools/hooks/pre-commit", None);
}

/// The v2 group that the tests run in, and the one above: a delegated one gets a leaf for its members.
fn own_groups() -> Vec<PathBuf> {
    let memberships = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = memberships.lines().find_map(|line| line.strip_prefix("0::/"));
    let own = Path::new("/sys/fs/cgroup").join(own.unwrap_or_default());
    own.ancestors().take(2).map(Path::to_path_buf).collect()
}

/// Where our own groups are made, with control groups of version 1.
fn group_parents() -> Vec<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let parents = text.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (name, path) = (fields.next()?, fields.next()?);
        let mount = Path::new("/sys/fs/cgroup").join(name);
        let parent = mount.join(path.trim_start_matches('/'));
        matches!(name, "pids" | "cpu" | "memory").then(|| if parent.is_dir() { parent } else { mount })
    });
    parents.filter(|parent| parent.is_dir()).collect()
}

/// A group that nobody removed carries a process number that comes around again.
fn stale_groups(trial: &mut Trial) {
    let mut parents = group_parents();
    if parents.is_empty() && Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        // Made by the first run of ours.
        trial.jail().run(["true"]);
        parents.extend([PathBuf::from("/sys/fs/cgroup/clawjail")].into_iter().filter(|parent| parent.is_dir()));
    }
    if trial.tier != Tier::Root || parents.is_empty() {
        return trial.skip("once is enough, as root with control groups of its own");
    }
    // The numbers that come next, one of which will be the launcher's.
    let next = std::fs::read_to_string("/proc/sys/kernel/ns_last_pid").ok().and_then(|text| text.trim().parse().ok());
    let next: u32 = next.unwrap_or_else(std::process::id);
    let groups: Vec<_> = (next..next + 400)
        .filter(|pid| !Path::new(&format!("/proc/{pid}")).exists())
        .flat_map(|pid| parents.iter().map(move |parent| parent.join(format!("clawjail.{pid}"))))
        .filter(|group| std::fs::create_dir(group).is_ok())
        .collect();
    let ran = trial.jail().run(["true"]);
    trial.allow("a run with a stale group in its way", ran.code == Some(0), ran.whole());
    let reused = groups.iter().filter(|group| !group.exists()).count();
    trial.deny("the group in its way", reused > 0, "none was in its way");
    for group in groups {
        let _ = std::fs::remove_dir(group);
    }
}
