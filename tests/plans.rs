//! Plans: what each shipped profile becomes on a root, a user and a bare host, held still in tests/golden; and what is
//! refused before there is a plan.

#![expect(clippy::expect_used, reason = "a test may stop where it stands")]

use std::fs;
use std::path::{Path, PathBuf};

use clawjail::host::{Controllers, HostFacts, IdmappedMounts, Tier};
use clawjail::plan::ahead::{entries, remainder};
use clawjail::plan::compile::{TierPolicies, compile};
use clawjail::plan::digest::digest;
use clawjail::plan::refused::Refused;
use clawjail::plan::request::{Caller, Request, WorkspaceDirectory};
use clawjail::plan::{Entry, HostPath, Naming, Owner, Plan, View};
use clawjail::policy::egress::rule::{List, Rule};
use clawjail::policy::library::Library;
use clawjail::policy::syscalls::{SyscallPolicy, SyscallRule};
use clawjail::profile::Profile;
use clawjail::profile::load::Sources;
use clawjail::profile::promise::{Demand, Promise};
use clawjail::profile::resolve::resolve;
use clawjail::profile::units::Span;
use serde_json::Value;

const SHIPPED: [&str; 7] = ["base", "offline", "openclaw", "readonly", "skill-test", "trusted", "untrusted"];
const TIERS: [Tier; 3] = [Tier::Root, Tier::User, Tier::Bare];

#[test]
fn each_shipped_profile_becomes_the_plan_that_was_agreed_on() {
    let mut changed = Vec::new();
    for tier in TIERS {
        for name in SHIPPED {
            let plan = plan(&shipped(name), &host(tier));
            changed.extend(compare(&format!("{name}.{}.json", tier.word()), &golden(&plan)));
            changed.extend(plan.ok().and_then(|plan| compare(&rules_file(&plan), &rules(&plan.syscalls))));
        }
    }
    assert!(
        changed.is_empty(),
        "{}\nIf this is meant, say why in the commit: UPDATE_GOLDEN=1 cargo test --test plans",
        changed.join("\n")
    );
}

/// Otherwise every run would build its view twice.
#[test]
fn what_is_built_before_there_is_a_plan_fits_every_shipped_profile_that_shows_a_system() {
    for tier in [Tier::Root, Tier::User] {
        for name in SHIPPED {
            let view = plan(&shipped(name), &host(tier)).expect("a plan").view;
            let Some(left) = remainder(&view) else {
                assert_eq!(name, "base", "`{name}` does not fit");
                continue;
            };
            let both: Vec<_> = left.entries.keys().chain(entries().keys()).cloned().collect();
            assert_eq!(both.len(), view.entries.len(), "{name}: nothing is left out and nothing made twice");
            assert!(
                both.iter().all(|path| view.entries.contains_key(path)),
                "{name}: nothing is shown that is not granted"
            );
        }
    }
}

#[test]
fn what_is_built_before_there_is_a_plan_never_stands_in_for_something_else() {
    let view = plan(&shipped("untrusted"), &host(Tier::Root)).expect("a plan").view;
    let usr = PathBuf::from("/usr");
    let fits = |change: &dyn Fn(&mut View)| {
        let mut changed = view.clone();
        change(&mut changed);
        remainder(&changed).is_some()
    };
    let another = |change: &dyn Fn(&mut HostPath)| {
        fits(&|view| {
            let Some(Entry::Host(host)) = view.entries.get_mut(&usr) else { unreachable!("/usr is shown") };
            change(host);
        })
    };
    assert!(fits(&|_| {}) && another(&|usr| usr.why = "another reason".into()), "what is enforced is the same");
    assert!(!fits(&|view| drop(view.entries.remove(&usr))), "it is not granted");
    assert!(!another(&|usr| usr.rights.write = true), "more may be done with it");
    assert!(!another(&|usr| usr.rights.execute = false), "less may be done with it");
    assert!(!another(&|usr| usr.source = "/opt".into()), "it is something else");
    assert!(!another(&|usr| usr.owner = Some(Owner { uid: 1, gid: 1 })), "it is shown as somebody's");
    let above = Entry::Host(HostPath { source: "/etc".into(), ..host_path(&view, &usr) });
    assert!(!fits(&|view| drop(view.entries.insert("/etc".into(), above.clone()))), "it would be covered");
    assert!(fits(&|view| drop(view.entries.insert("/opt".into(), above.clone()))), "it stands beside it");
}

