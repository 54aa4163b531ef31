//! What decides: profiles of the owner, never the workspace, the environment, or who listens.

use std::process::Stdio;

use super::support::place::{Place, clawjail};
use super::support::tier::Tier;
use super::trial::{Trial, denied, works};
use super::{Case, case};

/// The cases.
pub const CASES: &[Case] = &[
    case("D4", "no variable that makes programs run code gets in, by any way", hooks),
    case("D5", "a command cannot start a weaker jail, or change the one it is in", jail_in_jail),
    case("D6", "a profile in the workspace is never read", profile_in_workspace),
    case("D7", "confinement does not depend on what stdin, stdout and stderr are", streams),
    case("D8", "a tier that cannot be had is refused, not replaced", missing_tier),
    case("D9", "a profile that is missing or wrong is refused with one line, and nothing runs", bad_profiles),
    case("D12", "no profile name becomes a path", names),
    case("D14", "the verdict's findings come from probes", proof),
];

fn hooks(trial: &mut Trial) {
    let corpus = [
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "LD_AUDIT",
        "BASH_ENV",
        "ENV",
        "SHELLOPTS",
        "BASHOPTS",
        "PS4",
        "PROMPT_COMMAND",
        "FPATH",
        "KSH_ENV",
        "ZDOTDIR",
        "TCLLIBPATH",
        "NODE_OPTIONS",
        "NODE_PATH",
        "PYTHONSTARTUP",
        "PYTHONPATH",
        "PYTHONHOME",
        "PERL5OPT",
        "PERL5LIB",
        "RUBYOPT",
        "RUBYLIB",
        "JAVA_TOOL_OPTIONS",
        "_JAVA_OPTIONS",
        "GIT_SSH_COMMAND",
        "GIT_EXTERNAL_DIFF",
        "GIT_PAGER",
        "GIT_EDITOR",
        "GIT_CONFIG_COUNT",
        "GIT_CONFIG_GLOBAL",
        "GIT_ASKPASS",
        "GIT_EXEC_PATH",
        "GIT_TEMPLATE_DIR",
        "PAGER",
        "EDITOR",
        "LESSOPEN",
        "GCONV_PATH",
        "GLIBC_TUNABLES",
        "BASH_FUNC_ls%%",
        "RUSTC_WRAPPER",
        "MAKEFLAGS",
    ];
    let mut jail = trial.jail().environment("LANG", "C.UTF-8").environment("SECRET_TOKEN", "s3cret");
    for name in corpus {
        jail = jail.environment(name, "/tmp/evil");
    }
    let ran = jail.run(["env"]);
    let found: Vec<&str> =
        corpus.into_iter().filter(|name| ran.text().lines().any(|line| line == format!("{name}=/tmp/evil"))).collect();
    trial.deny("what is inherited", found.is_empty() && !ran.text().contains("s3cret"), format!("{found:?}"));
    trial.allow("what the profile passes", ran.text().contains("LANG=C.UTF-8"), ran.whole());
    for name in corpus {
        for option in [["--env".to_owned(), format!("{name}=/tmp/evil")], ["--pass".to_owned(), name.to_owned()]] {
            let ran = trial.jail().environment(name, "/tmp/evil").option(&option[0]).option(&option[1]).run(["env"]);
            trial.refused(&option.join(" "), &ran);
        }
    }
    let ran = trial.jail().option("--env").option("PLAIN=1").run(["env"]);
    trial.allow("an ordinary name", ran.text().contains("PLAIN=1"), ran.whole());
}

fn jail_in_jail(trial: &mut Trial) {
    std::fs::copy(clawjail(), trial.place.workspace.join("clawjail")).expect("there is room in /tmp");
    for words in
        ["run --profile trusted --", "run --tier bare --", "run --tier user --", "run --profile trusted --tier root --"]
    {
        let ran = trial.jail().bash(&format!(
            "./clawjail {words} cat /etc/shadow /root/.profile; ./clawjail {words} touch .envrc; echo end"
        ));
        trial.deny(words, ran.text().ends_with("end") && !ran.text().contains("root:"), ran.whole());
    }
    trial.host_has(".envrc", None);
    let ran = trial.jail().bash("kill -9 $PPID 1; kill -9 -1; echo end");
    trial.deny("killing the supervisor", ran.code.is_some() && !ran.hung, ran.whole());
    let ran = trial.jail().bash("./clawjail --version && echo worked");
    trial.allow("the binary itself", ran.text().ends_with("worked"), ran.whole());
    trial.attack([
        denied("create /etc/clawjail-evil", "EACCES|EPERM|EROFS"),
        denied("mkdir /etc/clawjail/evil", "EACCES|EPERM|EROFS|ENOENT"),
        works("create plain"),
    ]);
}

