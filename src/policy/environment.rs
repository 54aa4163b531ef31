//! Which environment names are not like the others.
//!
//! Owns the two questions about a name: does a loader, interpreter or tool run or load what it says (a hook), and does its
//! value look like a secret. The lists are `policies/environment/hooks.toml` and `policies/secrets/patterns.toml`. Must
//! not see values, and must not decide who may set what: profiles and requests do, by these answers.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;

/// Whether a name makes programs run or load something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Hook {
    /// No program is known to run or load what it says.
    No,
    /// Only `set` in a profile that root vouches for may give it.
    Yes,
}

/// Whether the value under a name is likely a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Secrecy {
    /// Nothing in the name says so.
    Open,
    /// It is never passed, and its value never recorded.
    Secret,
}

const HOOKS: &str = include_str!("../../policies/environment/hooks.toml");
const SECRETS: &str = include_str!("../../policies/secrets/patterns.toml");

/// Whether `name` is a hook.
pub fn is_hook(name: &[u8]) -> Hook {
    static PATTERNS: OnceLock<Vec<String>> = OnceLock::new();
    let patterns = PATTERNS.get_or_init(|| patterns_of(HOOKS));
    if patterns.iter().any(|pattern| matches(pattern, name)) { Hook::Yes } else { Hook::No }
}

/// Whether `name` is that of a secret. Case does not count, since people write `github_token` too.
pub fn secrecy(name: &[u8]) -> Secrecy {
    static PATTERNS: OnceLock<Vec<String>> = OnceLock::new();
    let patterns = PATTERNS.get_or_init(|| patterns_of(SECRETS));
    let name = name.to_ascii_uppercase();
    if patterns.iter().any(|pattern| matches(pattern, &name)) { Secrecy::Secret } else { Secrecy::Open }
}

/// The part of both lists that is about names.
#[derive(Deserialize)]
struct NameList {
    names: BTreeMap<String, String>,
}

/// The patterns of a list. One that cannot be read matches every name, so that a broken build grants nothing.
fn patterns_of(text: &str) -> Vec<String> {
    toml::from_str::<NameList>(text).map_or_else(|_| vec!["*".to_owned()], |list| list.names.into_keys().collect())
}

/// Whether `name` is what `pattern` says; `*` stands for any number of bytes. Goes through the name once for each `*`, for
/// a name comes from a stranger and may be long.
fn matches(pattern: &str, name: &[u8]) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern.as_bytes() == name };
    let Some(mut left) = name.strip_prefix(first.as_bytes()) else { return false };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*').filter(|part| !part.is_empty()) {
        let Some(at) = left.windows(part.len()).position(|window| window == part.as_bytes()) else { return false };
        left = left.get(at + part.len()..).unwrap_or_default();
    }
    left.ends_with(last.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lists_can_be_read_and_give_a_reason_a_name() {
        for text in [HOOKS, SECRETS] {
            let list: NameList = toml::from_str(text).expect("a shipped list");
            assert!(!list.names.is_empty());
            assert!(list.names.values().all(|why| !why.trim().is_empty()));
            assert!(!list.names.contains_key("*"));
        }
    }

    #[test]
    fn every_hook_of_the_corpus_is_known_and_ordinary_names_are_not() {
        let corpus = "LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT GCONV_PATH BASH_ENV ENV BASHOPTS SHELLOPTS PS4 PROMPT_COMMAND \
            FPATH ZDOTDIR KSH_ENV TCLLIBPATH NODE_OPTIONS NODE_PATH PYTHONSTARTUP PYTHONPATH PYTHONHOME PYTHONINSPECT \
            PERL5OPT PERL5LIB RUBYOPT RUBYLIB JAVA_TOOL_OPTIONS _JAVA_OPTIONS JDK_JAVA_OPTIONS GIT_SSH GIT_SSH_COMMAND \
            GIT_EXTERNAL_DIFF GIT_PAGER GIT_EDITOR GIT_ASKPASS GIT_CONFIG_COUNT GIT_CONFIG_KEY_0 GIT_CONFIG_GLOBAL \
            GIT_EXEC_PATH GIT_TEMPLATE_DIR GIT_PROXY_COMMAND PAGER EDITOR VISUAL BROWSER LESSOPEN MANPAGER IFS \
            BASH_FUNC_ls%% RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER CARGO_BUILD_RUSTC_WRAPPER npm_config_node_options \
            CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER GLIBC_TUNABLES GIT_CONFIG_PARAMETERS GIT_DIR npm_config_userconfig";
        for name in corpus.split_whitespace() {
            assert_eq!(is_hook(name.as_bytes()), Hook::Yes, "{name}");
        }
        let ordinary = "PATH HOME LANG LC_ALL TERM COLUMNS NO_COLOR CI TZ USER RUSTUP_HOME CARGO_HOME GIT_AUTHOR_NAME \
            PYTHONUNBUFFERED CARGO_TARGET_DIR CARGO_BUILD_JOBS CC CFLAGS RUSTFLAGS NODE_ENV GOPATH QT_QPA_PLATFORM";
        for name in ordinary.split_whitespace() {
            assert_eq!(is_hook(name.as_bytes()), Hook::No, "{name}");
        }
    }

    #[test]
    fn a_secret_is_known_by_its_name() {
        for name in ["GITHUB_TOKEN", "aws_secret_access_key", "OPENAI_API_KEY", "DB_PASSWORD", "SSH_AUTH_SOCK"] {
            assert_eq!(secrecy(name.as_bytes()), Secrecy::Secret, "{name}");
        }
        for name in ["PATH", "TERM", "LANG", "MONKEY", "KEYBOARD", "TZ"] {
            assert_eq!(secrecy(name.as_bytes()), Secrecy::Open, "{name}");
        }
    }

    #[test]
    fn a_list_that_cannot_be_read_matches_everything() {
        assert_eq!(patterns_of("names = 3"), ["*"]);
        assert!(matches("*", b"ANYTHING"));
    }

    #[test]
    fn a_star_stands_for_any_bytes_and_for_none() {
        for (pattern, name) in
            [("A*", "A"), ("A*", "AB"), ("*A", "BA"), ("A*B*C", "AxByBC"), ("*_S_*", "A_S_B"), ("A", "A")]
        {
            assert!(matches(pattern, name.as_bytes()), "{pattern} {name}");
        }
        for (pattern, name) in
            [("A*", "BA"), ("*A", "AB"), ("A*A", "A"), ("A*B*C", "ACB"), ("A", "AA"), ("*_S_*", "_S")]
        {
            assert!(!matches(pattern, name.as_bytes()), "{pattern} {name}");
        }
        assert_eq!(is_hook(&vec![b'C'; 4 << 20]), Hook::No);
    }
}
