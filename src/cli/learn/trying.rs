//! The runs that learning is made of: each in a fresh copy of the workspace, under a profile that nobody else sees.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use super::copy::{Scratch, copy};
use super::draft::{Learned, can_be_named, quoted};
use super::origins::Map;
use super::watched::Where;
use super::{Learn, Stopped, answer};
use crate::host::Tier;
use crate::jail::accounts;
use crate::profile::lint::Which;
use crate::profile::{WorkspaceAt, diff};
use crate::sys::process;
use crate::verdict::Verdict;
use crate::wire::text::printable;

/// The name of the drafts.
const NAME: &str = "learning";

/// The system's own places, which say nothing about a person.
const SYSTEM: [&str; 14] = [
    "/bin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix",
    "/opt",
    "/sbin",
    "/usr",
    "/var/cache",
    "/var/lib",
    "/snap",
    "/gnu",
    "/home/linuxbrew",
];

/// Of /etc, what every jail has of its own.
const MADE: [&str; 5] = ["passwd", "group", "hosts", "hostname", "resolv.conf"];

/// Of /etc, what holds keys, or directories that nobody but root may enter: a shield in there could not be raised. What programs
/// need of it is in `@tls-roots`.
const NARROW: [&str; 10] =
    ["clawjail", "gshadow", "gshadow-", "pki", "shadow", "shadow-", "ssh", "ssl", "sudoers", "sudoers.d"];

/// Nobody has this name: a jail that may reach it has a gate, which records what else is asked for.
const NOBODY: &str = "learning.invalid:443";

/// A command to be tried.
pub struct Trial<'a> {
    learn: &'a Learn,
    base: String,
    /// The workspace on the host.
    workspace: PathBuf,
    /// Where it stands inside, where that is not the base's own place.
    at: Option<String>,
    inside: PathBuf,
    scratch: &'a Scratch,
    shelf: PathBuf,
}