const PERMISSIVE: &str =
    "summary = \"All.\"\nextends = \"trusted\"\n[filesystem]\nread = [\"/etc\"]\nhide = []\nprotect = []\n";

fn profile_in_workspace(trial: &mut Trial) {
    for path in [
        "untrusted.toml",
        "clawjail.toml",
        ".clawjail/profiles/untrusted.toml",
        "profiles/untrusted.toml",
        ".config/clawjail/profiles/untrusted.toml",
    ] {
        trial.place.write(path, PERMISSIVE);
    }
    let ran = trial
        .jail()
        .environment("CLAWJAIL_PROFILE", "trusted")
        .environment("XDG_CONFIG_HOME", trial.place.workspace.join(".config"))
        .bash("cat /etc/fstab /etc/shadow; touch .envrc; echo end");
    trial.deny("the default profile", ran.text() == "end" && ran.verdict["profile"] == "untrusted", ran.whole());
    trial.host_has(".envrc", None);
    // A caller's own home, by HOME, is no more to be trusted than the workspace.
    let ran = trial.jail().environment("HOME", &trial.place.workspace).bash("cat /etc/fstab; touch .envrc; echo end");
    trial.deny("HOME turned to the workspace", ran.text() == "end", ran.whole());
    trial.host_has(".envrc", None);
    for name in ["./untrusted", "untrusted.toml", "profiles/untrusted", "clawjail"] {
        let ran = trial.jail().profile(name).run(["true"]);
        trial.refused(name, &ran);
    }
    let ran = trial.jail().run(["true"]);
    trial.allow("a run", ran.code == Some(0), ran.whole());
}

fn streams(trial: &mut Trial) {
    let program = trial.arm();
    let words =
        [program.as_str(), "read /etc/shadow", "socket 1 1 0", "create .envrc", "descriptors", "open-create result"];
    let script = format!("{} > /dev/null; '{}' > report", "true", words.join("' '"));
    for stdin in ["</dev/null", "<&-", "< README", "< <(sleep 1)"] {
        for stdout in [">/dev/null", ">&-", "> ../out", "| cat"] {
            for stderr in ["2>/dev/null", "2>&-"] {
                trial.place.write("README", "text\n");
                let _ = std::fs::remove_file(trial.place.workspace.join("report"));
                let jail = trial.jail();
                let inner = jail.command(["bash", "-c", &script]);
                let line: Vec<String> = std::iter::once(inner.get_program())
                    .chain(inner.get_args())
                    .map(|word| format!("'{}'", word.to_string_lossy().replace('\'', "'\\''")))
                    .collect();
                let mut outer = trial.place.command("bash");
                outer
                    .args(["-c", &format!("{} {stdin} {stderr} {stdout}", line.join(" "))])
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null());
                let _ = outer.status();
                let report = trial.place.read("report").unwrap_or_default();
                let what = format!("{stdin} {stdout} {stderr}");
                let held = ["read /etc/shadow\tE", "socket 1 1 0\tEPERM", "create .envrc\tE", "descriptors\tok 0,1,2"];
                let report_line = |wanted: &&str| report.lines().any(|line| line.starts_with(*wanted));
                trial.deny(&what, held.iter().all(report_line), format!("{report} {}", jail.verdict()));
            }
        }
    }
    let ran = trial.jail().run(["true"]);
    trial.allow("a run", ran.code == Some(0), ran.whole());
}

