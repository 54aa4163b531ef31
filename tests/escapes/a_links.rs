//! Links: what is shielded is a file, whatever it is called and however it is reached.

use std::os::unix::fs::{PermissionsExt, chown};

use super::support::account;
use super::trial::{Trial, Wish, denied, works};
use super::{Case, case};

const NO: &str = "EACCES|EROFS|EBUSY|EXDEV|EPERM";
/// What is outside is not there, or not to be opened.
const GONE: &str = "EACCES|ENOENT|EPERM";

/// The cases.
pub const CASES: &[Case] = &[
    case("A2", "a further hard link of a shielded file is shielded, made before or during the run", hard_links),
    case("A3", "a shielded name that is a symbolic link shields what it leads to", symbolic_links),
    case("A4", "openat2 with any flag opens nothing that open does not", every_resolve_flag),
    case("A13", "a symbolic link in the workspace leads nowhere outside of it", links_out),
    case("A14", "a planted link at a shielded path shows and changes nothing of the host", planted_links),
    case(
        "A14o",
        "links to devices, to /proc and to the workspace itself at shielded names do not stop a run",
        odd_links,
    ),
    case("A24", "a linked directory above a shielded path is no way around it", linked_directories),
];

fn hard_links(trial: &mut Trial) {
    trial.place.make_repository();
    trial.place.write(".env", "TOKEN=1\n");
    trial.place.write("plain", "text\n");
    let config = trial.place.read(".git/config");
    trial.place.mkdir("deep/er");
    for (file, alias) in [(".git/config", "config"), (".env", "deep/er/env"), (".git/config", ".git/objects/config")] {
        let at = |name: &str| trial.place.workspace.join(name);
        std::fs::hard_link(at(file), at(alias)).expect("one filesystem");
    }
    trial.attack([
        denied("write config", NO),
        denied("truncate config", NO),
        denied("write .git/objects/config", NO),
        denied("read deep/er/env", GONE),
        denied("write deep/er/env", NO),
        denied("link .git/config new", NO),
        denied("link .env new-env", "EACCES|EROFS|EBUSY|EXDEV|EPERM|ENOENT"),
        denied("link-follow .git/config new", NO),
        denied("link .git/hooks new-hooks", "EACCES|EROFS|EBUSY|EXDEV|EPERM|EISDIR"),
        works("read config"),
        works("link plain further"),
        works("write further"),
        works("read further"),
    ]);
    trial.host_has(".git/config", config.as_deref());
    trial.host_has(".env", Some("TOKEN=1\n"));
    trial.host_has("new", None);
    trial.host_has("new-env", None);
}

fn symbolic_links(trial: &mut Trial) {
    trial.place.write("docs/real.md", "be good\n");
    trial.place.write("docs/other.md", "text\n");
    trial.place.link("docs/real.md", "first.md");
    trial.place.link("first.md", "CLAUDE.md");
    trial.place.write("secrets/env", "TOKEN=1\n");
    trial.place.link("secrets/env", ".env");
    trial.attack([
        denied("write CLAUDE.md", NO),
        denied("write first.md", NO),
        denied("write docs/real.md", NO),
        denied("open-create docs/real.md", NO),
        denied("rename docs/other.md docs/real.md", NO),
        denied("unlink docs/real.md", NO),
        denied("rename docs/real.md moved", NO),
        denied("read .env", GONE),
        denied("read secrets/env", GONE),
        denied("write secrets/env", NO),
        works("read CLAUDE.md"),
        works("write docs/other.md"),
    ]);
    trial.host_has("docs/real.md", Some("be good\n"));
    trial.host_has("secrets/env", Some("TOKEN=1\n"));
}

