//! Real tools at real work.

use super::*;

fn works(place: &Place, profile: &str, script: &str, last: &str) {
    let ran = Jail::new(place).profile(profile).patient(60).bash(&format!("set -e\n{script}"));
    assert!(ran.code == Some(0) && ran.text().ends_with(last), "{}", ran.whole());
}

#[test]
fn git_commits_branches_merges_and_stashes() {
    in_every_tier(|place| {
        if !has("git") {
            return;
        }
        place.make_repository();
        let script = "git() { command git -c user.name=x -c user.email=x@example.org \"$@\"; }\n\
            git status --short; echo more >> README; git add README; git commit -qm second; git checkout -q -b side; \
            echo side > side; git add side; git commit -qm side; git checkout -q main; git merge -q side; git rm -q side; \
            git commit -qm removed; echo dirty > README; git stash -q; git stash pop -q; git checkout -q README; git tag v1; \
            git gc -q; git fsck 2>/dev/null; git log --oneline | wc -l";
        works(place, "untrusted", script, "4");
        place.host_run(["git", "status", "--porcelain"]);
        assert!(!place.holds(".git/index.lock"));
    });
}

#[test]
fn git_clones_a_local_repository_and_makes_worktrees_and_submodules() {
    in_every_tier(|place| {
        if !has("git") {
            return;
        }
        place.make_repository();
        let script = "git() { command git -c user.name=x -c user.email=x@example.org -c protocol.file.allow=always \"$@\"; }\n\
            git clone -q . clone; cd clone; \
            git worktree add -q ../tree; cd ../tree; echo x > x; git add x; git commit -qm x; cd ../clone; \
            git branch | wc -l";
        works(place, "untrusted", script, "2");
    });
}

