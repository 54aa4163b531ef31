//! Paths of requests, in the one form in which they are judged and sent.
//!
//! Owns what a path means: escapes that mean themselves are undone, `.` and `..` are followed, empty segments go. Where a server
//! might undo more than that (`%2F`, `%252e`), every way to read the path is judged, and one that would lead up is refused. RFC 3986.

/// A path as it is sent, and what servers may take it for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    text: String,
    readings: Vec<Vec<String>>,
}

/// A path that nobody can be sure to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathFlaw;

/// How often escapes may be escaped; after that, nobody means it.
const DEEPEST: usize = 4;

impl Path {
    /// Reads the path of a request target, without its query.
    pub fn read(raw: &str) -> Result<Path, PathFlaw> {
        let plain = raw.bytes().all(|byte| matches!(byte, b'!'..=b'~') && !matches!(byte, b'\\' | b'?' | b'#'));
        let rest = raw.strip_prefix('/').filter(|_| plain).ok_or(PathFlaw)?;
        let segments = walk(&tidy(rest)?)?;
        let text = format!("/{}", segments.join("/"));
        let mut readings = vec![segments];
        let mut read = text.clone();
        let ambiguous = ["%2F", "%5C", "%25"].iter().any(|escape| text.contains(escape));
        for _ in (0..DEEPEST).filter(|_| ambiguous) {
            let deeper = undo_all(&read);
            if deeper == read {
                break;
            }
            readings.push(split_as_any_server(&deeper)?);
            read = deeper;
        }
        if ambiguous && undo_all(&read) != read { Err(PathFlaw) } else { Ok(Path { text, readings }) }
    }

    /// As it is sent.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether each way to read it matches one of `patterns`.
    pub fn matches(&self, patterns: &[String]) -> bool {
        self.readings.iter().all(|reading| patterns.iter().any(|pattern| one_matches(pattern, reading)))
    }
}

/// What is wrong with a pattern for paths, if anything is.
pub fn flaw_of_pattern(pattern: &str) -> Option<&'static str> {
    if !pattern.starts_with('/') {
        return Some("it does not begin with `/`");
    }
    let plain = |byte| matches!(byte, b'!'..=b'~') && !matches!(byte, b'\\' | b'?' | b'#' | b'[' | b'{');
    if !pattern.bytes().all(plain) {
        return Some("it has a character that no path has; escape it as `%20`, and leave queries out");
    }
    if pattern.split('/').any(|segment| segment.contains("**") && segment != "**") {
        return Some("`**` stands for whole segments, as in `/repos/**`");
    }
    // What no path is sent as would never match.
    let same = Path::read(pattern).is_ok_and(|path| path.text == pattern);
    (!same)
        .then_some("no path is sent like this: it has an empty segment, a `.` or `..`, or an escape that is not needed")
}

fn one_matches(pattern: &str, reading: &[String]) -> bool {
    let matches = |pattern: &str| {
        let segments: Vec<&str> = pattern.strip_prefix('/').unwrap_or(pattern).split('/').collect();
        segments_match(&segments, reading)
    };
    matches(pattern) || (pattern.contains('%') && matches(&undo_all(pattern)))
}

/// `**` stands for any number of segments. The last one is tried anew when what follows does not fit: no deeper, so that no
/// pattern takes long.
fn segments_match(pattern: &[&str], path: &[String]) -> bool {
    let (mut p, mut s, mut star) = (0, 0, None);
    while s < path.len() {
        match (pattern.get(p), path.get(s)) {
            (Some(&"**"), _) => {
                star = Some((p + 1, s));
                p += 1;
            }
            (Some(one), Some(segment)) if glob(one, segment) => {
                p += 1;
                s += 1;
            }
            _ => {
                let Some((after, from)) = star else { return false };
                star = Some((after, from + 1));
                (p, s) = (after, from + 1);
            }
        }
    }
    pattern.iter().skip(p).all(|rest| *rest == "**")
}

/// Whether `text` is what `pattern` says, `*` standing for anything.
pub fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(byte) if text.get(t) == Some(byte) => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((after, from)) = star else { return false };
                star = Some((after, from + 1));
                (p, t) = (after, from + 1);
            }
        }
    }
    pattern.iter().skip(p).all(|byte| *byte == b'*')
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The byte that the escape at the start of `text` stands for.
fn escaped(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(*high)? << 4 | digit(*low)?)
}