fn host_path(view: &View, path: &Path) -> HostPath {
    let Some(Entry::Host(host)) = view.entries.get(path) else { unreachable!("{} is shown", path.display()) };
    host.clone()
}

#[test]
fn the_same_request_on_the_same_host_gives_the_same_digest() {
    let one = plan(&shipped("untrusted"), &host(Tier::Root)).expect("a plan");
    let other = plan(&shipped("untrusted"), &host(Tier::Root)).expect("a plan");
    assert_eq!(digest(&one), digest(&other));
    let elsewhere = plan(&shipped("untrusted"), &host(Tier::User)).expect("a plan");
    assert_ne!(digest(&one), digest(&elsewhere));
}

fn with_egress(hosts: &[&str]) -> Profile {
    let mut profile = shipped("untrusted");
    let rules = hosts.iter().map(|host| Rule::parse(host, List::Allow, "", "test").expect("a rule"));
    profile.egress.rules.allow = rules.collect();
    profile
}

#[test]
fn a_profile_with_egress_has_a_gate_where_there_are_namespaces() {
    for tier in [Tier::Root, Tier::User] {
        let plan = plan(&with_egress(&["*.example.org:443"]), &host(tier)).expect("a plan");
        assert!(plan.has_gate());
        let keeping = &plan.promises[&Promise::Network];
        assert!(keeping.missing.is_none() && keeping.mechanisms.iter().any(|one| one.contains("gate")), "{keeping:?}");
    }
    assert!(!plan(&shipped("untrusted"), &host(Tier::Root)).expect("a plan").has_gate());
}

/// D9: what nothing would enforce is not accepted.
#[test]
fn egress_that_nothing_would_mediate_is_refused_by_its_name() {
    let cases = [
        (with_egress(&["*.example.org:443"]), Tier::Bare, "`*.example.org:443`"),
        (with_egress(&["udp://time.example:1-99"]), Tier::Root, "more than 16 ports"),
        (with_egress(&["udp://time.example:53"]), Tier::Root, "`udp://time.example:53`"),
    ];
    for (profile, tier, named) in cases {
        let refused = plan(&profile, &host(tier)).expect_err("nothing mediates this yet");
        assert_eq!(refused.code, "egress_not_supported");
        assert!(refused.message.contains(named), "{refused}");
    }
}

/// D8: other sandboxes then ran without, and said nothing.
#[test]
fn a_promise_that_no_mechanism_keeps_is_refused_by_its_name_with_what_is_missing() {
    let bare = host(Tier::Bare);
    let none = Controllers::None { why: "not delegated".into() };
    let cases = [
        (HostFacts { landlock_abi: 0, ..host(Tier::Root) }, "filesystem", "lsm="),
        (HostFacts { landlock_abi: 2, ..bare.clone() }, "filesystem", "ABI 3"),
        (HostFacts { landlock_abi: 5, ..bare }, "processes", "ABI 6"),
        (HostFacts { seccomp_notify: false, ..host(Tier::Root) }, "shielded", "Linux 5.14"),
        (
            HostFacts { idmapped_mounts: IdmappedMounts::NotOfThisFilesystem, ..host(Tier::Root) },
            "identity",
            "filesystem",
        ),
        (
            HostFacts { idmapped_mounts: IdmappedMounts::NoUserNamespace, ..host(Tier::Root) },
            "identity",
            "user namespace",
        ),
        (HostFacts { controllers: none, ..host(Tier::User) }, "limits", "not delegated"),
    ];
    for (host, promise, missing) in cases {
        let mut profile = shipped("untrusted");
        profile.require.clear();
        let refused = plan(&profile, &host).expect_err(promise);
        assert_eq!(refused.code, "promise_not_kept");
        assert!(refused.message.contains(&format!("demands `{promise}`")), "{refused}");
        assert!(refused.message.contains(missing), "{refused}");
        assert!(refused.remedy.is_some_and(|remedy| remedy.contains("clawjail doctor")));
    }
}

#[test]
fn a_promise_is_lowered_by_the_word_in_the_profile_alone_and_the_plan_says_so() {
    let host = HostFacts { controllers: Controllers::None { why: "not delegated".into() }, ..host(Tier::User) };
    let mut profile = shipped("untrusted");
    profile.require.insert(Promise::Limits, Demand::Partial);
    let lowered = plan(&profile, &host).expect("partial is enough");
    let missing = lowered.promises.get(&Promise::Limits).and_then(|keeping| keeping.missing.clone());
    assert!(missing.is_some_and(|missing| missing.contains("not delegated")));
    profile.require.insert(Promise::Limits, Demand::Full);
    assert_eq!(plan(&profile, &host).map_err(|refused| refused.code), Err("promise_not_kept"));
}