fn every_resolve_flag(trial: &mut Trial) {
    trial.place.make_repository();
    trial.place.write(".env", "TOKEN=1\n");
    let config = trial.place.read(".git/config");
    let mut wishes: Vec<Wish> = Vec::new();
    // NO_XDEV, NO_MAGICLINKS, NO_SYMLINKS, BENEATH, IN_ROOT, CACHED, and all that go together.
    for resolve in [0u64, 1, 2, 4, 8, 16, 32, 1 | 2 | 4 | 8, 1 | 2 | 4 | 16] {
        for flags in [libc::O_WRONLY, libc::O_WRONLY | libc::O_TRUNC, libc::O_RDWR] {
            // ENOSYS is how the broker has programs take the call that it can judge; ENOENT is `/` of IN_ROOT.
            wishes.push(denied(format!("openat2 .git/config {flags} {resolve}"), "ENOSYS|EACCES|EROFS|EXDEV|EAGAIN"));
        }
        wishes.push(denied(format!("openat2 .env 0 {resolve}"), "ENOSYS|EACCES|EXDEV|EAGAIN"));
        wishes.push(denied(format!("openat2 /.env 0 {resolve}"), "ENOSYS|EACCES|EXDEV|EAGAIN|ENOENT"));
        wishes.push(denied(format!("openat2 ../../etc/shadow 0 {resolve}"), "ENOSYS|EACCES|EXDEV|EAGAIN|ENOENT"));
    }
    wishes.push(works("read .git/config"));
    wishes.push(works("write README"));
    trial.attack_all(wishes);
    trial.host_has(".git/config", config.as_deref());
}

fn links_out(trial: &mut Trial) {
    let secret = trial.place.outside.join("secret");
    std::fs::write(&secret, "secret\n").expect("own directory");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o666)).expect("own file");
    let outside = trial.place.outside.clone();
    trial.place.write("plain", "text\n");
    trial.place.link("/etc/shadow", "shadow");
    trial.place.link(&secret, "secret");
    trial.place.link("../secret", "relative");
    trial.place.link(&outside, "outside");
    trial.place.link(trial.place.account().home.clone(), "home");
    trial.place.link("plain", "inside");
    trial.attack([
        denied("read shadow", GONE),
        denied("read secret", GONE),
        denied("write secret", GONE),
        denied("read relative", GONE),
        denied("write relative", GONE),
        denied("list outside", GONE),
        denied("create outside/new", GONE),
        denied("mkdir outside/new", GONE),
        denied("rename plain outside/new", GONE),
        denied("link plain outside/new", "EACCES|ENOENT|EPERM|EXDEV"),
        denied("symlink plain outside/new", GONE),
        denied("unlink outside/secret", GONE),
        denied("utime outside/secret", "EACCES|ENOENT|EPERM"),
        denied("chmod outside/secret 0o777", "EACCES|ENOENT|EPERM"),
        denied("chmod outside/. 0o777", "EACCES|ENOENT|EPERM"),
        denied("list home", GONE),
        denied("create home/evil", GONE),
        denied(format!("read {}", secret.display()), GONE),
        denied(format!("read /proc/self/root{}", secret.display()), GONE),
        denied(format!("read /proc/self/cwd/..{}", "/secret"), GONE),
        works("read inside"),
        works("write inside"),
    ]);
    let now = std::fs::read_to_string(&secret).unwrap_or_default();
    trial.deny("the secret outside", now == "secret\n", now);
    trial.deny("a new file outside", !outside.join("new").exists(), "it is there");
}

