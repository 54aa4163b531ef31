//! `clawjail report`: a page that shows what was, and that nothing on it can become a part of.

use base64::Engine;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::*;

/// What somebody could put into a name, an argument or a host.
fn hostile() -> Vec<String> {
    let long = "x".repeat(4096);
    [
        "</script><script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' onmouseover='alert(1)",
        "<!-- --><style>*{display:none}</style>",
        "</style></title></head><body onload=alert(1)>",
        "]]>&lt;&#60;&amp;&#0;",
        "javascript:alert(1)",
        "\u{202e}gnp.exe\u{2066}",
        "\u{0}\u{1b}[31m\r\n\t\u{7f}\u{85}\u{2028}\u{feff}\u{fffe}\u{1ffff}",
        "\u{fffd}\u{fffd} not UTF-8",
        "ünï🦀",
        "",
        "%s{}{{}}\\",
        &long,
    ]
    .map(str::to_owned)
    .to_vec()
}

/// A verdict of a real run, with everything that others choose replaced.
fn verdict(place: &Place, text: &str) -> Value {
    let mut verdict = Jail::new(place).run(["true"]).verdict;
    assert_eq!(verdict["outcome"], "exited");
    verdict["argv"] = json!([text, text]);
    for key in ["profile", "agent", "session", "cwd", "denial_hint"] {
        verdict[key] = json!(text);
    }
    verdict["denials"] = json!([{
        "kind": text, "what": text, "mechanism": text, "rule": text, "count": 3, "remedy": text,
        "process": { "pid": 7, "name": text },
    }]);
    verdict["evidence"]["unseen"] = json!([text]);
    let activity = &mut verdict["activity"];
    activity["commands"] = json!([
        { "pid": 2, "parent": null, "path": text, "argv": [text, text], "cut": false, "after_us": 5, "lasted_us": 900, "exit_code": 1, "signal": null },
        { "pid": 3, "parent": 2, "path": text, "argv": [], "cut": true, "after_us": u64::MAX, "lasted_us": null, "exit_code": null, "signal": 9 },
    ]);
    activity["files"] = json!([
        { "path": format!("/w/{text}/{text}"), "change": "created", "from": null, "before": null, "after": 5 },
        { "path": text, "change": text, "from": text, "before": 1, "after": u64::MAX },
    ]);
    activity["connections"] = json!([{
        "name": text, "address": null, "port": 443, "protocol": "tcp", "spoken": text, "decision": text, "rule": text,
        "sent": u64::MAX, "received": u64::MAX, "after_us": 0, "lasted_us": 0, "count": 1,
    }]);
    activity["listening"] = json!([{ "protocol": "tcp", "address": text, "port": 1, "pid": 2, "after_us": 3 }]);
    activity["peaks"] = json!([{ "limit": text, "used": 5, "most": 4, "reached": 2 }]);
    verdict["enforcement"]["promises"][0]["missing"] = json!(text);
    verdict
}

fn page(place: &Place, verdicts: &[Value]) -> String {
    let [file, html] = ["v.json", "page.html"].map(|name| place.outside.join(name));
    let lines: Vec<String> = verdicts.iter().map(Value::to_string).collect();
    std::fs::write(&file, lines.join("\n")).expect("own directory");
    let [from, to] = [&file, &html].map(|path| path.to_str().expect("a test's own path"));
    let written = asked(place, &["report", "--from", from, "--html", to]);
    assert!(written.status.success(), "{written:?}");
    std::fs::read_to_string(&html).expect("it was written, as UTF-8")
}

/// Reads a page as strictly as can be: only elements and attributes that we write, each closed where it was opened. Says how many
/// elements there are, and all the text.
fn read_strictly(page: &str) -> (usize, String) {
    const ELEMENTS: [&str; 29] = [
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "small", "p", "dl", "dt", "dd", "div", "span",
        "code", "strong", "ul", "li", "details", "summary", "svg", "rect", "bdi", "footer", "br", "hr", "main",
        "section",
    ];
    const ATTRIBUTES: [&str; 16] = [
        "lang",
        "charset",
        "http-equiv",
        "content",
        "name",
        "class",
        "viewBox",
        "preserveAspectRatio",
        "aria-hidden",
        "width",
        "height",
        "x",
        "y",
        "open",
        "id",
        "role",
    ];
    let mut rest = page.strip_prefix("<!DOCTYPE html>").expect("it begins so");
    let (mut opened, mut count, mut text): (Vec<&str>, usize, String) = (Vec::new(), 0, String::new());
    while let Some((before, after)) = rest.split_once('<') {
        assert!(!before.contains('>') || opened.last() == Some(&"style"), "a stray `>`: {before:?}");
        text.push_str(before);
        let (tag, after) = after.split_once('>').expect("every tag ends");
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(opened.pop(), Some(name), "closed in the wrong place");
            continue;
        }
        let (name, mut attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        assert!(ELEMENTS.contains(&name), "element `{name}`");
        while !attributes.is_empty() {
            if let Some(more) = attributes.strip_prefix("open").filter(|more| more.is_empty()) {
                attributes = more;
                continue;
            }
            let (key, value) = attributes.split_once("=\"").expect("every value is quoted");
            assert!(ATTRIBUTES.contains(&key), "attribute `{key}` of `{name}`");
            let (_, more) = value.split_once('"').expect("every value ends");
            attributes = more.trim_start();
        }
        count += 1;
        if name != "meta" {
            opened.push(name);
        }
    }
    assert_eq!(opened, Vec::<&str>::new(), "all is closed");
    (count, text + rest)
}

