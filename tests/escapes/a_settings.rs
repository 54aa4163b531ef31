//! Settings of git, and all the ways to make a directory a repository whose settings run something on the host later.

use std::path::Path;
use std::process::Stdio;

use super::support::place::Place;
use super::trial::{Trial, Wish, denied, says, works};
use super::{Case, case};

const NO: &str = "EACCES|EROFS|EBUSY|EXDEV|EPERM";

/// The cases.
pub const CASES: &[Case] = &[
    case("A11c", "settings of git change by what runs nothing, and by nothing else", changes),
    case("A11d", "no way to make a repository gives it settings or hooks that run something", repositories),
    case("A11m", "nor does any way below the `.git` of the workspace itself", below_the_top),
    case("A11e", "settings cannot be changed behind the look at them", behind),
    case("A11i", "nothing can lead git to a repository that was there and runs something", dormant),
    case("A11w", "hooks that the workspace's settings name are protected in every work tree", work_trees),
];

/// Keys that git would run, include, or trust by, and how a command could try to get them in.
fn changes(trial: &mut Trial) {
    trial.place.make_repository();
    trial.place.host_run(["git", "config", "alias.kept", "status"]);
    let before = trial.place.read(".git/config").expect("git made it");
    let script = "for key in core.fsmonitor core.hooksPath core.sshCommand core.pager core.editor include.path alias.x filter.x.clean \
        diff.x.textconv credential.helper url.x.insteadOf remote.x.uploadpack submodule.x.update alias.kept core.worktree; do \
        git config $key '!id' 2>/dev/null && echo got $key; done; \
        git config remote.x.url 'ext::sh -c id' 2>/dev/null && echo got ext; git config --unset alias.kept 2>/dev/null && echo lost; \
        git config --rename-section alias color 2>/dev/null && echo renamed; \
        printf '[core]\\r\\n\\tfsmonitor = id\\r\\n' > .git/config.lock; mv -f .git/config.lock .git/config 2>/dev/null && echo got lines; rm -f .git/config.lock; \
        cp .git/config lock && echo '[core] fsmonitor = id' >> lock; mv -f lock .git/config 2>/dev/null && echo got moved; \
        ln lock .git/config 2>/dev/null && echo got linked; ln -sf ../lock .git/config 2>/dev/null && echo got a link; \
        cp -f lock .git/config 2>/dev/null && echo got copied; rm -f .git/config 2>/dev/null; \
        mkdir d; mv -T d .git/config 2>/dev/null && echo got a directory; rm -rf d lock; echo done";
    let ran = trial.jail().bash(script);
    trial.deny("every way to a program", ran.text() == "done", ran.whole());
    trial.deny("the settings on the host", trial.place.read(".git/config") == Some(before), "they changed");
    let keys: Vec<String> = ran.verdict["denials"]
        .as_array()
        .map(|denials| denials.iter().filter_map(|denial| denial["rule"].as_str().map(str::to_owned)).collect())
        .unwrap_or_default();
    for key in ["core.fsmonitor", "include.path", "remote.x.url", "alias.kept", "line 1 is not understood"] {
        trial.deny(&format!("`{key}` in the verdict"), keys.iter().any(|known| known == key), keys.join(" "));
    }
    let script = "git config user.name x && git remote add up https://example.org/x.git && git branch side && \
        git branch -q --set-upstream-to=main side && git config --get alias.kept";
    let ran = trial.jail().bash(script);
    trial.allow("harmless settings beside what was there", ran.text() == "status", ran.whole());
    let now = trial.place.read(".git/config").unwrap_or_default();
    trial.allow("they are on the host", now.contains("example.org/x.git") && now.contains("[branch \"side\"]"), now);
}

