//! Which files a service consists of, where they are, and what is in them.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::report::Problem;
use crate::confine::Ids;
use crate::daemon::config::{DEFAULT_PATH, DEFAULT_SOCKET};
use crate::daemon::configuring::{default_ledger, default_socket};
use crate::jail::accounts::{self, User};
use crate::policy::names::shown;

/// For whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A service of root, for whoever is granted something.
    Machine,
    /// A service of one user, for themselves.
    OneUser,
}

/// What happens to a file that nobody has changed and that would be written differently now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upkeep {
    /// It is written anew: a newer clawjail knows better.
    Renewed,
    /// It stays: who was found when it was written is its content.
    Once,
}

/// A file.
pub struct File {
    /// Where.
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
    /// How it ages.
    pub upkeep: Upkeep,
}

impl File {
    /// Whether systemd has to read it again.
    pub fn is_unit(&self) -> bool {
        self.path.extension().is_some_and(|kind| kind == "service" || kind == "socket")
    }
}

/// All of it.
pub struct Layout {
    /// For whom.
    pub scope: Scope,
    /// The binary that units start.
    pub binary: PathBuf,
    /// Where callers connect.
    pub socket: PathBuf,
    /// Where the ledger will be made.
    pub state: PathBuf,
    /// The configuration first.
    pub files: Vec<File>,
    prefix: Option<PathBuf>,
}

/// What the units in dist/ start, and where the packages put it.
const PACKAGED: &str = "/usr/bin/clawjail";

impl Layout {
    /// From what there is on this machine. `prefix`: the files are for another one.
    pub fn find(scope: Scope, prefix: Option<&Path>) -> Result<Layout, Problem> {
        let binary = std::env::current_exe().and_then(|path| path.canonicalize());
        let binary = binary.map_err(|error| Problem::Failed(format!("cannot find the clawjail that runs: {error}")))?;
        let prefix = prefix.map(|prefix| std::path::absolute(prefix).unwrap_or_else(|_| prefix.to_owned()));
        match scope {
            Scope::Machine if prefix.is_none() => for_root(&binary)?,
            Scope::Machine | Scope::OneUser => {}
        }
        if !binary.to_string_lossy().chars().all(|letter| letter.is_ascii_alphanumeric() || "/._+-".contains(letter)) {
            let message = format!("`{}` cannot be written into a unit", shown(&binary.to_string_lossy()));
            return Err(Problem::Refused(
                message,
                Some("install it under a plain path, such as /usr/local/bin".into()),
            ));
        }
        let socket = match scope {
            Scope::Machine => PathBuf::from(DEFAULT_SOCKET),
            Scope::OneUser => default_socket(accounts::own_ids()),
        };
        let owner = match scope {
            Scope::Machine => Ids { uid: 0, gid: 0 },
            Scope::OneUser => accounts::own_ids(),
        };
        let ledger = default_ledger(owner);
        let state = below(prefix.as_deref(), ledger.parent().unwrap_or(&ledger));
        let mut layout = Layout { scope, binary, socket, state, files: Vec::new(), prefix };
        match scope {
            Scope::Machine => layout.add_machine(),
            Scope::OneUser => layout.add_one_user()?,
        }
        Ok(layout)
    }

    /// Where the configuration is.
    pub fn configuration(&self) -> &Path {
        self.files.first().map_or(Path::new(DEFAULT_PATH), |file| &file.path)
    }

    fn add(&mut self, path: impl AsRef<Path>, text: &str, upkeep: Upkeep) {
        let path = below(self.prefix.as_deref(), path.as_ref());
        let text = text.replace(PACKAGED, &self.binary.to_string_lossy());
        self.files.push(File { path, text, upkeep });
    }

    fn add_machine(&mut self) {
        let users = accounts::users();
        let callers = callers(&users, number_in("SUDO_UID"), |user| user.home.join(".openclaw").is_dir());
        let units = "/etc/systemd/system";
        self.add(DEFAULT_PATH, &configuration(&callers), Upkeep::Once);
        for (path, text) in [
            (format!("{units}/clawjail.service"), include_str!("../../../dist/systemd/clawjail.service")),
            (format!("{units}/clawjail.socket"), include_str!("../../../dist/systemd/clawjail.socket")),
            ("/etc/sysusers.d/clawjail.conf".into(), include_str!("../../../dist/sysusers.d/clawjail.conf")),
            ("/etc/tmpfiles.d/clawjail.conf".into(), include_str!("../../../dist/tmpfiles.d/clawjail.conf")),
        ] {
            self.add(path, text, Upkeep::Renewed);
        }
    }