#[test]
fn nothing_that_a_command_chose_becomes_a_part_of_the_page() {
    in_tiers(
        |tier| tier == Tier::Root,
        |place| {
            let (plain, _) = read_strictly(&page(place, &[verdict(place, "plain")]));
            for text in hostile() {
                let page = page(place, &[verdict(place, &text)]);
                let (count, shown) = read_strictly(&page);
                // What cannot be shown stands in an element of its own; besides there are as many as ever, and a path has
                // as many directories as it has slashes.
                let own = page.matches("<span class=\"odd\">").count();
                let slashes = text.matches('/').count() * 12 + 12;
                assert!(
                    count >= own && count - own <= plain + slashes,
                    "{text:?}: {count} elements, {plain} of a plain one"
                );
                for letter in shown.chars() {
                    let number = u32::from(letter);
                    let odd = letter.is_control() && letter != '\n'
                        || matches!(number, 0x200b..=0x200f | 0x2028..=0x202e | 0x2066..=0x2069 | 0xfeff | 0xfffe | 0x1ffff);
                    assert!(!odd, "{number:x} of {text:?} is on the page");
                }
            }
        },
    );
}

#[test]
fn a_browser_is_told_to_load_nothing_and_to_run_nothing_and_the_style_is_the_one_that_is_named() {
    in_tiers(
        |tier| tier == Tier::Root,
        |place| {
            let page = page(place, &[verdict(place, "plain")]);
            let style =
                page.split_once("<style>").and_then(|(_, rest)| rest.split_once("</style>")).expect("a style").0;
            let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(style.as_bytes()));
            let policy = format!(
                "content=\"default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'\""
            );
            assert!(page.contains(&policy), "{policy}");
            for word in
                ["<script", "src=", "href=", "url(", "@import", "style=", "<link", "<iframe", "http://", "https://"]
            {
                assert!(!page.contains(word), "{word}");
            }
            assert!(page.contains("prefers-color-scheme: dark") && page.contains("width=device-width"));
        },
    );
}

#[test]
fn a_page_stays_small_however_much_there_was() {
    in_tiers(
        |tier| tier == Tier::Root,
        |place| {
            let mut large = verdict(place, &"&".repeat(1000));
            for key in ["commands", "files", "connections", "listening"] {
                let one = large["activity"][key][0].clone();
                large["activity"][key] = Value::Array(vec![one; 1200]);
            }
            large["denials"] = Value::Array(vec![large["denials"][0].clone(); 1000]);
            let one = page(place, std::slice::from_ref(&large));
            assert!(one.len() < 10 << 20, "{} bytes", one.len());
            read_strictly(&one);
            let several = page(place, &vec![large; 3]);
            assert!(several.len() < 16 << 20 && several.contains("more runs did not fit"), "{} bytes", several.len());
        },
    );
}

#[test]
fn a_session_of_real_runs_is_one_page() {
    in_tiers(
        |tier| tier == Tier::Root,
        |place| {
            let ledger = place.outside.join("ledger");
            let ledger = ledger.to_str().expect("a test's own path");
            for (session, script) in [("night", "true"), ("night", "echo x > SOUL.md"), ("day", "false")] {
                Jail::new(place).option("--ledger").option(ledger).option("--session").option(session).bash(script);
            }
            let html = place.outside.join("night.html");
            let html = html.to_str().expect("a test's own path");
            let written = asked(place, &["report", "night", "--ledger", ledger, "--html", html]);
            assert!(text(&written.stdout).contains("2 runs"), "{written:?}");
            let page = std::fs::read_to_string(html).expect("it was written");
            let (_, shown) = read_strictly(&page);
            assert!(
                shown.contains("SOUL.md") && shown.contains("2 runs of session night") && !shown.contains("false"),
                "{shown}"
            );
            let none = asked(place, &["report", "noon", "--ledger", ledger, "--html", html]);
            assert_eq!(none.status.code(), Some(126), "{none:?}");
        },
    );
}
