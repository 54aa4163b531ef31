//! `clawjail profile diff` and `clawjail profile lint`, as somebody at a shell uses them.

use super::*;

fn draft(place: &Place, name: &str, body: &str) -> String {
    let path = place.outside.join(format!("{name}.toml"));
    std::fs::write(&path, format!("summary = \"A test.\"\n{body}")).expect("own directory");
    path.to_str().expect("a test's own path").to_owned()
}

#[test]
fn a_difference_is_told_in_words_and_as_data() {
    in_tiers(
        |tier| tier == Tier::Root,
        |place| {
            let wider = draft(
                place,
                "wider",
                "extends = \"untrusted\"\n[limits]\nmemory = \"2G\"\n[egress]\nallow = [\"a.example:443\"]\n",
            );
            let told = asked(place, &["profile", "diff", "untrusted", &wider]);
            let said = text(&told.stdout);
            assert!(told.status.success(), "{told:?}");
            assert_eq!(
                said,
                "`wider` allows more than `untrusted`:\n  egress  has a network, by way of the gate\n  egress  reaches `a.example:443`\n  \
             limits  memory: 2G instead of 1G\n"
            );
            let data = asked(place, &["profile", "diff", &wider, "untrusted", "--json"]);
            let data: serde_json::Value = serde_json::from_slice(&data.stdout).expect("JSON");
            let directions: Vec<&str> = data["differences"]
                .as_array()
                .expect("a list")
                .iter()
                .filter_map(|one| one["direction"].as_str())
                .collect();
            assert_eq!(directions, ["less", "less", "less"]);
            let refused = asked(place, &["profile", "diff", "untrusted", "no-such-profile"]);
            assert_eq!(refused.status.code(), Some(126), "{refused:?}");
        },
    );
}

#[test]
fn lint_ends_with_1_when_something_is_found_and_with_0_when_not() {
    in_tiers(
        |tier| tier == Tier::Root,
        |place| {
            let clean = asked(
                place,
                &["profile", "lint", "base", "untrusted", "readonly", "offline", "openclaw", "skill-test", "trusted"],
            );
            assert_eq!(clean.status.code(), Some(0), "{}", text(&clean.stdout));
            let bad = draft(place, "bad", "extends = \"untrusted\"\n[filesystem]\nwrite = [\"~/.local/bin\"]\n");
            let found = asked(place, &["profile", "lint", &bad]);
            assert_eq!(found.status.code(), Some(1), "{}", text(&found.stdout));
            assert!(text(&found.stdout).contains("write-on-path: [filesystem] write `~/.local/bin`"), "{found:?}");
            let stated = draft(
                place,
                "stated",
                "extends = \"untrusted\"\n[filesystem]\nwrite = [\n  \"~/.local/bin\", # lint: write-on-path, it installs for its user\n]\n",
            );
            let found = asked(place, &["profile", "lint", &stated]);
            assert_eq!(found.status.code(), Some(0), "{}", text(&found.stdout));
        },
    );
}

#[test]
fn lint_tells_what_real_runs_never_used() {
    in_tiers(
        |tier| tier == Tier::Root,
        |place| {
            let ran = Jail::new(place).run(["true"]);
            let file = place.outside.join("v.json");
            std::fs::write(&file, ran.verdict.to_string()).expect("own directory");
            let file = file.to_str().expect("a test's own path");
            let web = draft(place, "web", "extends = \"untrusted\"\n[egress]\nallow = [\"a.example:443\"]\n");
            let found = asked(place, &["profile", "lint", &web, "--from", file]);
            let said = text(&found.stdout);
            assert!(said.contains("unused-host: [egress] allow `a.example:443`"), "{said}");
            assert!(said.contains("loose-limit: [limits] memory"), "{said}");
            // Without runs nothing is known of use.
            assert!(!text(&asked(place, &["profile", "lint", &web]).stdout).contains("unused"), "{said}");
        },
    );
}
