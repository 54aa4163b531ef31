//! The ways to start the binary that this machine and this user allow.

use super::jail::Jail;
use super::place::Place;

/// With which privileges and in which tier the binary is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Root, all namespaces.
    Root,
    /// An ordinary user, in a user namespace.
    User,
    /// Root, without namespaces.
    BareAsRoot,
    /// An ordinary user, without namespaces.
    Bare,
}

impl Tier {
    /// All there are.
    pub const ALL: [Tier; 4] = [Tier::Root, Tier::User, Tier::BareAsRoot, Tier::Bare];

    /// How it is called in what tests print.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Root => "root",
            Tier::User => "user",
            Tier::BareAsRoot => "bare-as-root",
            Tier::Bare => "bare",
        }
    }

    /// What `--tier` takes.
    pub fn word(self) -> &'static str {
        match self {
            Tier::Root => "root",
            Tier::User => "user",
            Tier::BareAsRoot | Tier::Bare => "bare",
        }
    }

    /// Whether the binary is started as root.
    pub fn as_root(self) -> bool {
        matches!(self, Tier::Root | Tier::BareAsRoot)
    }

    /// Whether a jail has a view, processes and a network of its own.
    pub fn has_namespaces(self) -> bool {
        matches!(self, Tier::Root | Tier::User)
    }
}

/// Why a tier is not tested here.
pub struct Skipped {
    /// Which.
    pub tier: Tier,
    /// Why.
    pub why: String,
    /// Whether that is as it should be: nobody but root can test as root.
    pub expected: bool,
}

/// The tiers to test here, and those that cannot be.
pub fn available() -> (Vec<Tier>, Vec<Skipped>) {
    let (mut tiers, mut skipped) = (Vec::new(), Vec::new());
    for tier in Tier::ALL {
        match obstacle(tier) {
            None => tiers.push(tier),
            Some((why, expected)) => skipped.push(Skipped { tier, why, expected }),
        }
    }
    (tiers, skipped)
}

/// Whether a skip is a failure: where nobody watches, nothing that should run may be left out.
pub fn must_not_skip() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}

fn obstacle(tier: Tier) -> Option<(String, bool)> {
    if tier.as_root() && !nix::unistd::geteuid().is_root() {
        return Some(("the tests were not started as root".into(), true));
    }
    let place = Place::new(tier);
    let ran = Jail::new(&place).run(["true"]);
    (ran.code == Some(126)).then(|| (ran.error_text(), false))
}
