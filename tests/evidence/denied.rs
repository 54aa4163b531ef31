//! Denials: their object, their rule, what would allow them, and who watched.

use crate::support::jail::Jail;
use crate::{denial, denials, in_every_tier};

#[test]
fn a_write_where_nothing_grants_it_is_a_denial_with_a_line_of_toml() {
    in_every_tier(|place| {
        let ran = Jail::new(place)
            .bash("touch /etc/x; echo > /etc/hostname; rm /etc/hosts; echo fine > here; echo fine > $TMPDIR/here");
        let made = denial(&ran, "create", "/etc/x");
        assert_eq!(made["grant"]["line"], "filesystem.write = [\"/etc\"]", "{made}");
        assert_eq!((&made["count"], &made["process"]["name"]), (&1.into(), &"touch".into()), "{made}");
        assert!(made["first_us"].as_u64().is_some() && made["first_us"] == made["last_us"], "{made}");
        denial(&ran, "write", "/etc/hostname");
        denial(&ran, "remove", "/etc/hosts");
        assert_eq!(denials(&ran).len(), 3, "what is granted is no denial: {:?}", denials(&ran));
        let hint = ran.verdict["denial_hint"].as_str().unwrap_or_default();
        assert!(
            hint.contains("cannot be written in this jail") && !hint.contains(&place.outside.display().to_string()),
            "{hint}"
        );
    });
}

#[test]
fn a_run_that_is_denied_nothing_says_so_and_one_that_only_looks_around_too() {
    in_every_tier(|place| {
        let ran = Jail::new(place).bash("ls -la / /etc /tmp . > /dev/null; cat /proc/self/status > /dev/null; mkdir -p a/b; echo x > a/b/c; mv a d; rm -r d");
        assert_eq!((denials(&ran), ran.own_lines()), (vec![], vec![]), "{}", ran.whole());
        assert!(ran.verdict["denial_hint"].is_null());
        assert_eq!(ran.verdict["evidence"]["lost"], 0);
    });
}

#[test]
fn a_profile_that_only_reads_tells_of_what_was_to_be_written() {
    in_every_tier(|place| {
        place.write("there", "x");
        let ran = Jail::new(place).profile("readonly").bash("echo x > new; echo x >> there; rm there; exit 1");
        let inside = place.inside();
        for (kind, name) in [("create", "new"), ("write", "there"), ("remove", "there")] {
            denial(&ran, kind, &inside.join(name).display().to_string());
        }
        let lines = ran.own_lines();
        assert!(lines.len() <= 5 && lines[0].contains("not granted by `readonly`"), "{lines:?}");
        assert!(lines[1].contains("filesystem.write"), "{lines:?}");
    });
}

#[test]
fn what_is_hidden_and_asked_for_is_a_denial_where_everything_is_recorded_and_admitted_to_be_unseen_where_not() {
    in_every_tier(|place| {
        place.write(".env", "KEY=1");
        let script = "cat ~/.ssh/id_rsa; cat .env; cat README; true";
        let ran = Jail::new(place).option("--record").option("full").bash(script);
        let hidden = denial(&ran, "read", &place.inside().join(".env").display().to_string());
        assert_eq!(
            (hidden["grant"].is_null(), hidden["rule"].as_str().is_some_and(|rule| rule.ends_with(".env"))),
            (true, true)
        );
        let key = denials(&ran).into_iter().filter(|one| one.ends_with(".ssh/id_rsa")).count();
        assert_eq!(key, 1, "{:?}", denials(&ran));
        assert!(!denials(&ran).iter().any(|one| one.contains("README")), "a missing file is nobody's denial");
        assert!(ran.own_lines().iter().any(|line| line.contains("hidden by `untrusted`")), "{:?}", ran.own_lines());
        let unseen = |ran: &crate::support::jail::Ran| {
            ran.verdict["evidence"]["unseen"].to_string().contains("reads of what is hidden")
        };
        let plain = Jail::new(place).bash(script);
        assert!(unseen(&plain) && !unseen(&ran), "{}", plain.verdict["evidence"]);
        assert_eq!(plain.verdict["evidence"]["complete"], false);
        let run_of_a_key = Jail::new(place).option("--record").option("full").bash("~/.ssh/id_rsa; true");
        assert!(denials(&run_of_a_key).iter().any(|one| one.starts_with("execute ") && one.ends_with(".ssh/id_rsa")));
    });
}

