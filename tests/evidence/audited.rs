//! What only the kernel's own records tell, in the root tier.

use crate::support::jail::Jail;
use crate::support::tier::Tier;
use crate::{denial, denials, has, in_every_tier, say_skipped};

#[test]
fn a_refused_system_call_is_a_denial_by_its_name_where_everything_is_recorded() {
    in_every_tier(|place| {
        if place.tier != Tier::Root || !has("python3") {
            return;
        }
        let script =
            "import ctypes\nc = ctypes.CDLL(None)\nfor i in range(3): c.ptrace(0, 0, 0, 0)\nraise SystemExit(4)";
        let ran = Jail::new(place).option("--record").option("full").run(["python3", "-c", script]);
        assert!(ran.verdict["evidence"]["source"].to_string().contains("seccomp_audit"), "{}", ran.verdict["evidence"]);
        let call = denial(&ran, "system_call", "ptrace");
        assert_eq!((&call["count"], &call["mechanism"]), (&3.into(), &"seccomp".into()), "{call}");
        let control = Jail::new(place).option("--record").option("full").run(["python3", "-c", "raise SystemExit(4)"]);
        assert_eq!(denials(&control), Vec::<String>::new(), "{}", control.whole());
        let unrecorded = Jail::new(place).run(["python3", "-c", script]);
        assert!(
            unrecorded.verdict["evidence"]["unseen"].to_string().contains("system calls"),
            "{}",
            unrecorded.verdict
        );
    });
}

#[test]
fn what_landlock_alone_denies_is_a_denial_where_the_hosts_audit_is_on() {
    in_every_tier(|place| {
        if place.tier != Tier::Root {
            return;
        }
        // Nothing but Landlock keeps the command from executing this: the view has it, readable.
        let script = "cp /bin/true $HOME/x; chmod +x $HOME/x; $HOME/x; kill -0 1; exit 4";
        let ran = Jail::new(place).option("--record").option("commands").bash(script);
        if !ran.verdict["evidence"]["source"].to_string().contains("landlock_audit") {
            return say_skipped("landlock's records: the host's audit is off");
        }
        assert!(denials(&ran).iter().any(|one| one.starts_with("execute ")), "{:?}", denials(&ran));
    });
}