/// Each makes something that git on the host runs, if nothing stops it. `evil` are settings with a program.
const WAYS: &[(&str, &str)] = &[
    ("written", "git init -q part; cat evil >> part/.git/config"),
    ("replaced", "git init -q part; cat evil > part/.git/x; mv -f part/.git/x part/.git/config"),
    (
        "renamed directory",
        "git init -q other; mkdir part; mv other/.git made; mv -f evil made/config; mv made part/.git",
    ),
    ("renamed above", "git init -q a; mkdir b; mv a/.git b/git; mv -f evil b/git/config; mv b/git b/.git; mv b part"),
    (
        "settings first",
        "mkdir -p part/made; cp evil part/made/config; cd part/made; mkdir objects; mkdir refs; \
        echo 'ref: refs/heads/main' > HEAD; cd ..; mv made .git",
    ),
    ("bare", "mkdir bare; cp evil bare/config; cd bare; mkdir refs; mkdir objects; echo 'ref: refs/heads/main' > HEAD"),
    (
        "bare, by renames",
        "mkdir bare; cp evil bare/config; cd bare; mkdir a b; mv a refs; mv b objects; echo 'ref: refs/heads/main' > HEAD",
    ),
    (
        "bare, by links",
        "mkdir bare away; cp evil bare/config; cd bare; ln -s ../away refs; ln -s ../away objects; \
        echo 'ref: refs/heads/main' > HEAD",
    ),
    (
        "gitfile",
        "git init -q other; mv other/.git made; mkdir part; echo 'gitdir: ../made' > part/.git; mv -f evil made/config",
    ),
    (
        "gitfile, settings first",
        "mkdir part made; cp evil made/config; echo 'gitdir: ../made' > part/.git; mkdir made/objects; \
        mkdir made/refs; echo 'ref: refs/heads/main' > made/HEAD",
    ),
    (
        "commondir",
        "mkdir part head made; cp evil made/config; mkdir made/objects; mkdir made/refs; echo ../made > head/commondir; \
        echo 'ref: refs/heads/main' > head/HEAD; echo 'gitdir: ../head' > part/.git",
    ),
    (
        "link to a directory",
        "git init -q other; mv other/.git made; mv -f evil made/config; mkdir part; ln -s ../made part/.git",
    ),
    ("link to settings", "git init -q part; rm -f part/.git/config; ln -s ../../evil part/.git/config"),
    ("hard link", "git init -q part; rm -f part/.git/config; ln evil part/.git/config"),
    ("hard link out", "git init -q part; ln part/.git/config out; cat evil >> out"),
    (
        "hard link before",
        "git init -q part; cp part/.git/config l; ln l out; mv -f l part/.git/config; cat evil >> out",
    ),
    (
        "exchange",
        "git init -q part; python3 -c \"import ctypes; ctypes.CDLL(None).renameat2(-100, b'evil', -100, b'part/.git/config', 2)\"",
    ),
    ("objects away", "git init -q part; cd part/.git; mv objects o; cat ../../evil >> config; mv o objects"),
    ("bare, objects away", "git init -q --bare bare; cd bare; mv objects o; cat ../evil >> config; mv o objects"),
    ("repository away", "git init -q part; mv part/.git made; cat evil >> made/config; mv made part/.git"),
    (
        "config.worktree",
        "git init -q part; git -C part config extensions.worktreeConfig true; cp evil part/.git/config.worktree",
    ),
    (
        "config.worktree moved",
        "git init -q part; git -C part config extensions.worktreeConfig true; mv evil part/.git/config.worktree",
    ),
    ("copied", "git init -q other; mv other/.git made; mv -f evil made/config; mkdir part; cp -r made part/.git"),
    (
        "tar",
        "mkdir t; cd t; git init -q part; mv -f ../evil part/.git/config; tar cf ../t.tar part; cd ..; rm -rf t; tar xf t.tar",
    ),
    (
        "truncated",
        "git init -q part; python3 -c \"f=open('part/.git/config','r+b'); f.write(open('evil','rb').read()+b'\\n#'*200)\"",
    ),
    ("standard output", "git init -q part; exec 3< part/.git/config; cat evil > /proc/self/fd/3"),
    ("hook", "git init -q part; cp hook part/.git/hooks/post-index-change"),
    (
        "hook moved",
        "git init -q part; cp hook part/.git/hooks/x.sample; mv part/.git/hooks/x.sample part/.git/hooks/post-index-change",
    ),
    (
        "hooks moved",
        "git init -q part; mkdir h; cp hook h/post-index-change; rm -rf part/.git/hooks; mv h part/.git/hooks",
    ),
    (
        "hooks linked",
        "git init -q part; mkdir h; cp hook h/post-index-change; rm -rf part/.git/hooks; ln -s ../../h part/.git/hooks",
    ),
    ("hook linked", "git init -q part; ln -s ../../../hook part/.git/hooks/post-index-change"),
    (
        "hooks first",
        "git init -q part; mv part/.git made; mv made/objects o; rm -rf made/hooks; mkdir made/hooks; \
        cp hook made/hooks/post-index-change; mv o made/objects; mv made part/.git",
    ),
];

/// Prepares a place for one way: settings and a hook that leave a proof, and a repository at the top.
fn prepare(place: &Place, directory: &Path, proof: &Path) {
    let make = |path: &Path, text: String| {
        std::fs::write(path, text).expect("own directory");
        place.give(path);
    };
    std::fs::create_dir(directory).expect("own directory");
    place.give(directory);
    let proof = proof.display();
    let always = "[core]\n\trepositoryformatversion = 0\n\tbare = false\n";
    make(&directory.join("evil"), format!("{always}\tfsmonitor = \"touch {proof}; false\"\n"));
    make(&directory.join("hook"), format!("#!/bin/sh\ntouch {proof}\n"));
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(directory.join("hook"), std::fs::Permissions::from_mode(0o755)).expect("own file");
}