#[test]
fn a_jail_without_network_tells_whom_it_was_asked_to_reach() {
    in_every_tier(|place| {
        if !place.tier.has_namespaces() {
            return;
        }
        let script =
            "exec 3<>/dev/tcp/192.0.2.1/443; getent ahosts www.example.org; exec 3<>/dev/tcp/127.0.0.1/9; true";
        let ran = Jail::new(place).bash(script);
        let reached = denial(&ran, "connect", "192.0.2.1:443");
        assert_eq!(reached["grant"]["line"], "egress.allow = [\"192.0.2.1:443\"]", "{reached}");
        denial(&ran, "look_up", "www.example.org");
        assert_eq!(denials(&ran).len(), 2, "its own loopback is its own: {:?}", denials(&ran));
        assert!(ran.verdict["denial_hint"].as_str().is_some_and(|hint| hint.starts_with("Network is off")));
    });
}

#[test]
fn ten_thousand_denials_in_a_second_are_all_counted_and_none_is_another_jails() {
    in_every_tier(|place| {
        let other = Jail::new(place).start([
            "bash",
            "-c",
            "for i in $(seq 200); do echo x 2>/dev/null > /etc/other; done; sleep 1",
        ]);
        let flood = "import os\nfor i in range(10000):\n try: os.mkdir('/etc/flood')\n except OSError: pass\n";
        let ran = Jail::new(place).patient(60).run(["python3", "-c", flood]);
        assert_eq!(denial(&ran, "mkdir", "/etc/flood")["count"], 10_000, "{}", ran.whole());
        assert_eq!(ran.verdict["evidence"]["lost"], 0);
        assert!(!denials(&ran).iter().any(|one| one.contains("other")), "{:?}", denials(&ran));
        drop(other.wait_with_output());
    });
}

#[test]
fn a_name_below_a_directory_that_is_being_made_is_missing_or_made_and_never_denied() {
    in_every_tier(|place| {
        // As npm unpacks: many threads, each of which makes the directory above when its own is missing.
        let script = r#"
import os, shutil, sys, threading
denied = []
def make(number):
    for name in ("new", "new/modules", f"new/modules/p{number}"):
        try: os.mkdir(name)
        except (FileExistsError, FileNotFoundError): pass
        except PermissionError as error: denied.append(str(error))
for _ in range(150):
    threads = [threading.Thread(target=make, args=(number,)) for number in range(6)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    shutil.rmtree("new", ignore_errors=True)
sys.exit(print(len(denied), denied[:1]) or 1 if denied else 0)
"#;
        let ran = Jail::new(place).patient(60).run(["python3", "-c", script]);
        assert_eq!((ran.code, denials(&ran)), (Some(0), vec![]), "{}", ran.whole());
    });
}

#[test]
fn a_limit_that_was_reached_is_a_denial() {
    in_every_tier(|place| {
        let large = Jail::new(place).bash("exec dd if=/dev/zero of=large bs=1 count=1 seek=1200M");
        let denied = denial(&large, "limit", "file_size");
        assert!(denied["rule"].as_str().is_some_and(|rule| rule.starts_with("file_size = ")), "{denied}");
        let fine = Jail::new(place).bash("exec dd if=/dev/zero of=small bs=1 count=1 seek=1M");
        assert_eq!(denials(&fine), Vec::<String>::new(), "{}", fine.whole());
        let memory = &fine.verdict["activity"]["peaks"][0];
        assert!(memory["limit"] == "memory" && memory["used"].as_u64().is_some_and(|used| used > 0), "{memory}");
    });
}