/// Where Landlock cannot deny truncation or signals, more than one promise rests on that.
#[test]
fn a_bare_host_with_an_older_landlock_lacks_every_promise_that_rests_on_what_it_lacks() {
    let lacking = |abi| {
        let host = HostFacts { landlock_abi: abi, ..host(Tier::Bare) };
        let mut profile = shipped("untrusted");
        profile.require = Promise::ALL.map(|promise| (promise, Demand::Partial)).into();
        let plan = plan(&profile, &host).expect("all may be partial");
        let missing = plan.promises.iter().filter(|(_, keeping)| keeping.missing.is_some());
        missing.map(|(promise, _)| promise.word()).filter(|word| *word != "limits").collect::<Vec<_>>()
    };
    assert_eq!(lacking(2), ["filesystem", "shielded", "processes", "lifetime"]);
    assert_eq!(lacking(5), ["processes", "lifetime"]);
    assert_eq!(lacking(6), [""; 0]);
}

#[test]
fn a_callers_timeout_can_only_shorten() {
    let wall = |granted, wanted| {
        let mut profile = shipped("untrusted");
        profile.limits.wall = granted;
        let request = Request { timeout_ms: wanted, ..request() };
        plan_for(&profile, &request, &host(Tier::Root)).expect("a plan").limits.wall_ms
    };
    assert_eq!(wall(Some(Span(300_000)), None), Some(300_000));
    assert_eq!(wall(Some(Span(300_000)), Some(1_000)), Some(1_000));
    assert_eq!(wall(Some(Span(300_000)), Some(900_000)), Some(300_000));
    assert_eq!(wall(None, Some(1_000)), Some(1_000));
    assert_eq!(wall(None, None), None);
}

#[test]
fn a_workspace_that_the_profile_hides_is_refused() {
    for hidden in ["/home/ada/.ssh", "/home/ada/.ssh/keys", "/home/ada/.aws"] {
        let mut request = request();
        request.workspace.path = hidden.into();
        let refused = plan_for(&shipped("untrusted"), &request, &host(Tier::Root)).expect_err(hidden);
        assert_eq!(refused.code, "workspace_hidden", "{hidden}");
    }
}

#[test]
fn a_jail_without_a_network_namespace_denies_tcp_and_every_other_socket_call_by_name() {
    for tier in TIERS {
        let plan = plan(&shipped("untrusted"), &host(tier)).expect("a plan");
        let sockets = plan.syscalls.rules.iter().any(|rule| rule.call == "socket" && rule.why.contains("dev servers"));
        assert_eq!(plan.landlock.deny_tcp, tier == Tier::Bare);
        assert_eq!(sockets, tier != Tier::Bare);
    }
}

#[test]
fn names_are_made_by_init_wherever_a_shield_stands_in_something_writable() {
    for (name, naming) in [("untrusted", Naming::Brokered), ("trusted", Naming::Brokered), ("readonly", Naming::Direct)]
    {
        assert_eq!(plan(&shipped(name), &host(Tier::Root)).expect("a plan").naming, naming, "{name}");
    }
}

#[test]
fn no_grant_of_a_plan_is_without_reason_and_origin() {
    use clawjail::plan::Entry;
    for tier in TIERS {
        for name in SHIPPED {
            let Ok(plan) = plan(&shipped(name), &host(tier)) else { continue };
            for (path, entry) in &plan.view.entries {
                let Entry::Host(host) = entry else { continue };
                assert!(!host.why.is_empty() && !host.from.is_empty(), "{name}: {}", path.display());
            }
            assert!(plan.shields.iter().all(|shield| !shield.why.is_empty() && !shield.from.is_empty()), "{name}");
        }
    }
}

fn shipped(name: &str) -> Profile {
    resolve(name, &Sources::default(), &Library::built_in()).expect("a shipped profile")
}

/// A host as they are today, the same for every run of these tests.
fn host(tier: Tier) -> HostFacts {
    let controllers = match tier {
        Tier::Root => Controllers::V2 { parent: "/sys/fs/cgroup/clawjail".into(), enabled: all() },
        Tier::User => Controllers::V2 { parent: "/sys/fs/cgroup/user.slice/run.scope".into(), enabled: all() },
        Tier::Bare => Controllers::None { why: "the cgroup is not delegated to this user".into() },
    };
    HostFacts {
        tier,
        landlock_abi: 6,
        seccomp_notify: true,
        controllers,
        idmapped_mounts: IdmappedMounts::Work,
        cpus: 4,
    }
}