/// Puts a secret into the home of the one who asks, so that a planted link has somewhere to lead.
fn planted_links(trial: &mut Trial) {
    let secret = trial.place.outside.join("private");
    std::fs::create_dir(&secret).expect("own directory");
    std::fs::write(secret.join("key"), "PRIVATEKEY\n").expect("own directory");
    let owner = trial.place.account();
    for path in [secret.clone(), secret.join("key")] {
        chown(path, Some(owner.uid), Some(owner.gid)).expect("root gives, others give to themselves");
    }
    let key = secret.join("key");
    trial.place.write("plain", "text\n");
    trial.place.link(&secret, ".claude");
    trial.place.link(&key, "CLAUDE.md");
    trial.place.link(&key, ".env");
    trial.place.link(&secret, ".github");
    trial.place.link("/etc", ".vscode");
    trial.place.mkdir(".git");
    trial.place.link(&secret, ".git/hooks");
    trial.place.link("loop", "loop");
    trial.place.link("loop", "SOUL.md");
    let before = account::own().uid;
    let program = trial.arm();
    let operations = [
        "read .claude/key",
        "read CLAUDE.md",
        "read .env",
        "read .github/key",
        "list .vscode",
        "list .git/hooks",
        "create .claude/new",
        "create .git/hooks/new",
        "write CLAUDE.md",
        "read plain",
        "write plain",
    ];
    let ran = trial.jail().run(std::iter::once(program.as_str()).chain(operations));
    // To refuse such a workspace is as good as to run in it and show nothing.
    if matches!(ran.code, Some(125 | 126)) {
        trial.deny(
            "a workspace full of planted links",
            ran.stdout.is_empty() && ran.own_lines().len() <= 2,
            ran.whole(),
        );
        let clean = trial.jail().option("--workspace").option(trial.place.outside.join("other"));
        std::fs::create_dir(trial.place.outside.join("other")).expect("own directory");
        chown(trial.place.outside.join("other"), Some(owner.uid), Some(owner.gid))
            .expect("root gives, others to themselves");
        let ran = clean.run(["true"]);
        trial.allow("one without", ran.code == Some(0), ran.whole());
        return;
    }
    let mut wishes: Vec<Wish> = operations[..9]
        .iter()
        .map(|operation| match *operation {
            // The jail's own /etc is no secret.
            "list .vscode" => works(*operation),
            other => denied(other, "EACCES|ENOENT|EPERM|EROFS|ELOOP|EXDEV"),
        })
        .collect();
    if !trial.tier.has_namespaces() {
        wishes.retain(|wish| !wish.is("list .vscode"));
    }
    wishes.extend([works("read plain"), works("write plain")]);
    trial.judge(&ran, &wishes);
    let key = std::fs::read_to_string(secret.join("key")).unwrap_or_default();
    trial.deny("the key on the host", key == "PRIVATEKEY\n", format!("{key}, asked by {before}"));
    trial.deny("a new file beside the key", !secret.join("new").exists(), "it is there");
}

/// Such links come with real repositories (`.envrc -> /dev/null` says "not here") and with hostile ones.
fn odd_links(trial: &mut Trial) {
    for (path, target) in
        [(".envrc", "/dev/null"), ("memory", "/proc/self/root"), (".vscode", "."), (".idea", "/proc/self/fd/0")]
    {
        trial.place.link(target, path);
        let ran = trial.jail().bash("cat /etc/shadow; ls memory/root; echo ran");
        // Fail or run: never show.
        trial.deny(&format!("{path} -> {target}"), !ran.text().contains("root:") && !ran.hung, ran.whole());
        trial.allow(&format!("{path} -> {target}"), ran.text() == "ran", ran.whole());
        std::fs::remove_file(trial.place.workspace.join(path)).expect("own file");
    }
}

fn linked_directories(trial: &mut Trial) {
    trial.place.make_repository();
    trial.place.link(".git", "git");
    trial.place.mkdir("real/sub");
    trial.place.link("../.git/hooks", "real/hooks");
    trial.attack([
        denied("create git/hooks/pre-commit", NO),
        denied("write git/config", NO),
        denied("create real/hooks/pre-commit", NO),
        denied("rename README git/hooks/pre-commit", NO),
        denied("create /proc/self/cwd/.git/hooks/pre-commit", "EACCES|EROFS|EPERM|ENOENT"),
        denied("create ././/.git//hooks///pre-commit", NO),
        works("create real/sub/pre-commit"),
        works("create git/objects/new"),
    ]);
    trial.host_has(".git/hooks/pre-commit", None);
}
