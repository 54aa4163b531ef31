//! One case in one tier: what it tries, and what it found.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;

use super::support::etc::Etc;
use super::support::jail::{Jail, Ran};
use super::support::place::{Place, publish};
use super::support::tier::Tier;

/// An operation of the hostile program, and what must come of it.
pub struct Wish {
    operation: String,
    wanted: Wanted,
}

enum Wanted {
    /// One of these errno names, divided by `|`.
    Denied(&'static str),
    Works,
    Says(String),
}

/// Must fail with one of these errnos, as in `EACCES|EROFS`.
pub fn denied(operation: impl Into<String>, by: &'static str) -> Wish {
    Wish { operation: operation.into(), wanted: Wanted::Denied(by) }
}

/// Must work: the positive control.
pub fn works(operation: impl Into<String>) -> Wish {
    Wish { operation: operation.into(), wanted: Wanted::Works }
}

/// Must work and say this.
pub fn says(operation: impl Into<String>, what: impl Into<String>) -> Wish {
    Wish { operation: operation.into(), wanted: Wanted::Says(what.into()) }
}

impl Wish {
    /// Whether it is about this operation.
    pub fn is(&self, operation: &str) -> bool {
        self.operation == operation
    }
}

/// A case at work in one tier.
pub struct Trial {
    /// Which.
    pub tier: Tier,
    /// Where.
    pub place: Place,
    denied: usize,
    allowed: usize,
    wrong: Vec<String>,
    skipped: Option<String>,
    gap: Option<&'static str>,
}

/// How a case ended in a tier.
pub enum End {
    /// Everything was as it must be.
    Contained,
    /// Something was not.
    Escaped(Vec<String>),
    /// Something was not, and on a host like this one that is known.
    Gap(&'static str, Vec<String>),
    /// It does not apply here.
    Skipped(String),
}

impl Trial {
    /// With an empty workspace.
    pub fn new(tier: Tier) -> Trial {
        Trial { tier, place: Place::new(tier), denied: 0, allowed: 0, wrong: Vec::new(), skipped: None, gap: None }
    }

    /// A jail on this workspace, under the default profile.
    pub fn jail(&self) -> Jail<'_> {
        Jail::new(&self.place)
    }

    /// The hostile program's path inside, put there by this.
    pub fn arm(&self) -> String {
        let there = self.place.workspace.join("attack");
        if !there.exists() {
            let program = publish_once();
            // A link costs nothing; another filesystem needs a copy.
            if fs::hard_link(&program, &there).is_err() {
                fs::copy(&program, &there).expect("there is room in /tmp");
            }
        }
        "./attack".to_owned()
    }

    /// Tries everything in one run under the default profile.
    pub fn attack<const N: usize>(&mut self, wishes: [Wish; N]) -> Ran {
        self.attack_all(Vec::from(wishes))
    }

    /// As [`Trial::attack`], for lists.
    pub fn attack_all(&mut self, wishes: Vec<Wish>) -> Ran {
        let program = self.arm();
        let ran = self.jail().run(std::iter::once(&program).chain(wishes.iter().map(|wish| &wish.operation)));
        self.judge(&ran, &wishes);
        ran
    }

    /// Tries everything in one run under this profile, from the workspace's top.
    pub fn attack_under(&mut self, profile: &str, wishes: Vec<Wish>) -> Ran {
        let program = self.arm();
        let jail = self.jail().profile(profile);
        let ran = jail.run(std::iter::once(&program).chain(wishes.iter().map(|wish| &wish.operation)));
        self.judge(&ran, &wishes);
        ran
    }