fn all() -> Vec<String> {
    ["memory", "pids", "cpu"].map(str::to_owned).to_vec()
}

fn request() -> Request {
    Request {
        caller: Caller { uid: 1000, gid: 1000, name: "ada".into(), home: "/home/ada".into() },
        workspace: WorkspaceDirectory {
            path: "/home/ada/work/project".into(),
            owner: Owner { uid: 1000, gid: 1000 },
            hooks: None,
        },
        mounts: Vec::new(),
        cwd: None,
        timeout_ms: None,
    }
}

fn plan(profile: &Profile, host: &HostFacts) -> Result<Plan, Refused> {
    plan_for(profile, &request(), host)
}

fn plan_for(profile: &Profile, request: &Request, host: &HostFacts) -> Result<Plan, Refused> {
    let tiers = TierPolicies::find(host.tier, &Library::built_in()).expect("the sets that we ship");
    compile(profile, request, host, &tiers)
}

/// The plan, or the refusal, as a reviewer reads it; system calls have a file of their own, since most plans share them.
fn golden(plan: &Result<Plan, Refused>) -> String {
    let data = match plan {
        Ok(plan) => {
            let mut data = serde_json::to_value(plan).expect("a plan is data");
            data.as_object_mut().expect("a plan is an object").insert("syscalls".into(), rules_file(plan).into());
            data
        }
        Err(refused) => serde_json::json!({ "refused": refused.code, "message": refused.message }),
    };
    pretty(&data, "") + "\n"
}

/// JSON with each thing on one line where it fits, so that a change of one grant is a change of one line.
fn pretty(data: &Value, indent: &str) -> String {
    let line = data.to_string();
    let deeper = format!("{indent}  ");
    let parts: Vec<String> = match data {
        Value::Object(keys) if line.len() > LONGEST_LINE => keys
            .iter()
            .map(|(key, value)| format!("{deeper}{}: {}", Value::from(key.as_str()), pretty(value, &deeper)))
            .collect(),
        Value::Array(items) if line.len() > LONGEST_LINE => {
            items.iter().map(|item| format!("{deeper}{}", pretty(item, &deeper))).collect()
        }
        _ => return line,
    };
    let (open, close) = if data.is_object() { ('{', '}') } else { ('[', ']') };
    format!("{open}\n{}\n{indent}{close}", parts.join(",\n"))
}

/// As long as a grant with its reason.
const LONGEST_LINE: usize = 320;

fn rules_file(plan: &Plan) -> String {
    let naming = if plan.naming == Naming::Brokered { "brokered" } else { "direct" };
    let side = if plan.tier.has_namespaces() { "namespaced" } else { "bare" };
    format!("syscalls.{side}.{naming}.txt")
}

fn rules(policy: &SyscallPolicy) -> String {
    policy.rules.iter().map(rule).collect()
}

fn rule(rule: &SyscallRule) -> String {
    let when = rule.when.iter().map(|when| format!(" arg{} & {:#x} = {:#x}", when.arg, when.mask, when.value));
    format!("{} {}{}\n", serde_json::json!(rule.action).as_str().expect("a word"), rule.call, when.collect::<String>())
}

/// What differs from the golden file, as lines for a person; nothing when it is the same or was updated.
fn compare(name: &str, found: &str) -> Option<String> {
    let path: PathBuf = Path::new("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all("tests/golden").expect("a directory");
        fs::write(&path, found).expect("a golden file");
        return None;
    }
    let agreed = fs::read_to_string(&path).unwrap_or_default();
    (agreed != found).then(|| format!("{}\n{}", path.display(), difference(&agreed, found)))
}

/// Lines that only one side has, in order, between what begins and what ends alike.
fn difference(agreed: &str, found: &str) -> String {
    let (agreed, found): (Vec<&str>, Vec<&str>) = (agreed.lines().collect(), found.lines().collect());
    let same = agreed.iter().zip(&found).take_while(|(one, other)| one == other).count();
    let left = agreed.len().min(found.len()) - same;
    let tail = agreed.iter().rev().zip(found.iter().rev()).take(left).take_while(|(one, other)| one == other).count();
    let part = |lines: &[&str], sign: &str| -> String {
        let lines = lines.iter().take(lines.len() - tail).skip(same).take(40);
        lines.map(|line| format!("  {sign} {line}\n")).collect()
    };
    format!("  from line {}\n{}{}", same + 1, part(&agreed, "-"), part(&found, "+"))
}