impl<'a> Trial<'a> {
    /// Looks at the workspace and makes room for the drafts.
    pub fn new(learn: &'a Learn, base: &str, scratch: &'a Scratch) -> Result<Trial<'a>, Stopped> {
        let failed = |error: std::io::Error| answer::fail(&format!("cannot learn: {error}"));
        let here = std::env::current_dir().map_err(failed)?;
        let workspace = learn.workspace.as_ref().map_or(here.clone(), |path| here.join(path));
        let workspace = workspace.canonicalize().map_err(|error| {
            answer::refuse(&format!("cannot open workspace `{}`: {error}", workspace.display()), None)
        })?;
        let sources = super::profile::sources();
        let profile = Which::Named(base).resolve(&sources, &sources.library());
        let profile = profile.map_err(|error| answer::refuse_profile(&error))?;
        let (at, inside) = match &profile.workspace.at {
            WorkspaceAt::Path(at) => (None, PathBuf::from(at)),
            WorkspaceAt::Same => (workspace.to_str().map(str::to_owned), workspace.clone()),
        };
        let shelf = scratch.directory("drafts").map_err(failed)?;
        fs::DirBuilder::new().mode(0o700).create(shelf.join("profiles")).map_err(failed)?;
        Ok(Trial { learn, base: base.to_owned(), workspace, at, inside, scratch, shelf })
    }

    /// Where a run was.
    pub fn place(&self, verdict: &Verdict) -> Where {
        let copy = self.scratch.path().join("workspace");
        // Without a view the copy stands where it is.
        let bare = verdict.tier.as_deref() == Some(Tier::Bare.word());
        let inside = if bare { copy.clone() } else { self.inside.clone() };
        let shown = self.learn.show.iter().map(PathBuf::from).collect();
        Where { map: Map { inside, copy }, home: accounts::this_caller().home, shown }
    }

    /// Runs it with much in view.
    pub fn permissive(&self, hosts: &[String]) -> Result<Verdict, Stopped> {
        let bare = self.learn.tier.map(Tier::from) == Some(Tier::Bare) || best_is_bare();
        self.run(&self.draft(hosts, bare))
    }

    /// Runs it under what was learned.
    pub fn under(&self, learned: &Learned) -> Result<Verdict, Stopped> {
        self.run(&(learned.text(self.at.as_deref()) + "\n[record]\nactivity = \"full\"\n"))
    }

    fn draft(&self, hosts: &[String], bare: bool) -> String {
        let mut places: Vec<String> =
            SYSTEM.iter().map(|path| (*path).to_owned()).filter(|path| Path::new(path).exists()).collect();
        places.extend(settings());
        places.extend(self.learn.show.iter().cloned());
        places.retain(|path| can_be_named(path));
        let list = |extra: &[&str]| {
            let all = places.iter().map(String::as_str).chain(extra.iter().copied());
            all.map(quoted).collect::<Vec<_>>().join(", ")
        };
        let allow: Vec<String> = hosts.iter().map(|host| quoted(host)).chain([quoted(NOBODY)]).collect();
        let allow = if bare { String::new() } else { allow.join(", ") };
        let at = self.at.as_ref().map(|at| format!("at = {}\n", quoted(at))).unwrap_or_default();
        format!(
            "summary = \"Learning: much in view, nothing kept.\"\nextends = {}\n[workspace]\naccess = \"rw\"\n{at}[filesystem]\n\
             read = [{}]\nexecute = [{}]\nhide = [\"@secrets\"]\nprotect = [\"@vcs-hooks\"]\ntmp = {{ execute = true }}\n\
             [egress]\nallow = [{allow}]\n[limits]\nmemory = \"8G\"\nprocesses = 4096\nfile_size = \"8G\"\nwall = \"2h\"\n\
             output = \"1G\"\n[record]\nactivity = \"full\"\n",
            quoted(&self.base),
            list(&["@toolchains", "@tls-roots", "/etc/ssl/openssl.cnf"]),
            list(&["@toolchains", "@workspace"]),
        )
    }

    fn run(&self, draft: &str) -> Result<Verdict, Stopped> {
        let failed = |what: &str, error: &dyn std::fmt::Display| answer::fail(&format!("cannot {what}: {error}"));
        let workspace = self.scratch.path().join("workspace");
        if workspace.exists() {
            super::copy::remove(&workspace).map_err(|error| failed("remove the last copy", &error))?;
        }
        copy(&self.workspace, &workspace).map_err(|error| failed("copy the workspace", &error))?;
        let profile = self.shelf.join("profiles").join(format!("{NAME}.toml"));
        write_own(&profile, draft).map_err(|error| failed("write a draft", &error))?;
        let record = self.scratch.path().join("verdict.json");
        let _ = fs::remove_file(&record);
        let mut command = self.command(&workspace, &record).map_err(|error| failed("find our own program", &error))?;
        // A terminal's signals reach the run by itself; we stay to clear up.
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            process::ignore_signal(signal).map_err(|error| failed("ignore signals", &error))?;
        }
        command.status().map_err(|error| failed("start the run", &error))?;
        let verdict = super::super::found::in_file(&record)?.pop();
        let verdict = verdict.ok_or_else(|| answer::fail("cannot learn: a run left no verdict"))?;
        match &verdict.reason {
            Some(reason) if verdict.plan.is_none() => {
                Err(answer::refuse(&printable(&reason.message), reason.remedy.as_deref()))
            }
            _ => Ok(verdict),
        }
    }

    fn command(&self, workspace: &Path, record: &Path) -> std::io::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["run", "--direct", "--no-tty", "--quiet", "--profile", NAME, "--profiles"]).arg(&self.shelf);
        command.arg("--workspace").arg(workspace).arg("--verdict").arg(record);
        if let Some(tier) = self.learn.tier {
            command.args(["--tier", Tier::from(tier).word()]);
        }
        command.arg("--").args(&self.learn.command).stdin(Stdio::null());
        Ok(command)
    }
}

fn best_is_bare() -> bool {
    crate::jail::survey::best_tier(accounts::own_ids()) == Tier::Bare
}

/// What /etc holds beside what every jail has of its own. Shields take the secret parts away again.
fn settings() -> Vec<String> {
    let entries = fs::read_dir("/etc").into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| !MADE.contains(&name.as_str()) && !NARROW.contains(&name.as_str()))
        .map(|name| format!("/etc/{name}"))
        .collect()
}

fn write_own(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    let _ = fs::remove_file(path);
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

/// What was learned, with what a run under it was denied that was there while it was watched; the same where that is nothing.
pub fn wider(learned: &Learned, verdict: &Verdict, seen: &Verdict) -> Learned {
    let mut wider = learned.clone();
    let known = |what: &str| seen.denials.iter().any(|denial| denial.what == what);
    for denial in verdict.denials.iter().filter(|denial| denial.rule.is_empty() && !known(&denial.what)) {
        let list = match (denial.mechanism.as_str(), denial.kind.as_str()) {
            ("view" | "landlock", "read" | "list") => &mut wider.read,
            ("view" | "landlock", "execute") => &mut wider.execute,
            _ => continue,
        };
        let path = denial.what.as_str();
        let new = !list.keys().any(|tree| diff::within(path, tree));
        if new && can_be_named(path) && Path::new(path).exists() {
            list.insert(path.to_owned(), format!("{} was denied without it", denial.kind));
        }
    }
    wider
}
