//! What was done: commands, files, sockets; and that nothing of it is recorded where it was not asked for.

use crate::support::jail::Jail;
use crate::{in_every_tier, listed};

#[test]
fn commands_are_listed_with_arguments_parent_and_end() {
    in_every_tier(|place| {
        let script = "/bin/true a b; sh -c 'exit 3'; sh -c 'kill -9 $$'; no-such-command; exit 7";
        let ran = Jail::new(place).option("--record").option("commands").bash(script);
        let commands = listed(&ran, "commands");
        let argv = |at: usize| commands[at]["argv"].as_array().cloned().unwrap_or_default();
        assert_eq!(commands.len(), 4, "what was not found was not executed: {commands:?}");
        assert!(commands[0]["path"].as_str().is_some_and(|path| path.ends_with("/bash")), "{commands:?}");
        assert_eq!(
            (argv(1), &commands[1]["path"]),
            (vec!["/bin/true".into(), "a".into(), "b".into()], &"/bin/true".into())
        );
        assert!(commands[1..].iter().all(|one| one["parent"] == commands[0]["pid"]), "{commands:?}");
        assert!(commands.windows(2).all(|two| two[0]["after_us"].as_u64() <= two[1]["after_us"].as_u64()));
        assert_eq!(commands[0]["exit_code"], 7, "{commands:?}");
        if crate::kernel_tells_of_ends() {
            let ends: Vec<_> =
                commands[1..].iter().map(|one| (one["exit_code"].clone(), one["signal"].clone())).collect();
            let null = serde_json::Value::Null;
            assert_eq!(ends, [(0.into(), null.clone()), (3.into(), null.clone()), (null, 9.into())], "{commands:?}");
        }
        assert!(commands.iter().all(|one| one["lasted_us"].as_u64().is_some()), "{commands:?}");
    });
}

#[test]
fn names_in_the_workspace_are_listed_by_what_became_of_them() {
    in_every_tier(|place| {
        for name in ["kept", "changed", "removed", "renamed", "rewritten"] {
            place.write(name, "12345");
        }
        let script = "cat kept; echo more >> changed; rm removed; mv renamed other; echo 1 > tmp; mv tmp rewritten; \
                      mkdir dir; echo 12 > dir/new; mv dir moved; echo x > came; rm came; touch $TMPDIR/elsewhere";
        let ran = Jail::new(place).option("--record").option("full").bash(script);
        let inside = place.inside().display().to_string();
        let list: Vec<String> = listed(&ran, "files")
            .iter()
            .map(|one| {
                let short = |key: &str| one[key].as_str().unwrap_or("").replace(&format!("{inside}/"), "");
                format!("{} {} {} {}>{}", short("change"), short("path"), short("from"), one["before"], one["after"])
            })
            .collect();
        let wanted = [
            "changed changed  5>10",
            "created moved  null>null",
            "created moved/new  null>3",
            "renamed other renamed null>5",
            "removed removed  5>null",
            "changed rewritten  5>2",
        ];
        assert_eq!(list, wanted, "{}", ran.whole());
    });
}

#[test]
fn a_socket_that_listens_is_listed_with_its_port() {
    in_every_tier(|place| {
        if !place.tier.has_namespaces() || !crate::has("python3") {
            return;
        }
        let script = "import socket,time\ns=socket.socket()\ns.bind(('127.0.0.1',4711))\ns.listen()\ntime.sleep(0.3)\n";
        let ran = Jail::new(place).option("--record").option("commands").run(["python3", "-c", script]);
        let listening = listed(&ran, "listening");
        assert_eq!(
            (&listening[0]["address"], &listening[0]["port"]),
            (&"127.0.0.1".into(), &4711.into()),
            "{}",
            ran.whole()
        );
    });
}

#[test]
fn nothing_is_recorded_of_what_is_allowed_unless_it_was_asked_for() {
    in_every_tier(|place| {
        let ran = Jail::new(place).bash("/bin/true; echo x > file");
        for list in ["commands", "files", "reads", "listening"] {
            assert_eq!(listed(&ran, list), Vec::<serde_json::Value>::new(), "{list}");
        }
        assert_eq!(ran.verdict["evidence"]["activity"], "off");
    });
}

#[test]
fn init_goes_before_others_where_it_may_and_nothing_that_it_starts_does() {
    in_every_tier(|place| {
        if !place.tier.has_namespaces() {
            return;
        }
        // The nice value of init, of the run's first process and of what that starts. proc_pid_stat(5).
        let script = "nice_of() { cut -d' ' -f19 /proc/$1/stat; }; nice_of 1; nice_of $$; nice_of self";
        let ran = Jail::new(place).option("--record").option("commands").run(["bash", "-c", script]);
        // Whoever runs these tests with a nice value of their own finds that everywhere.
        let own = std::fs::read_to_string("/proc/self/stat").expect("the kernel tells");
        let own = own.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(16)).expect("a nice value");
        let first = if place.tier == crate::support::tier::Tier::Root && own == "0" { "-20" } else { own };
        let wanted = format!("{first}\n{own}\n{own}\n");
        assert_eq!(String::from_utf8_lossy(&ran.stdout), wanted, "{}", ran.whole());
    });
}