fn missing_tier(trial: &mut Trial) {
    if trial.tier.as_root() {
        return trial.skip("root can have every tier");
    }
    // `--tier` is given twice by this: the last one counts to none, so the command line is made by hand.
    let ran = |words: &[&str]| {
        let jail = trial.jail();
        let mut command = trial.place.command(words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        jail.finish(command.spawn().expect("the program exists"))
    };
    let binary = clawjail().to_str().expect("a plain path");
    let as_root = ran(&[binary, "run", "--tier", "root", "--", "true"]);
    // A user namespace in which no further one can be made stands for a host that allows none.
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --no-new-privs \"$@\"";
    let without = |words: &[&str]| {
        ran(&[&["unshare", "--user", "--map-root-user", "bash", "-c", script, "x", binary, "run"], words].concat())
    };
    let (user, best) = (without(&["--tier", "user", "--", "true"]), without(&["--", "true"]));
    trial.refused("--tier root for a user", &as_root);
    if trial.tier == Tier::User {
        trial.deny(
            "--tier user without user namespaces",
            user.code == Some(126) || user.code == Some(125),
            user.whole(),
        );
        trial.deny(
            "no tier named, without user namespaces",
            best.code == Some(0) || !best.own_lines().is_empty(),
            best.whole(),
        );
    }
    let ran = trial.jail().run(["true"]);
    trial.allow("its own tier", ran.verdict["tier"] == trial.tier.word(), ran.whole());
}

fn bad_profiles(trial: &mut Trial) {
    let ran = trial.jail().profile("missing").run(["true"]);
    trial.refused("a missing profile", &ran);
    let ran = trial.jail().profile("untrustd").run(["true"]);
    trial.refused("a misspelt profile", &ran);
    trial.deny("the misspelt profile's hint", ran.error_text().contains("`untrusted`"), ran.whole());
    let ran = trial.jail().profile("readonly").run(["true"]);
    trial.allow("a shipped one", ran.code == Some(0), ran.whole());
    if trial.tier.as_root() {
        return;
    }
    let directory = trial.place.account().home.join(".config/clawjail/profiles");
    let place = Place::new(trial.tier);
    place.command("mkdir").arg("-p").arg(&directory).status().expect("everyone has mkdir");
    let summary = "summary = \"Test.\"\nextends = \"untrusted\"\n";
    let bad = [
        ("empty", String::new()),
        ("unknown-key", format!("{summary}[filesystem]\nreed = []\n")),
        ("unknown-table", format!("{summary}[filesytem]\nread = []\n")),
        ("wrong-type", format!("{summary}[limits]\nmemory = 5\n")),
        ("no-unit", format!("{summary}[limits]\nmemory = \"5\"\n")),
        ("nonsense-unit", format!("{summary}[limits]\nwall = \"5 bananas\"\n")),
        ("duplicate", format!("{summary}[limits]\nwall = \"5s\"\nwall = \"6s\"\n")),
        (
            "cyclic",
            "summary = \"Test.\"\nextends = \"cyclic\"\n".replace("cyclic", &format!("{}cyclic", trial.place.token)),
        ),
        ("unknown-set", format!("{summary}[filesystem]\nread = [\"@nothing\"]\n")),
        ("no-toml", "<<<".to_owned()),
        ("zero-wall", format!("{summary}[limits]\nprocesses = -1\n")),
        ("egress", format!("{summary}[egress]\nallow = [\"https://example.org\"]\n")),
        ("datagrams", format!("{summary}[egress]\nallow = [\"udp://example.org:53\"]\n")),
        ("requests", format!("{summary}[[egress.http]]\nhost = \"example.org\"\nmethods = [\"GET\"]\n")),
    ];
    for (name, text) in bad {
        let name = format!("{}{name}", trial.place.token);
        let path = directory.join(format!("{name}.toml"));
        let copy = place.workspace.join("profile");
        std::fs::write(&copy, text).expect("own file");
        place.command("cp").arg(&copy).arg(&path).status().expect("everyone has cp");
        let ran = trial.jail().profile(&name).bash("touch executed");
        let _ = std::fs::remove_file(&path);
        trial.refused(&name, &ran);
    }
    trial.host_has("executed", None);
}

fn names(trial: &mut Trial) {
    for name in ["../untrusted", "/etc/passwd", "a/b", "..", ".", "", "un\ntrusted", "\u{1b}[31m", "ü", "-x", "@system"]
    {
        let ran = trial.jail().option(format!("--profile={name}")).run(["true"]);
        // An empty word is no value to the command line itself.
        if name.is_empty() && ran.code == Some(2) {
            continue;
        }
        trial.refused(&format!("profile {name:?}"), &ran);
        trial.deny("control bytes in the answer", !ran.stderr.contains(&0x1b), ran.whole());
    }
    let ran = trial.jail().option("--workspace").option("missing\u{1b}]0;x\u{7}").run(["true"]);
    trial.refused("a workspace with control bytes", &ran);
    trial.deny("control bytes of a workspace", !ran.stderr.contains(&0x1b) && !ran.stderr.contains(&7), ran.whole());
    let ran = trial.jail().profile("untrusted").run(["true"]);
    trial.allow("a plain name", ran.code == Some(0), ran.whole());
}

fn proof(trial: &mut Trial) {
    trial.place.write(".env", "TOKEN=1\n");
    let ran = trial.jail().run(["true"]);
    trial.allow("a run", ran.code == Some(0), ran.whole());
    let promises = ran.verdict["enforcement"]["promises"].as_array().cloned().unwrap_or_default();
    for promise in ["filesystem", "shielded", "network", "identity", "syscalls", "processes"] {
        let found = promises.iter().find(|one| one["promise"] == promise);
        trial.deny(promise, found.is_some_and(|one| one["probed"] == true), format!("{found:?}"));
    }
    let partial = ran.verdict["enforcement"]["level"] == "partial";
    let missing = promises.iter().any(|one| !one["missing"].is_null());
    trial.deny("the level", partial == missing, &ran.verdict);
    let refused = trial.jail().profile("missing").run(["true"]);
    trial.deny("a refusal's level", refused.verdict["enforcement"]["level"] == "none", &refused.verdict);
}
