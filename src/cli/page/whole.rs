//! The page around what it shows: head, style, the list of runs, an end.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::html::Html;
use super::one;
use crate::verdict::Verdict;

/// All that is said about how it looks. Its hash is in the page, so a browser applies this and nothing else.
const STYLE: &str = include_str!("style.css");

/// A page grows no further once it has so many bytes; runs that did not fit are counted.
const MOST_BYTES: usize = 6 << 20;

/// The page for these runs, the oldest first.
pub fn page(verdicts: &[Verdict]) -> String {
    let mut page = Html::default();
    head(&mut page, verdicts);
    match verdicts {
        [verdict] => one::run(&mut page, verdict),
        several => session(&mut page, several),
    }
    page.raw("<footer>Written by clawjail ").ours(env!("CARGO_PKG_VERSION"));
    page.raw(" from its verdicts. No script, and nothing is loaded from anywhere.</footer>\n</body>\n</html>\n");
    page.into_string()
}

fn head(page: &mut Html, verdicts: &[Verdict]) {
    page.raw("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    let hash = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    page.raw("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-");
    page.ours(&hash).raw("'; base-uri 'none'; form-action 'none'\">\n");
    page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    page.raw("<meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"referrer\" content=\"no-referrer\">\n<title>");
    // In a title there is no markup, so only what is ours stands there.
    match verdicts {
        [verdict] => {
            page.ours(if verdict.denials.is_empty() { "clawjail: a run" } else { "clawjail: a run, with denials" })
        }
        several => page.ours(&format!("clawjail: {} runs", several.len())),
    };
    page.raw("</title>\n<style>").raw(STYLE).raw("</style>\n</head>\n<body>\n");
}

fn session(page: &mut Html, verdicts: &[Verdict]) {
    page.raw("<h1>").ours(&format!("{} runs", verdicts.len()));
    if let Some(session) = verdicts.first().and_then(|verdict| verdict.session.as_ref()) {
        page.raw(" of session ").text(session);
    }
    page.raw("</h1>\n");
    let denied = verdicts.iter().filter(|verdict| !verdict.denials.is_empty()).count();
    page.raw("<p class=\"soft\">").ours(&format!("{denied} of them were denied something.")).raw("</p>\n");
    for (done, verdict) in verdicts.iter().enumerate() {
        if page.size() > MOST_BYTES {
            page.raw("<p class=\"warn\">")
                .ours(&format!("{} more runs did not fit on the page.", verdicts.len() - done));
            page.raw("</p>\n");
            return;
        }
        page.raw("<details class=\"run\"><summary>");
        one::line(page, verdict);
        page.raw("</summary>\n");
        one::run(page, verdict);
        page.raw("</details>\n");
    }
}