/// What a person does on the host: looks at every repository that there may be, and at the one at the top with its submodules.
fn look(place: &Place, directory: &Path) {
    let script = "git init -q . 2>/dev/null; git update-index --add --cacheinfo 160000,1111111111111111111111111111111111111111,part; \
        git status; for d in part bare; do [ -d $d ] && (cd $d; git status; git -c core.bare=false --work-tree=. status; \
        echo x > new; git add new); done; git status; true";
    let mut shell = place.host("sh");
    let _ = shell.args(["-c", script]).current_dir(directory).output();
}

fn repositories(trial: &mut Trial) {
    for (number, (way, script)) in WAYS.iter().enumerate() {
        // First without a jail: this way must lead somewhere, or it proves nothing.
        let (control, proven) =
            (trial.place.outside.join(format!("c{number}")), trial.place.outside.join(format!("p{number}")));
        prepare(&trial.place, &control, &proven);
        let _ = trial.place.host("bash").args(["-c", script]).current_dir(&control).output();
        look(&trial.place, &control);
        trial.allow(&format!("without a jail: {way}"), proven.exists(), "git ran nothing");
        let (name, proof) = (format!("w{number}"), trial.place.outside.join(format!("x{number}")));
        let directory = trial.place.workspace.join(&name);
        prepare(&trial.place, &directory, &proof);
        let ran = trial.jail().bash(&format!("cd {name}; {script}"));
        look(&trial.place, &directory);
        trial.deny(&format!("git on the host: {way}"), !proof.exists(), ran.whole());
    }
}

/// The same below the `.git` of the workspace itself, where settings of submodules are kept by their paths.
fn below_the_top(trial: &mut Trial) {
    let (top, proof) = (trial.place.workspace.join("top"), trial.place.outside.join("top"));
    prepare(&trial.place, &top, &proof);
    trial.place.make_repository();
    let part = "cp top/evil m/part/config; mkdir m/part/objects; echo 'ref: refs/heads/main' > m/part/HEAD";
    let led = "mkdir part; echo 'gitdir: ../.git/modules/part' > part/.git";
    for (number, script) in [
        format!("mkdir -p m/part; {part}; mv m .git/modules; mkdir .git/modules/part/refs; {led}"),
        format!("mkdir -p m/part; {part}; mkdir .git/modules; mv m/part .git/modules/part; mkdir .git/modules/part/refs; {led}"),
        format!("mkdir -p m/part/refs .git/modules; {part}; mv m/part .git/modules/part; {led}"),
        "git worktree add -q tree; git config extensions.worktreeConfig true; cp top/evil .git/worktrees/tree/config.worktree; \
         cp top/evil .git/config.worktree"
            .to_owned(),
    ]
    .iter()
    .enumerate()
    {
        let ran = trial.jail().bash(&format!("{script}; ls -d .git"));
        look(&trial.place, &trial.place.workspace.clone());
        let _ = trial.place.host("git").args(["-C", "tree", "status"]).output();
        trial.deny(&format!("below the top, {number}"), !proof.exists(), ran.whole());
        let _ = trial.place.host("rm").args(["-rf", "m", "part", ".git/modules"]).output();
    }
    let script = "git() { command git -c user.name=x -c user.email=x@example.org -c protocol.file.allow=always \"$@\"; }; \
        git rm -q --cached part; git clone -q . source && git submodule --quiet add \"$PWD/source\" part && cat .git/modules/part/config part/.git";
    let ran = trial.jail().bash(script);
    trial.allow("a submodule", ran.text().ends_with("gitdir: ../.git/modules/part"), ran.whole());
    let fsmonitor = format!("touch {}; false", proof.display());
    trial.place.host_run(["git", "-C", "part", "config", "core.fsmonitor", &fsmonitor]);
    look(&trial.place, &trial.place.workspace.clone());
    trial.allow("the same set by the host", proof.exists(), "git ran nothing");
}