/// What `.git/config` and those of submodules say on the host afterwards.
fn settings(place: &Place, key: &str) -> String {
    let output = place.host("git").args(["config", "--get", key]).output().expect("git is there");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

#[test]
fn git_remembers_names_remotes_and_what_branches_follow() {
    in_every_tier(|place| {
        if !has("git") {
            return;
        }
        place.make_repository();
        place.host_run(["git", "init", "--quiet", "--bare", "elsewhere.git"]);
        let script = "git config user.name 'A B'; git remote add up ./elsewhere.git; git remote add other https://example.org/x.git; \
            git push -q -u up main 2>/dev/null; git branch side; git branch -q --set-upstream-to=main side; git branch -m side far; \
            git remote rename other another; git remote set-url another git@example.org:a/b.git; git config pull.rebase true; \
            git remote remove another; git sparse-checkout set d; git sparse-checkout disable; git fetch -q up; git status -sb | head -1";
        works(place, "untrusted", script, "## main...up/main");
        assert_eq!(settings(place, "user.name"), "A B");
        assert_eq!(settings(place, "remote.up.url"), "./elsewhere.git");
        assert_eq!(settings(place, "branch.main.remote"), "up");
        assert_eq!(settings(place, "branch.far.merge"), "refs/heads/main");
        assert_eq!(settings(place, "remote.another.url"), "");
        place.host_run(["git", "status", "--porcelain"]);
        assert!(!place.holds(".git/config.lock"));
    });
}

#[test]
fn git_adds_updates_and_moves_submodules() {
    in_every_tier(|place| {
        if !has("git") {
            return;
        }
        place.make_repository();
        place.host_run(["git", "clone", "--quiet", ".", "../part"]);
        place.host_run(["git", "-C", "../part", "remote", "remove", "origin"]);
        place.host_run(["cp", "-r", "../part", "source"]);
        let script = "git() { command git -c user.name=x -c user.email=x@example.org -c protocol.file.allow=always \"$@\"; }\n\
            git submodule --quiet add \"$PWD/source\" part; git commit -qm part; echo more > part/README; git -C part commit -qam more; \
            git -C part config user.name y; git add part; git commit -qm moved; git mv part deep; git commit -qm deep; \
            git submodule --quiet deinit -f deep; git submodule --quiet update --init; git submodule --quiet sync; cat deep/README; \
            git clone -q . again; cd again; git submodule --quiet init; git config submodule.part.url > /dev/null; git submodule | wc -l";
        works(place, "untrusted", script, "more\n1");
        assert_eq!(settings(place, "submodule.part.active"), "true");
        let listed = place.host_run(["git", "submodule", "status"]);
        assert!(String::from_utf8_lossy(&listed.stdout).contains(" deep "), "{listed:?}");
        place.host_run(["git", "-C", "deep", "status", "--porcelain"]);
    });
}

#[test]
fn git_begins_repositories_at_the_top_and_below() {
    in_every_tier(|place| {
        if !has("git") {
            return;
        }
        let script = "git init -q -b main .; git config user.name x; git config user.email x@example.org; echo 1 > a; git add a; \
            git commit -qm 1; git init -q below; git init -q --bare bare.git; git push -q ./bare.git main 2>/dev/null; \
            git init -q --separate-git-dir kept.git linked; git -C linked status -s; git clone -q --mirror . mirror.git; \
            git -C bare.git log --oneline main | wc -l; rm -rf below bare.git mirror.git linked kept.git; git status -s; \
            git worktree add -q tree; git worktree move tree moved; git -C moved status -s; git worktree remove moved; \
            ls .git/hooks | grep -vc sample || true; git config core.filemode";
        works(place, "untrusted", script, "1\n0\ntrue");
        place.host_run(["git", "status", "--porcelain"]);
        // The next run begins with what this one left, and what this one made cannot be removed any more.
        works(
            place,
            "untrusted",
            "git config user.name y; rm -rf .git/config 2>/dev/null || git config user.name",
            "y",
        );
    });
}

#[test]
fn files_are_written_by_every_way_that_opens_them() {
    in_every_tier(|place| {
        place.write("file", "0123456789\n");
        let script = "echo a >> file; printf b | dd of=file conv=notrunc bs=1 seek=3 status=none; truncate -s 12 file; cat file; \
            exec 3<> file; echo c >&3; exec 3>&-; echo more | tee -a file > /dev/null; sed -i s/more/less/ file; \
            mkfifo pipe; (sleep 0.1; cat pipe) & echo through > pipe; wait; rm pipe; chmod 600 file; chmod u+x file; \
            (echo out > /dev/stdout) > out; cat out; ln -s file link; echo by >> link; tail -1 file; stat -c %a file; \
            python3 -c \"import tempfile, os; f = tempfile.TemporaryFile(dir='.'); f.write(b'x'); f.seek(0); assert f.read() == b'x'; \
            f = open('file', 'r+'); f.truncate(3); os.fchmod(f.fileno(), 0o640); os.truncate('file', 2)\"; wc -c < file";
        works(place, "untrusted", script, "through\nout\nby\n700\n2");
    });
}

#[test]
fn a_c_program_is_made_and_run() {
    in_every_tier(|place| {
        if !has("gcc") || !has("make") {
            return;
        }
        place.write("hello.c", "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 0; }\n");
        place.write("Makefile", "all: hello\nhello: hello.o\n\tgcc -o $@ $^\n%.o: %.c\n\tgcc -O2 -c -o $@ $<\nclean:\n\trm -f hello hello.o\n");
        works(place, "untrusted", "make -s -j4; ./hello", "hello");
        works(place, "untrusted", "make -s clean; make -s; ./hello", "hello");
    });
}

#[test]
fn python_makes_a_virtual_environment_and_runs_threads_and_processes() {
    in_every_tier(|place| {
        if !has("python3") {
            return;
        }
        let script = "/usr/bin/python3 -m venv --without-pip venv; . venv/bin/activate\n\
            python - <<'END'\nimport sys, json, ssl, sqlite3, subprocess, tempfile, concurrent.futures\n\
            assert sys.prefix != sys.base_prefix\n\
            pool = concurrent.futures.ThreadPoolExecutor(4)\n\
            assert sum(pool.map(lambda n: n * n, range(10))) == 285\n\
            with tempfile.TemporaryDirectory() as d: open(d + '/x', 'w').write('x')\n\
            print(subprocess.check_output(['echo', 'python works'], text=True), end='')\nEND";
        works(place, "untrusted", script, "python works");
    });
}

#[test]
fn processes_share_memory_and_semaphores() {
    // Where there is no view, /dev/shm is the host's and stays closed.
    in_tiers(Tier::has_namespaces, |place| {
        let script = "/usr/bin/python3 - <<'END'\nimport multiprocessing\n\
            with multiprocessing.Pool(3) as pool: print(sum(pool.map(abs, range(-5, 5))))\nEND";
        works(place, "untrusted", script, "25");
    });
}

#[test]
fn npm_runs_the_tests_of_a_small_package() {
    in_every_tier(|place| {
        if !has("node") || !has("npm") {
            return;
        }
        place.write(
            "package.json",
            r#"{"name":"small","version":"1.0.0","scripts":{"test":"node test.js"},"dependencies":{"dep":"1.0.0"}}"#,
        );
        place.write("node_modules/dep/package.json", r#"{"name":"dep","version":"1.0.0","main":"index.js"}"#);
        place.write("node_modules/dep/index.js", "module.exports = () => 'dep works'\n");
        place.write("test.js", "const fs = require('fs'); fs.writeFileSync('out', require('dep')()); fs.promises.readFile('out', 'utf8').then(t => { fs.unlinkSync('out'); console.log(t) })\n");
        works(place, "untrusted", "npm test --silent --offline", "dep works");
        works(
            place,
            "untrusted",
            "node -e 'new (require(\"worker_threads\").Worker)(\"console.log(1+1)\", {eval: true})'",
            "2",
        );
    });
}

#[test]
fn cargo_builds_a_small_crate_without_a_network() {
    in_every_tier(|place| {
        let home = &place.account().home;
        if !home.join(".cargo/bin/cargo").exists() {
            return say_skipped(&format!(
                "cargo in tier {}: not installed for {}",
                place.tier.name(),
                place.account().name
            ));
        }
        place.write("Cargo.toml", "[package]\nname = \"small\"\nversion = \"0.1.0\"\nedition = \"2021\"\n");
        place.write(
            "src/main.rs",
            "fn main() { println!(\"cargo works\"); }\n#[test]\nfn it_adds() { assert_eq!(1 + 1, 2); }\n",
        );
        works(
            place,
            "offline",
            "cargo build -q --offline; cargo test -q --offline >/dev/null; ./target/debug/small",
            "cargo works",
        );
    });
}

#[test]
fn archives_databases_and_keys_are_made() {
    in_every_tier(|place| {
        place.write("data/a", "a\n");
        place.write("data/b", "b\n");
        let script = "tar czf data.tgz data; rm -r data; tar xzf data.tgz; cat data/a data/b; rm data.tgz";
        if place.tier.has_namespaces() {
            works(place, "untrusted", script, "a\nb");
        } else {
            let ran = Jail::new(place).bash(&format!("set -e; {script}"));
            known_gap(
                "tar in the bare tier",
                "times and owners by path are denied there, and nobody sets them instead",
                &ran,
            );
        }
        if has("sqlite3") {
            let script = "for i in 1 2 3; do sqlite3 base.db 'create table if not exists t (n); pragma journal_mode=wal; insert into t values (1);' >/dev/null; done; sqlite3 base.db 'select count(*) from t'";
            works(place, "untrusted", script, "3");
        }
        // Without a view there is no /etc/passwd of the jail's own, and the host's is not granted.
        if place.tier.has_namespaces() && has("ssh-keygen") {
            works(place, "untrusted", "ssh-keygen -q -t ed25519 -N '' -f key; ssh-keygen -l -f key.pub | wc -l", "1");
        }
    });
}

#[test]
fn ordinary_shell_work_goes_as_it_does_outside() {
    in_every_tier(|place| {
        let script = "for i in 1 2 3; do echo $i; done | sort -r | head -1 | tee out; find . -name out; \
            cp out copy; mv copy moved; ln moved hard; cmp out hard; mkdir -p a/b/c; rmdir a/b/c; cat <<< here; \
            (cd a && pwd >/dev/null); diff <(echo 1) <(echo 1); date +%Y >/dev/null; mktemp -d >/dev/null; \
            exec 5>five; echo 5 >&5; exec 5>&-; cat five; ( exit 3 ) || echo $?";
        works(place, "untrusted", script, "5\n3");
    });
}
