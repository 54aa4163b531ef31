//! Names and floods that somebody chose to break a record, a terminal, or the observer.

use std::time::{Duration, Instant};

use crate::support::jail::{Jail, Ran};
use crate::support::patience;
use crate::support::tier::Tier;
use crate::{denials, in_every_tier, listed};

#[test]
fn no_name_breaks_the_record_or_the_terminal() {
    in_every_tier(|place| {
        let script = r#"
import os, subprocess
names = [b"new\nline", b"\x1b]0;title\x07\x1b[31m", b"inva\xfflid", b"quo\"te", "bidi\u202e".encode(), b"n" * 255]
deep = b"/".join([b"d" * 250] * 16)
for name in names:
    for path in [b"/etc/" + name, b"here-" + name[:200], b"/etc/" + deep]:
        try: os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        except OSError: pass
        try: os.open(b"/nothing/" + name, os.O_RDONLY)
        except OSError: pass
    subprocess.run([b"/bin/true", name * 40])
"#;
        let ran = Jail::new(place).option("--record").option("full").run(["python3", "-c", script]);
        assert_eq!(ran.code, Some(0), "{}", ran.whole());
        assert!(denials(&ran).len() >= 6, "{:?}", denials(&ran));
        assert!(denials(&ran).iter().any(|one| one == "create /etc/new\nline"), "{:?}", denials(&ran));
        assert!(listed(&ran, "commands").len() >= 7 && listed(&ran, "files").len() >= 6, "{}", ran.verdict);
        let shown = ran.error_text();
        assert!(!shown.contains('\x1b') && !shown.contains('\x07'), "{shown:?}");
        assert!(ran.own_lines().iter().all(|line| line.starts_with("clawjail: ")), "{:?}", ran.own_lines());
    });
}

#[test]
fn a_flood_of_commands_and_names_leaves_the_record_small_and_says_what_it_left_out() {
    in_every_tier(|place| {
        // Elsewhere names cost more, and their list is the same.
        let names = if place.tier == Tier::Root { 4200 } else { 200 };
        let script = format!(
            "import subprocess\n\
             for i in range(200): subprocess.run(['/bin/true', 'x' * 5000])\n\
             for i in range({names}): open(f'f{{i}}', 'w').close()\n"
        );
        let ran = Jail::new(place).option("--record").option("full").patient(85).run(["python3", "-c", &script]);
        assert_eq!(ran.code, Some(0), "{}", ran.error_text());
        let activity = &ran.verdict["activity"];
        let more = |list: &str| activity[list].as_u64().unwrap_or(0);
        let (commands, files) = (listed(&ran, "commands").len() as u64, listed(&ran, "files").len() as u64);
        assert!(commands > 50 && more("unlisted_commands") > 0, "{commands}");
        assert!(
            (201..210).contains(&(commands + more("unlisted_commands"))),
            "python, by way of what starts it, and true"
        );
        assert!(files == names.min(4096) && files + more("unlisted_files") == names, "{files}");
        assert!(ran.verdict.to_string().len() < 3 << 20, "{}", ran.verdict.to_string().len());
    });
}

#[test]
fn more_different_denials_than_are_listed_are_counted() {
    in_every_tier(|place| {
        let script = "import os\nfor i in range(400):\n try: os.mkdir(f'/etc/flood{i}')\n except OSError: pass\n";
        let ran = Jail::new(place).patient(60).run(["python3", "-c", script]);
        let listed = denials(&ran).iter().filter(|one| one.starts_with("mkdir ")).count() as u64;
        let lost = ran.verdict["evidence"]["lost"].as_u64().unwrap_or(0);
        assert!(listed >= 200 && lost > 0 && listed + lost == 400, "{listed} and {lost}");
        assert_eq!(ran.verdict["evidence"]["complete"], false);
    });
}

#[test]
fn whoever_tries_to_stop_the_observer_is_denied_what_everybody_is() {
    in_every_tier(|place| {
        let blind = "kill -9 1; kill -9 $PPID; kill -STOP $PPID; kill -STOP 1; ";
        let script = format!("{{ {blind} }} 2>/dev/null; echo x > /etc/x; echo x > .envrc; mkdir -p .vscode; exit 5");
        let begun = Instant::now();
        let ran = Jail::new(place).option("--record").option("full").bash(&script);
        assert!(!place.holds(".envrc") && !place.holds(".vscode"), "{}", ran.whole());
        assert!(begun.elapsed() < patience(Duration::from_secs(15)), "{}", ran.whole());
        // Without a pid namespace a command can end its own jail, and everything in it ends with that; 125 if it did before init could
        // say that it runs.
        let can_end = |ran: &Ran| matches!(ran.code, Some(125 | 137)) && !place.tier.has_namespaces();
        let ended = can_end(&ran);
        assert!(ran.code != Some(125) || !ran.error_text().contains("nothing was executed"), "{}", ran.whole());
        assert!(ended || ran.code == Some(5), "{}", ran.whole());
        assert!(ended || denials(&ran).iter().any(|one| one.ends_with(".envrc")), "{:?}", denials(&ran));
        // The control: without recording it is the same.
        let control = Jail::new(place).bash(&script);
        assert!(!place.holds(".envrc") && !place.holds(".vscode"), "{}", control.whole());
        assert!((ended && can_end(&control)) || control.code == ran.code, "{}", control.whole());
    });
}
