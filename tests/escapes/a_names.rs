//! Protected and hidden names: made, moved, replaced, or moved with a directory above them.

use super::support::slowness;
use super::trial::{Trial, Wish, denied, works};
use super::{Case, case};

/// A mount, a read-only mount, Landlock, the broker: each says no in its own way.
const NO: &str = "EACCES|EROFS|EBUSY|EXDEV|EPERM";

/// The cases.
pub const CASES: &[Case] = &[
    case("A1", "a protected file can be neither replaced nor moved away, by any kind of rename", renames),
    case("A5", "a path that changes under the check makes no protected name", flips),
    case("A6", "a protected file can be neither truncated nor removed", truncation),
    case("A7", "no process can change what `/` means", chroots),
    case("A8", "no directory above a protected path can be moved away or replaced", ancestors),
    case("A9", "a protected name that did not exist cannot be made", absent),
    case("A12", "a pattern covers names of every shape", patterns),
    case("A17", "no device can be made, and no set-id bit given", devices),
    case("A17s", "no way of making a file gives it a set-id bit", set_id_files),
    case("A23", "a name that only begins like a protected one is free", neighbours),
];

const RENAMES: [&str; 4] = ["rename", "renameat", "renameat2", "noreplace"];

fn renames(trial: &mut Trial) {
    trial.place.make_repository();
    trial.place.write("evil", "evil\n");
    trial.place.write(".env", "TOKEN=1\n");
    let config = trial.place.read(".git/config");
    let mut wishes = Vec::new();
    for how in RENAMES {
        wishes.push(denied(format!("{how} evil .git/hooks/pre-commit"), NO));
        // With NOREPLACE the kernel may notice first that there is something.
        wishes.push(denied(format!("{how} evil .git/config"), "EACCES|EROFS|EBUSY|EXDEV|EPERM|EEXIST"));
        wishes.push(denied(format!("{how} .git/config stolen"), NO));
        wishes.push(denied(format!("{how} .git/hooks stolen"), NO));
        wishes.push(denied(format!("{how} .env stolen"), NO));
        wishes.push(denied(format!("{how} evil CLAUDE.md"), NO));
    }
    wishes.push(denied("exchange evil .git/config", NO));
    wishes.push(denied("exchange .git/config evil", NO));
    wishes.push(denied("exchange .env evil", NO));
    wishes.push(denied("whiteout evil stolen", "EACCES|EPERM|EINVAL|EXDEV"));
    for (number, how) in RENAMES.iter().enumerate() {
        let name = |number: usize| if number == 0 { "README".to_owned() } else { format!("free{number}") };
        wishes.push(works(format!("{how} {} {}", name(number), name(number + 1))));
    }
    wishes.push(works("exchange evil free4"));
    trial.attack_all(wishes);
    trial.host_has(".git/config", config.as_deref());
    trial.host_has(".git/hooks/pre-commit", None);
    trial.host_has(".env", Some("TOKEN=1\n"));
    trial.host_has("stolen", None);
    trial.host_has("CLAUDE.md", None);
}

