//! What only the kernel's own records tell, in the root tier.

use crate::support::jail::Jail;
use crate::support::place::Place;
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

/// What the host's audit loses, it loses for all: one at a time.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// Whether this host has Landlock's records in the verdict of a run.
fn is_logged(place: &Place) -> bool {
    let ran = Jail::new(place).option("--record").option("commands").run(["true"]);
    let logged = ran.verdict["evidence"]["source"].to_string().contains("landlock_audit");
    if !logged {
        say_skipped("landlock's records: the host's audit is off, or the kernel is older than 6.15");
    }
    logged
}

/// What the broker does not understand, because the way goes by what is another process's for it. Landlock denies it.
const PAST_THE_BROKER: &str = "/proc/self/cwd/made";

#[test]
fn what_landlock_alone_denies_is_a_denial_where_the_hosts_audit_is_on() {
    let _alone = ALONE.lock();
    in_every_tier(|place| {
        if place.tier != Tier::Root || !is_logged(place) {
            return;
        }
        let script = format!("echo x > {PAST_THE_BROKER}; echo x > {PAST_THE_BROKER}; exit 4");
        for level in ["commands", "full"] {
            let ran = Jail::new(place).option("--record").option(level).bash(&script);
            assert!(!place.holds("made"), "{}", ran.whole());
            let made = denial(&ran, "make", &place.inside().display().to_string());
            assert_eq!((&made["count"], &made["mechanism"]), (&2.into(), &"landlock".into()), "{made}");
            let evidence = &ran.verdict["evidence"];
            assert_eq!(
                (&evidence["complete"], &evidence["lost"]),
                (&(level == "full").into(), &0.into()),
                "{evidence}"
            );
        }
        // Without a record nothing is told of it, and that is said.
        let off = Jail::new(place).bash(&script);
        assert_eq!(denials(&off), Vec::<String>::new(), "{}", off.whole());
        assert!(off.verdict["evidence"]["unseen"].to_string().contains("Landlock alone denies"), "{}", off.verdict);
        assert_eq!(off.verdict["evidence"]["complete"], false);
    });
}

#[test]
fn a_run_that_is_denied_nothing_has_a_complete_record_where_the_hosts_audit_is_on() {
    let _alone = ALONE.lock();
    in_every_tier(|place| {
        if place.tier != Tier::Root || !is_logged(place) {
            return;
        }
        let ran = Jail::new(place).option("--record").option("full").run([
            "sh",
            "-c",
            "ls / > /dev/null; echo x > here; rm here",
        ]);
        let evidence = &ran.verdict["evidence"];
        assert_eq!((&evidence["complete"], &evidence["unseen"]), (&true.into(), &serde_json::json!([])), "{evidence}");
        assert_eq!(denials(&ran), Vec::<String>::new(), "{}", ran.whole());
    });
}

#[test]
fn ten_thousand_records_in_a_second_are_counted_or_counted_as_lost_and_belong_to_their_own_jail() {
    let _alone = ALONE.lock();
    in_every_tier(|place| {
        if place.tier != Tier::Root || !is_logged(place) {
            return;
        }
        let flood = format!(
            "import os\nfor i in range(10000):\n try: os.open('{PAST_THE_BROKER}', os.O_CREAT | os.O_WRONLY)\n except OSError: pass\n"
        );
        place.mkdir("other");
        let script = "cd other; for i in $(seq 200); do echo x 2>/dev/null > /proc/self/cwd/made; done; sleep 1";
        let other = Jail::new(place).option("--record").option("full").start(["bash", "-c", script]);
        let ran = Jail::new(place).option("--record").option("full").patient(80).run(["python3", "-c", &flood]);
        let inside = place.inside().display().to_string();
        let count = denial(&ran, "make", &inside)["count"].as_u64().unwrap_or(0);
        let lost = ran.verdict["evidence"]["lost"].as_u64().unwrap_or(0);
        say_measured(&format!("10,000 denials of Landlock: {count} records, {lost} lost"));
        assert!(count <= 10_000 && count + lost >= 10_000, "{count} and {lost}");
        assert_eq!(ran.verdict["evidence"]["complete"], lost == 0, "{}", ran.verdict["evidence"]);
        assert!(!denials(&ran).iter().any(|one| one.ends_with("/other")), "{:?}", denials(&ran));
        drop(other.wait_with_output());
    });
}

/// Says past the harness what came of something that has no one right answer.
fn say_measured(what: &str) {
    use std::io::Write;
    let _ = std::io::stderr().write_all(format!("MEASURED {what}\n").as_bytes());
}