    /// Runs words under a profile of this text: of root where root runs the tests, else of the tier's user.
    pub fn run_under(&self, text: &str, words: &[&str]) -> Ran {
        let name = format!("{}profile", self.place.token);
        let jail = self.jail().profile(&name);
        let mut command = jail.command(words);
        if let Some(etc) = Etc::new(&self.place) {
            etc.write(&format!("profiles/{name}.toml"), text);
            command = etc.command(&command);
        } else {
            self.place.write_profile(&name, text);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let ran = jail.finish(command.spawn().expect("the binary can be executed"));
        self.place.remove_profile(&name);
        ran
    }

    /// Tries everything in one run under a profile of this text.
    pub fn attack_under_text(&mut self, text: &str, wishes: Vec<Wish>) -> Ran {
        let program = self.arm();
        let words: Vec<&str> =
            std::iter::once(program.as_str()).chain(wishes.iter().map(|wish| wish.operation.as_str())).collect();
        let ran = self.run_under(text, &words);
        self.judge(&ran, &wishes);
        ran
    }

    /// Compares what the hostile program saw with what it must see.
    pub fn judge(&mut self, ran: &Ran, wishes: &[Wish]) {
        let text = ran.text();
        let answers: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.trim_end().split_once('\t')).collect();
        for wish in wishes {
            let Some(answer) = answers.get(wish.operation.as_str()) else {
                self.wrong.push(format!("`{}` was not tried: {}", wish.operation, ran.whole()));
                return;
            };
            let right = match &wish.wanted {
                Wanted::Denied(by) => by.split('|').any(|errno| errno == *answer),
                Wanted::Works => *answer == "ok" || answer.starts_with("ok "),
                Wanted::Says(what) => *answer == format!("ok {what}") || (what.is_empty() && *answer == "ok"),
            };
            let wanted = match &wish.wanted {
                Wanted::Denied(by) => {
                    self.denied += 1;
                    format!("must be {by}")
                }
                Wanted::Works => {
                    self.allowed += 1;
                    "must work".to_owned()
                }
                Wanted::Says(what) => {
                    self.allowed += 1;
                    format!("must say `{what}`")
                }
            };
            if !right {
                self.wrong.push(format!("`{}` {wanted}, was {answer}", wish.operation));
            }
        }
    }

    /// A negative finding that was made outside of the hostile program.
    pub fn deny(&mut self, what: &str, held: bool, otherwise: impl std::fmt::Display) {
        self.denied += 1;
        if !held {
            self.wrong.push(format!("{what}: {otherwise}"));
        }
    }

    /// A positive control that was made outside of the hostile program.
    pub fn allow(&mut self, what: &str, works: bool, otherwise: impl std::fmt::Display) {
        self.allowed += 1;
        if !works {
            self.wrong.push(format!("{what}: {otherwise}"));
        }
    }

    /// A run that must be refused before anything is executed: exit code 126 and exactly one line of ours beside the hint.
    pub fn refused(&mut self, what: &str, ran: &Ran) {
        let lines = ran.own_lines();
        let clear = lines.len() <= 2 && lines.first().is_some_and(|line| line.starts_with("clawjail: refused: "));
        self.deny(what, ran.code == Some(126) && clear && ran.stdout.is_empty(), ran.whole());
    }

    /// What a file of the workspace must hold on the host afterwards; `None`: it must not be there.
    pub fn host_has(&mut self, path: &str, wanted: Option<&str>) {
        let found = self.place.read(path);
        let there = self.place.holds(path);
        let right = found.as_deref() == wanted && there == wanted.is_some();
        self.deny(&format!("`{path}` on the host"), right, format!("must hold {wanted:?}, holds {found:?}"));
    }

    /// This case cannot be tried here.
    pub fn skip(&mut self, why: impl Into<String>) {
        self.skipped = Some(why.into());
    }

    /// It is known not to hold on this host, for this reason.
    pub fn gap(&mut self, why: &'static str) {
        self.gap = Some(why);
    }

    /// What it came to. A case without both a negative and a positive finding proves nothing, which is a failure.
    pub fn end(mut self) -> End {
        if let Some(why) = self.skipped {
            return End::Skipped(why);
        }
        if let Some(why) = self.gap {
            return End::Gap(why, self.wrong);
        }
        if self.wrong.is_empty() && (self.denied == 0 || self.allowed == 0) {
            self.wrong.push(format!("proves nothing: {} negative, {} positive", self.denied, self.allowed));
        }
        if self.wrong.is_empty() { End::Contained } else { End::Escaped(self.wrong) }
    }
}

fn publish_once() -> std::path::PathBuf {
    static PROGRAM: std::sync::OnceLock<std::path::PathBuf> = std::sync::OnceLock::new();
    PROGRAM.get_or_init(|| publish(&std::env::current_exe().expect("the kernel knows it"), "attack")).clone()
}