    fn add_one_user(&mut self) -> Result<(), Problem> {
        let own = accounts::own_ids();
        if own.uid == 0 {
            return Err(Problem::Refused("root's own service is the machine's: leave `--user` out".into(), None));
        }
        // Where `clawjail serve` looks for it.
        let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
        let home = home.unwrap_or_else(|| accounts::caller(own.uid, own.gid).home);
        let units = home.join(".config/systemd/user");
        self.add(home.join(".config/clawjail/clawjail.toml"), OWN_CONFIGURATION, Upkeep::Once);
        let service = include_str!("../../../dist/systemd/user/clawjail.service");
        let socket = include_str!("../../../dist/systemd/user/clawjail.socket");
        self.add(units.join("clawjail.service"), service, Upkeep::Renewed);
        self.add(units.join("clawjail.socket"), socket, Upkeep::Renewed);
        Ok(())
    }
}

fn below(prefix: Option<&Path>, path: &Path) -> PathBuf {
    match prefix {
        Some(prefix) => prefix.join(path.strip_prefix("/").unwrap_or(path)),
        None => path.to_owned(),
    }
}

/// What root is to start must be root's to change, and root must be asking.
fn for_root(binary: &Path) -> Result<(), Problem> {
    if accounts::own_ids().uid != 0 {
        let hint = "`sudo clawjail setup`, or `clawjail setup --user` for a service of your own";
        return Err(Problem::Refused("a service for this machine is root's to set up".into(), Some(hint.into())));
    }
    let foreign = binary
        .ancestors()
        .find(|path| path.symlink_metadata().is_ok_and(|about| about.uid() != 0 || about.mode() & 0o022 != 0));
    let Some(foreign) = foreign else { return Ok(()) };
    let message = format!("root must not start `{}`: others can change `{}`", binary.display(), foreign.display());
    let hint = format!("`sudo install {} /usr/local/bin/clawjail`, and set up with that one", binary.display());
    Err(Problem::Refused(message, Some(hint)))
}

fn number_in(variable: &str) -> Option<u32> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Who gets a line in the configuration, and why.
#[derive(Debug, PartialEq, Eq)]
pub struct Caller<'a> {
    name: &'a str,
    why: &'static str,
    profiles: &'static str,
}

const SHIPPED: &str = r#"["untrusted", "readonly", "offline", "skill-test", "openclaw", "trusted"]"#;

/// Whoever asked sudo for this, and those whom OpenClaw runs as. Root needs no line.
fn callers<'u>(users: &'u [User], asked: Option<u32>, has_openclaw: impl Fn(&User) -> bool) -> Vec<Caller<'u>> {
    let people = users.iter().filter(|user| user.uid != 0);
    let line = |user: &'u User| {
        let (why, profiles) = if asked == Some(user.uid) {
            ("Whoever set this up.", r#"["*"]"#)
        } else if user.name == "openclaw" || has_openclaw(user) {
            ("OpenClaw runs as this user.", SHIPPED)
        } else {
            return None;
        };
        Some(Caller { name: &user.name, why, profiles })
    };
    people.filter_map(line).collect()
}

const HEAD: &str = "\
# Who may use the service, and for what: docs/service.md has every key. `clawjail reload` after a change; root may do everything.

# Whom the half becomes that speaks with clients.
user = \"clawjail\"

# Every run is recorded, and nothing is run that cannot be: docs/ledger.md.
[ledger]
";

const NOBODY: &str = r#"
# Nobody but root yet. For a user, or with `group` for all of a group:
#
# [[caller]]
# user = "somebody"
# role = "operator"
# profiles = ["untrusted", "offline"]
# default = "untrusted"
"#;

const OWN_CONFIGURATION: &str = "\
# The service of one user, who may do everything: docs/service.md has every key. `clawjail reload` after a change.

# Every run is recorded, and nothing is run that cannot be: docs/ledger.md.
[ledger]
";

fn configuration(callers: &[Caller<'_>]) -> String {
    let lines = callers.iter().map(|Caller { name, why, profiles }| {
        format!(
            "\n# {why}\n[[caller]]\nuser = \"{name}\"\nrole = \"operator\"\nprofiles = {profiles}\ndefault = \"untrusted\"\n"
        )
    });
    let lines: String = lines.collect();
    format!("{HEAD}{}", if lines.is_empty() { NOBODY } else { &lines })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, uid: u32) -> User {
        User { name: name.into(), uid, home: format!("/home/{name}").into() }
    }

    #[test]
    fn whoever_asked_and_openclaw_get_a_line_and_nobody_else() {
        let users = [user("root", 0), user("ada", 1000), user("openclaw", 998), user("ben", 1001), user("eve", 1002)];
        let found = callers(&users, Some(1000), |user| user.name == "ben");
        let names: Vec<&str> = found.iter().map(|caller| caller.name).collect();
        assert_eq!(names, ["ada", "openclaw", "ben"]);
        let text = configuration(&found);
        assert_eq!(text.matches("[[caller]]").count(), 3);
        assert!(text.contains("user = \"ada\"\nrole = \"operator\"\nprofiles = [\"*\"]"), "{text}");
        assert!(callers(&users[..1], None, |_| true).is_empty());
    }
}