fn flips(trial: &mut Trial) {
    let program = trial.arm();
    let race = format!("race .envrc .envrd {}", 100_000 / slowness());
    let ran = trial.jail().patient(60).run([program.as_str(), &race, "create plain"]);
    trial.judge(&ran, &[works(&race), works("create plain")]);
    trial.host_has(".envrc", None);
    let answer = ran.text();
    let made = answer.split("made=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or("0");
    trial.allow("the free name was made now and then", made != "0", &answer);
}

fn truncation(trial: &mut Trial) {
    trial.place.make_repository();
    trial.place.write(".env", "TOKEN=1\n");
    trial.place.write("CLAUDE.md", "be good\n");
    trial.place.write("plain", "text\n");
    trial.place.mkdir("empty");
    let config = trial.place.read(".git/config");
    let mut wishes: Vec<Wish> = Vec::new();
    for name in [".git/config", ".env", "CLAUDE.md"] {
        for how in ["truncate", "open-trunc", "creat", "unlink", "write", "append"] {
            wishes.push(denied(format!("{how} {name}"), NO));
        }
        wishes.push(denied(format!("ftruncate-path {name}"), "EBADF|EINVAL|EACCES"));
        wishes.push(denied(format!("write-by-descriptor {name}"), "EACCES|EROFS|ENOENT|EPERM"));
        wishes.push(denied(format!("chmod {name} 0o777"), "EACCES|EROFS|EPERM"));
    }
    wishes.push(denied("rmdir .git/hooks", "EACCES|EROFS|EBUSY|EPERM|ENOTEMPTY"));
    wishes.push(denied("unlink .git/hooks", "EACCES|EROFS|EBUSY|EPERM|EISDIR"));
    for how in ["write", "append", "truncate", "open-trunc", "creat", "unlink"] {
        wishes.push(works(format!("{how} plain")));
    }
    wishes.push(works("rmdir empty"));
    trial.attack_all(wishes);
    trial.host_has(".git/config", config.as_deref());
    trial.host_has(".env", Some("TOKEN=1\n"));
    trial.host_has("CLAUDE.md", Some("be good\n"));
    trial.allow("the hooks are still there", trial.place.holds(".git/hooks"), "they are gone");
}

fn chroots(trial: &mut Trial) {
    trial.place.mkdir("root");
    trial.attack([
        denied(format!("call-with-path {} root", libc::SYS_chroot), "EPERM"),
        denied(format!("call-with-path {} root", libc::SYS_pivot_root), "EPERM"),
        works(format!("call-with-path {} root", libc::SYS_chdir)),
    ]);
}

fn ancestors(trial: &mut Trial) {
    trial.place.make_repository();
    trial.place.write(".github/copilot-instructions.md", "be good\n");
    trial.place.write(".claude/settings.json", "{}\n");
    trial.place.write("plain/file", "text\n");
    trial.place.write("other/file", "text\n");
    let mut wishes = Vec::new();
    for directory in [".git", ".github", ".claude", ".git/hooks"] {
        for how in RENAMES {
            wishes.push(denied(format!("{how} {directory} moved"), NO));
        }
        wishes.push(denied(format!("exchange {directory} plain"), NO));
        wishes.push(denied(format!("exchange plain {directory}"), NO));
        wishes.push(denied(format!("rmdir {directory}"), "EACCES|EROFS|EBUSY|EPERM|ENOTEMPTY"));
    }
    wishes.push(works("exchange plain other"));
    wishes.push(works("rename plain moved"));
    wishes.push(works("renameat2 moved plain"));
    trial.attack_all(wishes);
    trial.host_has(".claude/settings.json", Some("{}\n"));
    trial.host_has(".github/copilot-instructions.md", Some("be good\n"));
    trial.host_has("moved", None);
}

fn absent(trial: &mut Trial) {
    trial.place.write("prepared/hooks/pre-commit", "evil\n");
    trial.place.write("prepared/config", "evil\n");
    trial.place.write("file", "evil\n");
    let mut wishes = Vec::new();
    for name in [".mcp.json", ".envrc", "CLAUDE.md", "SOUL.md", ".env", ".bashrc", "openclaw.json"] {
        for how in ["create", "open-create", "creat", "mkdir"] {
            wishes.push(denied(format!("{how} {name}"), NO));
        }
        wishes.push(denied(format!("symlink file {name}"), NO));
        wishes.push(denied(format!("link file {name}"), NO));
        wishes.push(denied(format!("rename file {name}"), NO));
        wishes.push(denied(format!("tmpfile-link . {name}"), "EACCES|EXDEV|EPERM|ENOENT"));
        wishes.push(denied(format!("mknod {name} {} 0", libc::S_IFREG | 0o644), NO));
    }
    for name in [".claude", ".vscode", ".openclaw", "memory", "skills", ".idea"] {
        wishes.push(denied(format!("mkdir {name}"), NO));
        wishes.push(denied(format!("mkdir {name}/"), NO));
        wishes.push(denied(format!("mkdir ./prepared/../{name}"), NO));
        wishes.push(denied(format!("symlink prepared {name}"), NO));
        wishes.push(denied(format!("rename prepared {name}"), NO));
    }
    wishes.push(denied("symlink prepared .git", NO));
    wishes.push(denied("create .git", NO));
    wishes.push(denied("rename prepared .git", NO));
    wishes.push(works("mkdir .git"));
    wishes.push(denied("create .git/config", NO));
    wishes.push(denied("rename prepared/hooks .git/hooks", NO));
    wishes.push(denied("symlink ../prepared/hooks .git/hooks", NO));
    // git makes the directory itself, with samples in it.
    wishes.push(works("mkdir .git/hooks"));
    wishes.push(works("create .git/hooks/pre-commit.sample"));
    wishes.push(denied("create .git/hooks/pre-commit", NO));
    wishes.push(denied("rename .git/hooks/pre-commit.sample .git/hooks/pre-commit", NO));
    wishes.push(works("mkdir .git/objects"));
    wishes.push(works("create .mcp.jso"));
    wishes.push(works("mkdir memory2"));
    wishes.push(works("symlink memory2 linked"));
    wishes.push(denied("create linked/../.mcp.json", NO));
    wishes.push(works("mkdir sub"));
    wishes.push(works("symlink .. sub/up"));
    wishes.push(denied("create sub/up/.mcp.json", NO));
    wishes.push(works("symlink .mcp.json dangling"));
    wishes.push(denied("open-create dangling", NO));
    wishes.push(works("rename prepared free"));
    trial.attack_all(wishes);
    let hook = ".git/hooks/pre-commit";
    for name in [".mcp.json", ".claude", ".vscode", ".envrc", "CLAUDE.md", ".env", hook, ".git/config", "memory"] {
        trial.host_has(name, None);
    }
}

fn patterns(trial: &mut Trial) {
    trial.place.write(".env.old.local", "TOKEN=1\n");
    trial.place.write(".env.a\nb.local", "TOKEN=2\n");
    trial.place.write(".env.example", "TOKEN=\n");
    trial.attack([
        denied("read .env.old.local", "EACCES|EPERM"),
        denied("read .env.a%0ab.local", "EACCES|EPERM"),
        denied("unlink .env.old.local", NO),
        denied("create .env.new.local", NO),
        denied("create .env.new%0aline.local", NO),
        denied("create .env.%ff.local", NO),
        works("read .env.example"),
        works("create .env.new"),
        works("create env.new.local"),
    ]);
    trial.host_has(".env.new.local", None);
    trial.host_has(".env.old.local", Some("TOKEN=1\n"));
}

fn devices(trial: &mut Trial) {
    trial.place.write("own", "text\n");
    let disk = (8 << 8) | 1;
    let mut wishes = vec![
        denied(format!("mknod disk {} {disk}", libc::S_IFBLK | 0o666), "EPERM|EACCES"),
        denied(format!("mknod memory {} {}", libc::S_IFCHR | 0o666, (1 << 8) | 1), "EPERM|EACCES"),
        denied(format!("mknod null {} {}", libc::S_IFCHR | 0o666, (1 << 8) | 3), "EPERM|EACCES"),
        denied(format!("mknod /tmp/disk {} {disk}", libc::S_IFBLK | 0o666), "EPERM|EACCES|ENOENT"),
        works(format!("mknod pipe {} 0", libc::S_IFIFO | 0o644)),
        works(format!("mknod plain {} 0", libc::S_IFREG | 0o644)),
        works("create mine"),
        works("chmod mine 0o755"),
        denied("chmod mine 0o4755", "EPERM"),
        denied("chmod mine 0o2755", "EPERM"),
    ];
    wishes.push(denied("call-with-path 90 mine 0o6755", "EPERM"));
    trial.attack_all(wishes);
    trial.host_has("disk", None);
    trial.host_has("memory", None);
}

/// A file with such a bit gives its owner's identity to whoever executes it on the host.
fn set_id_files(trial: &mut Trial) {
    use std::os::unix::fs::MetadataExt;
    let write_only = "summary = \"Test.\"\nextends = \"base\"\n[workspace]\naccess = \"rw\"\n\
        [filesystem]\nread = [\"@system\"]\nexecute = [\"@system\", \"@workspace\"]\n\
        [require]\nlimits = \"partial\"\n";
    let mut profiles = vec!["untrusted".to_owned()];
    if !trial.tier.as_root() {
        // One without anything to shield, so that no broker makes its names.
        profiles.push(trial.place.token.clone());
        trial.place.write_profile(&trial.place.token, write_only);
    }
    for profile in &profiles {
        let program = trial.arm();
        let makers = [
            "create-with-mode f1 0o4755".to_owned(),
            "create-with-mode f2 0o2755".to_owned(),
            "openat2-with-mode f3 0o4755".to_owned(),
            format!("mknod f4 {} 0", libc::S_IFREG | 0o4755),
            "create-with-mode f5 0o644".to_owned(),
            "chmod f5 0o4755".to_owned(),
            "create plain".to_owned(),
        ];
        let ran = trial.jail().profile(profile).run(std::iter::once(&program).chain(&makers));
        trial.judge(&ran, &[works("create plain"), denied("chmod f5 0o4755", "EPERM")]);
        for name in ["f1", "f2", "f3", "f4", "f5", "plain"] {
            let path = trial.place.workspace.join(name);
            let mode = std::fs::metadata(&path).map_or(0, |about| about.mode());
            trial.deny(&format!("{name} under {profile}"), mode & 0o6000 == 0, format!("{mode:o}"));
            let _ = std::fs::remove_file(path);
        }
    }
    trial.place.remove_profile(&trial.place.token);
}

fn neighbours(trial: &mut Trial) {
    trial.place.write(".env", "TOKEN=1\n");
    trial.place.write(".envfoo", "text\n");
    trial.place.write(".git/config", "[core]\n");
    trial.place.write(".git/configfoo", "text\n");
    trial.place.write("sub/.env", "text\n");
    trial.attack([
        denied("read .env", "EACCES|EPERM"),
        works("read .envfoo"),
        works("write .envfoo"),
        works("read sub/.env"),
        denied("write .git/config", NO),
        works("read .git/config"),
        works("write .git/configfoo"),
        works("mkdir .git/hooksfoo"),
        works("create .git/hooksfoo/pre-commit"),
        works("create MEMORY.md.bak"),
        denied("create MEMORY.md", NO),
        works("create xMEMORY.md"),
        works("mkdir memories"),
    ]);
}
