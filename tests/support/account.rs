//! Whose work the tests do: our own, or that of an ordinary account.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The account that stands in for an ordinary user when tests run as root.
const NAME: &str = "clawjail-test";

/// An account of this machine.
#[derive(Clone, Debug)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Home directory.
    pub home: PathBuf,
}

/// Whoever runs the tests.
pub fn own() -> &'static Account {
    static OWN: OnceLock<Account> = OnceLock::new();
    OWN.get_or_init(|| {
        let uid = nix::unistd::geteuid().as_raw();
        by(|fields| fields[2] == uid.to_string()).expect("whoever runs tests has an entry in /etc/passwd")
    })
}

/// An ordinary user: ourselves, or one that is made for it.
pub fn ordinary() -> &'static Account {
    static ORDINARY: OnceLock<Account> = OnceLock::new();
    ORDINARY.get_or_init(|| {
        if own().uid != 0 {
            return own().clone();
        }
        let named = || by(|fields| fields[0] == NAME);
        named().unwrap_or_else(|| {
            let made = Command::new("useradd").args(["--create-home", "--shell", "/bin/bash", NAME]).status();
            assert!(made.is_ok_and(|status| status.success()) || named().is_some(), "cannot make the account {NAME}");
            named().expect("the account was just made")
        })
    })
}

fn by(wanted: impl Fn(&[&str]) -> bool) -> Option<Account> {
    let text = fs::read_to_string("/etc/passwd").expect("everyone can read /etc/passwd");
    let line = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let fields = line.into_iter().find(|fields| fields.len() >= 6 && wanted(fields))?;
    Some(Account {
        name: fields[0].into(),
        uid: fields[2].parse().ok()?,
        gid: fields[3].parse().ok()?,
        home: fields[5].into(),
    })
}