/// Escapes undone where they mean nothing, and spelled in one way where they do.
fn tidy(text: &str) -> Result<String, PathFlaw> {
    let (mut tidied, mut rest) = (String::with_capacity(text.len()), text.as_bytes());
    while let [first, after @ ..] = rest {
        if *first != b'%' {
            tidied.push(char::from(*first));
            rest = after;
            continue;
        }
        match escaped(rest) {
            None | Some(0..=0x1f | 0x7f) => return Err(PathFlaw),
            Some(byte) if is_unreserved(byte) => tidied.push(char::from(byte)),
            Some(byte) => tidied.push_str(&format!("%{byte:02X}")),
        }
        rest = rest.get(3..).unwrap_or_default();
    }
    Ok(tidied)
}

/// Every escape undone, as a careless server would, also one that is none of UTF-8.
fn undo_all(text: &str) -> String {
    let (mut undone, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, after @ ..] = rest {
        let byte = escaped(rest);
        undone.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { rest.get(3..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&undone).into_owned()
}

/// Follows `.` and `..`. An empty last segment is kept: `/a/` is not `/a`.
fn walk(text: &str) -> Result<Vec<String>, PathFlaw> {
    let mut walked: Vec<String> = Vec::new();
    let mut ends_in_slash = false;
    for segment in text.split('/') {
        ends_in_slash = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => drop(walked.pop().ok_or(PathFlaw)?),
            other if leads_up(other) => return Err(PathFlaw),
            other => walked.push(other.to_owned()),
        }
    }
    if ends_in_slash || walked.is_empty() {
        walked.push(String::new());
    }
    Ok(walked)
}

/// Whether a server that cuts parameters off (`..;x`) would take it for a step.
fn leads_up(segment: &str) -> bool {
    matches!(segment.split(';').next(), Some("." | ".."))
}

/// The segments of a path that was undone too often, both slashes taken for what they are. No step is followed there.
fn split_as_any_server(text: &str) -> Result<Vec<String>, PathFlaw> {
    if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return Err(PathFlaw);
    }
    let mut segments: Vec<&str> = text.split(['/', '\\']).skip(1).collect();
    if segments.iter().any(|segment| leads_up(segment)) {
        return Err(PathFlaw);
    }
    let ends_in_slash = segments.last().is_none_or(|last| last.is_empty());
    segments.retain(|segment| !segment.is_empty());
    if ends_in_slash {
        segments.push("");
    }
    Ok(segments.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sent(raw: &str) -> Option<String> {
        Path::read(raw).ok().map(|path| path.text)
    }

    fn matches(raw: &str, patterns: &[&str]) -> bool {
        let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        Path::read(raw).is_ok_and(|path| path.matches(&patterns))
    }

    #[test]
    fn a_path_is_sent_in_one_form() {
        for (raw, wanted) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("//a///b", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/a/b/..", "/a/"),
            ("/%61%7e%2d", "/a~-"),
            ("/a%20b%c3%a9", "/a%20b%C3%A9"),
            ("/a;x=1/b", "/a;x=1/b"),
            ("/@scope%2fname", "/@scope%2Fname"),
            ("/...", "/..."),
        ] {
            assert_eq!(sent(raw).as_deref(), Some(wanted), "{raw}");
        }
    }

    /// C11.
    #[test]
    fn what_some_server_would_read_as_a_step_up_is_no_path() {
        for raw in [
            "",
            "a",
            "*",
            "/..",
            "/../a",
            "/a/../../b",
            "/%2e%2e/a",
            "/a/..;/b",
            "/a/..;x=1/b",
            "/a/.;/b",
            "/a\\b",
            "/a\\..\\b",
            "/a/..%2fb",
            "/a%2f..%2fb",
            "/a%5c..%5cb",
            "/a%252f..%252fb",
            "/a/%252e%252e/b",
            "/a/%25252e%25252e/b",
            "/a%00b",
            "/a%0d%0ab",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a b",
            "/a\u{e9}",
            "/a?b",
            "/a#b",
            "/a\tb",
            "/a/%2e%2e%2fb",
            "/%252e%252e%255cb",
            "/a/.%252e/b",
            "/a%2f%2e%2e/b",
        ] {
            assert_eq!(sent(raw), None, "{raw}");
        }
    }

    #[test]
    fn stars_stand_for_what_they_say() {
        for (raw, pattern, wanted) in [
            ("/a", "/a", true),
            ("/a/", "/a", false),
            ("/a/b", "/a/*", true),
            ("/a/b/c", "/a/*", false),
            ("/a/b/c", "/a/**", true),
            ("/a", "/a/**", true),
            ("/ab", "/a/**", false),
            ("/a/x/y/z", "/**/z", true),
            ("/a/x/y/z", "/a/**/z", true),
            ("/a/z", "/a/**/z", true),
            ("/a/x/y", "/a/**/z", false),
            ("/repos/me/it.git", "/repos/me/*.git", true),
            ("/repos/me/it.git/x", "/repos/me/*.git", false),
            ("/A", "/a", false),
            ("/a%20b", "/a%20b", true),
            ("/anything/at/all", "/**", true),
            ("/", "/**", true),
            ("/a/../b", "/a/**", false),
            ("/a/%2e%2e/b", "/a/**", false),
            ("//b/a", "/a/**", false),
        ] {
            assert_eq!(matches(raw, &[pattern]), wanted, "{raw} {pattern}");
        }
    }

    #[test]
    fn a_path_that_can_be_read_in_two_ways_must_be_allowed_in_both() {
        assert!(!matches("/a%2fb", &["/*"]));
        assert!(!matches("/a%2fb", &["/a/b"]));
        assert!(matches("/a%2fb", &["/*", "/a/b"]));
        assert!(matches("/a%2fb", &["/**"]));
        assert!(matches("/@scope%2fname", &["/@scope%2F*", "/@scope/*"]));
        assert!(!matches("/public/x%2fy%252fz", &["/public/*"]));
    }

    #[test]
    fn a_pattern_that_could_never_match_is_one_with_a_flaw() {
        for pattern in ["/", "/**", "/a/*.git", "/a/**/b", "/a%20b", "/a/"] {
            assert_eq!(flaw_of_pattern(pattern), None, "{pattern}");
        }
        for pattern in [
            "",
            "a",
            "*",
            "/a b",
            "/a?b=c",
            "/a**",
            "/a/../b",
            "/a//b",
            "/%61",
            "/a%2e",
            "/{a,b}",
            "/[ab]",
            "https://a/b",
        ] {
            assert!(flaw_of_pattern(pattern).is_some(), "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn what_is_sent_is_sent_the_same_again(raw in "(/|%2e|%2f|%25|%5c|\\.|a|b|;|%41|%c3){0,12}") {
            let raw = format!("/{raw}");
            if let Some(once) = sent(&raw) {
                prop_assert_eq!(sent(&once), Some(once.clone()));
                let walks = once.split('/').any(|segment| matches!(segment, "." | ".."));
                prop_assert!(!walks && !once.contains("//"), "{}", once);
            }
        }

        #[test]
        fn no_number_of_undoings_leads_out_of_what_was_allowed(raw in "(/|%2e|%2E|%2f|%252e|%252f|%5c|\\.|x){0,10}") {
            let raw = format!("/public/{raw}");
            if matches(&raw, &["/public/**"]) {
                let mut read = sent(&raw).expect("it matched");
                for _ in 0..6 {
                    let mut depth = 0;
                    for segment in read.split(['/', '\\']).filter(|segment| !matches!(*segment, "" | ".")) {
                        depth += if segment == ".." { -1 } else { 1 };
                        prop_assert!(depth > 0, "{}", read);
                    }
                    prop_assert!(read.starts_with("/public"));
                    read = undo_all(&read);
                }
            }
        }

        #[test]
        fn no_text_upsets_it(raw in "\\PC{0,60}", pattern in "\\PC{0,30}") {
            let _ = Path::read(&raw).map(|path| path.matches(std::slice::from_ref(&pattern)));
            let _ = flaw_of_pattern(&pattern);
        }
    }
}
