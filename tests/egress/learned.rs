//! `clawjail learn`, where there is a network to be reached.

use super::in_each_tier;
use super::support::place::clawjail;

#[test]
fn hosts_that_are_asked_for_one_after_another_are_learned_and_a_private_one_never() {
    in_each_tier(|world, place| {
        let script = "curl -fsS http://good.example/a > a && curl -fsS http://other.example/b > b; \
                      curl -sS -m 3 http://private.example/; test -s a && test -s b";
        let out = place.outside.join("learned.toml");
        let learn = |net: Option<&str>| {
            let mut command = place.command(clawjail());
            command.args(["learn", "--tier", place.tier.word()]).args(net).arg("--out").arg(&out);
            command.args(["--", "sh", "-c", script]);
            world.enter(place, &command).output().expect("nsenter is there")
        };
        let refused = learn(None);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(126) && !out.exists(), "{said}");
        assert!(said.contains("`--net` lets it reach public hosts") && said.contains("good.example"), "{said}");
        let learned = learn(Some("--net"));
        let said = String::from_utf8_lossy(&learned.stderr).into_owned();
        assert!(learned.status.success() && said.contains("proved: exit 0 again"), "{said}");
        let profile = std::fs::read_to_string(&out).unwrap_or_default();
        for host in ["good.example:80", "other.example:80"] {
            assert!(profile.contains(&format!("\"{host}\",")), "{host}: {profile}");
        }
        let allowed = profile.split("allow = [").nth(1).and_then(|rest| rest.split("\n]").next()).unwrap_or_default();
        assert!(!allowed.contains("private.example") && !allowed.contains("10.1.2.3"), "{profile}");
    });
}
