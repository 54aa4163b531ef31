//! `[ledger]` of a configuration file.

use std::borrow::Cow;

use clawjail::ledger::config::{Fsync, LedgerTable, WhenFull};
use clawjail::policy::document::{Authority, Document};
use clawjail::profile::typed::Exact;
use clawjail::profile::units::Span;

use super::*;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    ledger: LedgerTable,
}

/// The settings, or the error in one line.
fn read(text: &str) -> Result<Settings, String> {
    let text = Cow::Owned(format!("[ledger]\n{text}"));
    let document = Document { source: "clawjail.toml".into(), text, authority: Authority::Root };
    let file: File = document.parse().map_err(|flaw| flaw.to_string())?;
    file.ledger.settings()
}

#[test]
fn an_empty_table_means_the_strict_side() {
    let settings = read("").expect("nothing is required");
    assert_eq!((settings.when_full, settings.access.mode, settings.access.group), (WhenFull::Refuse, 0o640, None));
    assert_eq!(settings.fsync, Fsync::Interval(Exact(Span(1000))));
    assert!(settings.journald.is_none() && settings.syslog.is_none() && settings.ocsf.is_none());
}

#[test]
fn every_key_means_what_it_says() {
    let settings = read(
        "path = \"/srv/ledger\"\nfsync = { interval = \"500ms\" }\nwhen_full = \"run-and-warn\"\nrotate_size = \"1M\"\n\
         rotate_every = \"1h\"\nmode = \"0600\"\ngroup = \"root\"\njournald = true\nsyslog = true\nocsf = \"/srv/events\"\n",
    )
    .expect("all of it is known");
    assert_eq!((settings.path.as_path(), settings.when_full), (Path::new("/srv/ledger"), WhenFull::RunAndWarn));
    assert_eq!((settings.rotate_size, settings.rotate_every), (1 << 20, 3_600_000));
    assert_eq!((settings.access.mode, settings.access.group), (0o600, Some(0)));
    assert_eq!(settings.fsync, Fsync::Interval(Exact(Span(500))));
    assert!(settings.journald.is_some() && settings.syslog.is_some() && settings.ocsf.is_some());
    assert_eq!(read("fsync = \"always\"").map(|settings| settings.fsync), Ok(Fsync::Always));
    assert_eq!(read("fsync = \"never\"").map(|settings| settings.fsync), Ok(Fsync::Never));
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_place_and_what_may_be_meant() {
    for (text, said) in [
        (
            "rotate_sise = \"1M\"",
            "clawjail.toml:2:1: unknown key `rotate_sise` in [ledger], did you mean `rotate_size`?",
        ),
        (
            "fsync = \"allways\"",
            "clawjail.toml:2:9: unknown value `allways` for `fsync` in [ledger], did you mean `always`?",
        ),
        ("when_full = \"warn\"", "unknown value `warn` for `when_full`"),
        ("rotate_size = 5", "has no unit"),
        ("fsync = { interval = \"0s\" }", "is zero"),
        ("mode = \"0666\"", "`mode` in [ledger] cannot be `0666`"),
        ("mode = \"0040\"", "`mode` in [ledger] cannot be `0040`"),
        ("group = \"no such group\"", "`/etc/group` has no such group"),
        ("path = \"ledger\"", "`ledger` in [ledger] is not an absolute path"),
    ] {
        let refused = read(text).expect_err(text);
        assert!(refused.contains(said), "{refused}");
    }
}
