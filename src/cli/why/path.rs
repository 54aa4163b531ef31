//! `clawjail why --profile P --path X`: whether a path could be used, asked of the plan that a run would be given.

use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use super::super::answer;
use super::super::report::code;
use super::super::run::TierWord;
use crate::host::Tier;
use crate::jail::{accounts, deciding};
use crate::plan::explain::on_the_host;
use crate::plan::judge::{self, Access, Judged};
use crate::plan::paths::Paths;
use crate::plan::shield;
use crate::plan::sight::normal;
use crate::plan::{Entry, Plan};
use crate::wire::privsep::RunRequest;
use crate::wire::text::printable;

/// Links in a row that are followed; the kernel follows as many.
const MOST_LINKS: usize = 40;

/// What is asked.
pub struct Question<'a> {
    /// The profile.
    pub profile: &'a str,
    /// The path, as on the host or as inside.
    pub path: &'a Path,
    /// What for.
    pub access: Access,
    /// The directory that the command would work in.
    pub workspace: Option<&'a Path>,
    /// The tier.
    pub tier: Option<TierWord>,
    /// The answer as data.
    pub json: bool,
}

#[derive(Serialize)]
struct Answer {
    /// The path inside the jail, after all links.
    path: PathBuf,
    access: Access,
    /// Whether there is anything at that path now.
    exists: bool,
    #[serde(flatten)]
    judged: Judged,
}

/// Answers it.
pub fn run(question: &Question<'_>) -> ExitCode {
    let request = match request(question) {
        Ok(request) => request,
        Err(error) => return answer::fail(&format!("cannot find the current directory: {error}")),
    };
    let mut plan = match deciding::foresee(&request) {
        Ok(plan) => plan,
        Err(reason) => return answer::refuse_start(&reason),
    };
    make_rules_real(&mut plan);
    let asked = inside(&plan, &host_workspace(&request), question.path);
    let (path, exists) = follow(&plan, &asked);
    let judged = match hidden(question.profile, &plan, &host_workspace(&request), &path) {
        Some(judged) => judged,
        None => judge::path(&plan, &path, question.access),
    };
    let code = if judged.allowed { ExitCode::SUCCESS } else { ExitCode::from(code::REFUSED) };
    let answer = Answer { path, access: question.access, exists, judged };
    let text = if question.json { answer::json(&answer) } else { text(&answer, &asked) };
    answer::give_with(&text, code)
}

fn request(question: &Question<'_>) -> std::io::Result<RunRequest> {
    let here = std::env::current_dir()?;
    let workspace = question.workspace.map_or(here.clone(), |workspace| here.join(workspace));
    let tier = question.tier.map(Tier::from);
    let workspace = workspace.into_os_string().into_vec();
    Ok(RunRequest::for_jail(question.profile.to_owned(), tier, workspace, Default::default()))
}

fn host_workspace(request: &RunRequest) -> PathBuf {
    let path = crate::jail::workspace::path_of(&request.workspace);
    path.canonicalize().unwrap_or(path)
}

/// Of what is not in the view the plan has no shield, but a profile that grants it would hide it all the same.
fn hidden(name: &str, plan: &Plan, workspace: &Path, path: &Path) -> Option<Judged> {
    let sources = super::super::profile::sources();
    let profile = deciding::load_profile(name, &sources, &sources.library()).ok()?;
    let paths = Paths {
        workspace: plan.workspace.clone(),
        host_workspace: workspace.to_path_buf(),
        caller_home: accounts::this_caller().home,
        home: PathBuf::new(),
    };
    let grant = shield::hiding(&profile, &paths, path)?;
    Some(Judged::hidden(format!("`{}` ({}; {})", grant.path, grant.why, grant.from)))
}

/// Where nothing is mounted, the kernel follows the links in the rules when it is given them.
fn make_rules_real(plan: &mut Plan) {
    if plan.sees_host_paths() {
        let real = |path: PathBuf| path.canonicalize().unwrap_or(path);
        let rules = std::mem::take(&mut plan.landlock.rules);
        for (path, rights) in rules {
            let held = plan.landlock.rules.entry(real(path)).or_default();
            *held = held.union(rights);
        }
    }
}

/// What is asked about as the command would name it: `~` is the caller's home on the host, and what lies in the workspace
/// stands where the jail has it.
fn inside(plan: &Plan, workspace: &Path, typed: &Path) -> PathBuf {
    let absolute = match typed.strip_prefix("~") {
        Ok(below) => accounts::this_caller().home.join(below),
        Err(_) => typed.to_path_buf(),
    };
    let normal = normal(&if absolute.is_relative() { plan.cwd.join(absolute) } else { absolute });
    match (normal.strip_prefix(workspace), &plan.workspace) {
        (Ok(below), Some(at)) if below.as_os_str().is_empty() => at.clone(),
        (Ok(below), Some(at)) => at.join(below),
        _ => normal,
    }
}

/// The path without links, as they stand inside, and whether anything is there.
fn follow(plan: &Plan, asked: &Path) -> (PathBuf, bool) {
    let (mut left, mut links) = (asked.to_path_buf(), 0);
    'again: loop {
        let mut walked = PathBuf::new();
        for component in left.components() {
            walked.push(component);
            if let Some(target) = link(plan, &walked)
                && links < MOST_LINKS
            {
                links += 1;
                let above = walked.parent().unwrap_or(Path::new("/"));
                let rest = left.strip_prefix(&walked).unwrap_or(Path::new("")).to_path_buf();
                left = normal(&above.join(target).join(rest));
                continue 'again;
            }
        }
        let exists = there(plan, &walked);
        return (walked, exists);
    }
}

fn link(plan: &Plan, path: &Path) -> Option<PathBuf> {
    if !plan.tier.has_namespaces() {
        return std::fs::read_link(path).ok();
    }
    if let Some(Entry::Link { target }) = plan.view.entries.get(path) {
        return Some(PathBuf::from(target));
    }
    std::fs::read_link(on_the_host(plan, path)?.0).ok()
}

fn there(plan: &Plan, path: &Path) -> bool {
    let host = on_the_host(plan, path).map(|(host, _)| host);
    let made = || plan.view.entries.keys().any(|entry| entry.starts_with(path));
    if plan.tier.has_namespaces() {
        host.map_or_else(made, |host| host.symlink_metadata().is_ok())
    } else {
        path.symlink_metadata().is_ok()
    }
}

fn text(answer: &Answer, asked: &Path) -> String {
    let Answer { path, access, exists, judged } = answer;
    let shown = |path: &Path| printable(&path.to_string_lossy());
    let word = if judged.allowed { "allowed" } else { "denied" };
    let by = match judged.by {
        "hide" => "hidden by ",
        "protect" => "protected by ",
        "vet" => "looked at by the broker for ",
        "grant" => "granted by ",
        _ => "",
    };
    let mut text = format!("{word}: {} `{}`: {by}{}\n", access.word(), shown(path), printable(&judged.rule));
    if asked != path {
        text.push_str(&format!("`{}` leads there\n", shown(asked)));
    }
    if judged.allowed && !exists && *access != Access::Make {
        text.push_str("nothing is there now\n");
    } else if judged.allowed {
        text.push_str("what the file's own owner and mode say counts besides\n");
    }
    text + &judged.remedy.iter().map(|remedy| format!("hint: {}\n", printable(remedy))).collect::<String>()
}