fn behind(trial: &mut Trial) {
    trial.place.make_repository();
    trial.place.mkdir("bare/objects");
    let before = trial.place.read(".git/config");
    let mut wishes: Vec<Wish> = Vec::new();
    for how in ["settings-while-open", "settings-while-mapped"] {
        wishes.push(denied(format!("{how} .git/config.lock .git/config"), NO));
        wishes.push(works(format!("{how} lock ordinary")));
        wishes.push(works(format!("{how} bare/lock bare/config")));
        wishes.push(denied("mkdir bare/refs", NO));
        wishes.push(works("unlink bare/config"));
    }
    wishes.push(denied("settings .git/config.lock .git/config", NO));
    trial.attack_all(wishes);
    trial.host_has(".git/config", before.as_deref());
    trial.attack([
        works("mkdir made"),
        works("mkdir made/objects"),
        works("mkdir made/refs"),
        works("settings made/lock made/config"),
        denied("settings-while-open made/lock made/config", NO),
        denied("append made/config", NO),
        denied("truncate made/config", NO),
        denied("link made/config made/out", NO),
        says("settings-race made/lock made/config", "evil=0 moved=some"),
    ]);
    // Two jails on one workspace, each with a broker of its own.
    trial.place.mkdir("made");
    let other = trial.jail();
    let mut writer = other.command(["./attack", "settings-write made/lock"]);
    let writer = writer.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary can be executed");
    trial.attack([says("settings-move made/lock made/config", "evil=0 moved=some")]);
    let wrote = trial.jail().finish(writer).text();
    trial.allow("the other jail", wrote.ends_with("written=some"), wrote);
    let evil = trial.place.read("made/config").is_some_and(|text| text.contains("harmful"));
    trial.deny("settings that two jails raced for", !evil, "they are evil");
}

/// A repository in the workspace that nobody uses, as in the tests of many programs, and its settings run something.
fn dormant(trial: &mut Trial) {
    trial.place.make_repository();
    let proof = trial.place.outside.join("executed");
    let evil = format!("[core]\n\trepositoryformatversion = 0\n\tfsmonitor = \"touch {}; false\"\n", proof.display());
    trial.place.write("tests/evil/config", evil);
    trial.place.write("tests/evil/HEAD", "ref: refs/heads/main\n");
    trial.place.mkdir("tests/evil/objects");
    trial.place.mkdir("tests/evil/refs");
    trial.place.mkdir("part");
    for script in [
        "echo 'gitdir: ../tests/evil' > part/.git",
        "ln -s ../tests/evil part/.git",
        "mv tests/evil part/.git",
        "mkdir head; echo ../tests/evil > head/commondir",
        "echo x > y; mv y part/.git",
        "git init -q a; mv tests b; mkdir c; echo 'gitdir: ../b/evil' > c/.git; mv b tests; mv a part2",
    ] {
        let ran = trial.jail().bash(script);
        look(&trial.place, &trial.place.workspace.clone());
        trial.deny(script, !proof.exists() && !trial.place.holds("part/.git"), ran.whole());
    }
    std::fs::remove_dir_all(trial.place.workspace.join("tests")).expect("own directory");
    let script = "mkdir part2; git init -q bare; mv bare/.git b; echo 'gitdir: ../b' > part2/.git; git -C part2 status -s; \
        git worktree add -q tree -b tree; ls tree";
    let ran = trial.jail().bash(script);
    trial.allow("work trees where there is no such repository", ran.text().ends_with("README"), ran.whole());
    trial.place.write("part/.git", format!("gitdir: {}\n", trial.place.workspace.join("b").display()));
    trial.place.host_run(["git", "-C", "b", "config", "core.fsmonitor", &format!("touch {}; false", proof.display())]);
    look(&trial.place, &trial.place.workspace.clone());
    trial.allow("a look at such a repository", proof.exists(), "git ran nothing");
}

fn work_trees(trial: &mut Trial) {
    trial.place.make_repository();
    trial.place.host_run(["git", "config", "core.hooksPath", ".myhooks/_"]);
    let script = "git worktree add -q tree -b tree; mkdir -p tree/.myhooks/x; mkdir tree/.myhooks/_; echo x > tree/.myhooks/_/post-index-change; \
        mv tree/.myhooks/x tree/.myhooks/_; mkdir -p y/_; mv y tree/.myhooks2; mv tree/.myhooks2/_ tree/.myhooks/_; \
        mkdir -p part/.myhooks/_; echo x > part/.myhooks/_/pre-commit; echo 'gitdir: ../.git' > part/.git; \
        echo more > tree/README; git -C tree status -s";
    let ran = trial.jail().bash(script);
    trial.allow("a work tree", ran.text().ends_with("M README"), ran.whole());
    trial.deny("hooks in it", !trial.place.holds("tree/.myhooks/_"), ran.whole());
    let led = trial.place.holds("part/.git");
    trial.deny("a directory with such hooks that becomes a work tree", !led, ran.whole());
}
