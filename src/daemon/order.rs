//! From what a client typed to what a keeper is asked: defaults filled in, nothing believed.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use super::config::{Config, Standing};
use super::connection::Client;
use super::jails::Open;
use super::pipes::Pipes;
use super::runs::Label;
use crate::host::Tier;
use crate::jail::stdio::all_plain;
use crate::wire::fault::{Fault, number};
use crate::wire::id::Id;
use crate::wire::privsep::{RunRequest, Terminal};
use crate::wire::request::{Run, Stdin};
use crate::wire::text::Text;

/// Most environment variables that a request may name.
const MOST_VARIABLES: usize = 4096;

/// A run, ready to be asked for.
pub struct Order {
    /// What identifies it.
    pub label: Label,
    /// For the keeper.
    pub request: RunRequest,
    /// The jail to run in, if not one of its own.
    pub jail: Option<Rc<Open>>,
    /// Where its streams come from and go to.
    pub wiring: Wiring,
    /// Whether it goes on without its client.
    pub detach: bool,
    /// As it was typed, for the record.
    pub argv: Vec<Vec<u8>>,
}

/// Where a run's streams come from and go to.
pub enum Wiring {
    /// Through us, as notifications.
    Notified(Stdin),
    /// The client's own three; what has to be counted goes through us.
    Handed(Vec<OwnedFd>),
    /// The client's own three, and it relays by itself what cannot be handed over.
    Relayed(Vec<OwnedFd>),
}

/// Reads a request for a run.
pub fn understand(
    client: &Client,
    id: &Id,
    run: Run,
    jail: Option<Rc<Open>>,
    descriptors: Vec<OwnedFd>,
) -> Result<Order, Fault> {
    let config = client.service.config();
    let standing = client.standing().filter(Standing::runs);
    let standing = standing.ok_or_else(|| not_granted(&client.peer.name))?;
    refuse_malformed(&run)?;
    let (profile, workspace) = match &jail {
        Some(jail) => of_jail(&run, jail)?,
        None => {
            let named = Named { profile: &run.profile, agent: &run.agent, workspace: &run.workspace };
            named.choose(&config, &standing)?
        }
    };
    let label = label(client, id, &run, jail.as_deref(), &profile);
    if run.name.is_some() {
        return Err(Fault::refused("request_invalid", "`name` is for `run.prepare`"));
    }
    let detach = run.detach;
    let (stdin, request) = request(run, workspace, &label)?;
    let wiring = wire(stdin, descriptors, request.terminal)?;
    let argv = request.argv.clone();
    Ok(Order { label, request, jail, wiring, detach, argv })
}

fn refuse_malformed(run: &Run) -> Result<(), Fault> {
    if run.argv.is_empty() {
        return Err(Fault::refused("request_invalid", "no command was given"));
    }
    if run.env.len() + run.inherit.len() + run.pass.len() > MOST_VARIABLES {
        // Each that is secret is looked for in all that is recorded.
        return Err(Fault::refused("request_invalid", format!("more than {MOST_VARIABLES} environment variables")));
    }
    Ok(())
}

/// What the keeper is asked, and where the command's input comes from.
fn request(run: Run, workspace: Vec<u8>, label: &Label) -> Result<(Stdin, RunRequest), Fault> {
    let tier = run.tier.as_deref().map(tier).transpose()?;
    let bytes =
        |texts: BTreeMap<String, Text>| texts.into_iter().map(|(name, value)| (name.into_bytes(), value.0)).collect();
    let terminal = run.tty.map_or(Terminal::None, |tty| Terminal::Own {
        rows: tty.rows,
        columns: tty.columns,
        stderr: tty.stderr,
    });
    let request = RunRequest {
        argv: run.argv.into_iter().map(|argument| argument.0).collect(),
        set: bytes(run.env),
        pass: run.pass.into_iter().map(String::into_bytes).collect(),
        inherited: bytes(run.inherit),
        cwd: run.cwd.map(|cwd| cwd.0),
        terminal,
        timeout_ms: run.timeout_ms,
        agent: label.agent.clone(),
        ..RunRequest::for_jail(label.profile.clone(), tier, workspace, run.narrow.unwrap_or_default())
    };
    Ok((run.stdin, request))
}

/// How the run is listed and told of.
fn label(client: &Client, id: &Id, run: &Run, jail: Option<&Open>, profile: &str) -> Label {
    Label {
        id: uuid::Uuid::now_v7().to_string(),
        uid: client.peer.uid,
        agent: run.agent.clone().or_else(|| jail.and_then(|jail| jail.shown.agent.clone())),
        request: (client.number, id.clone()),
        session: run.session.clone().or_else(|| jail.and_then(|jail| jail.shown.session.clone())),
        jail: run.jail.clone(),
        profile: profile.to_owned(),
        argv: super::runs::shown(&run.argv),
        time: jiff::Timestamp::now().to_string(),
    }
}

/// The refusal of those who are not named.
pub fn not_granted(name: &str) -> Fault {
    Fault::refused("not_granted", format!("user `{name}` may not run anything here"))
        .with_remedy("have the operator add a [[caller]] to the service's configuration")
}

/// What is the jail's already, which a run in it can only repeat.
fn of_jail(run: &Run, jail: &Open) -> Result<(String, Vec<u8>), Fault> {
    let own = &jail.shown;
    let differs = run.profile.as_ref().is_some_and(|profile| *profile != own.profile)
        || run.agent.as_ref().is_some_and(|agent| Some(agent) != own.agent.as_ref())
        || run.tier.as_ref().is_some_and(|tier| *tier != own.tier)
        || run.workspace.as_ref().is_some_and(|workspace| workspace.0 != jail.workspace)
        || run.narrow.is_some();
    if differs {
        let message = "profile, agent, workspace, tier and what is narrowed are those of the jail";
        return Err(Fault::refused("jail_differs", message).with_remedy("leave them out, or open another jail"));
    }
    Ok((own.profile.clone(), jail.workspace.clone()))
}

/// What a request names.
pub struct Named<'a> {
    /// A profile.
    pub profile: &'a Option<String>,
    /// An agent.
    pub agent: &'a Option<String>,
    /// A workspace.
    pub workspace: &'a Option<Text>,
}

impl Named<'_> {
    /// Profile and workspace: named, or the agent's, or the caller's default.
    pub fn choose(&self, config: &Config, standing: &Standing) -> Result<(String, Vec<u8>), Fault> {
        let agent = match self.agent {
            None => None,
            Some(name) => Some(config.agents.get(name).ok_or_else(|| {
                Fault::refused("unknown_agent", format!("there is no agent `{name}` in the service's configuration"))
            })?),
        };
        let profile = match (self.profile, agent) {
            (Some(named), Some(agent)) if *named != agent.profile => {
                let message = format!("the agent's profile is `{}`, not `{named}`", agent.profile);
                return Err(Fault::refused("agent_profile", message));
            }
            (Some(named), _) => named.clone(),
            (None, Some(agent)) => agent.profile.clone(),
            (None, None) => standing
                .default
                .clone()
                .ok_or_else(|| Fault::refused("no_profile", "no profile was named, and you have no default one"))?,
        };
        let of_agent =
            agent.and_then(|agent| agent.workspace.as_ref()).map(|path| path.as_os_str().as_bytes().to_vec());
        let workspace = self.workspace.as_ref().map(|workspace| workspace.0.clone()).or(of_agent);
        let workspace = workspace.ok_or_else(|| Fault::refused("no_workspace", "no workspace was named"))?;
        if !workspace.starts_with(b"/") {
            // Ours is not the caller's working directory.
            return Err(Fault::refused("workspace_unusable", "the workspace is no absolute path"));
        }
        Ok((profile, workspace))
    }
}

/// A tier by its word.
pub fn tier(word: &str) -> Result<Tier, Fault> {
    [Tier::Root, Tier::User, Tier::Bare]
        .into_iter()
        .find(|tier| tier.word() == word)
        .ok_or_else(|| Fault::invalid(number::PARAMETERS, "parameters", "`tier` is `root`, `user` or `bare`"))
}

fn wire(stdin: Stdin, descriptors: Vec<OwnedFd>, terminal: Terminal) -> Result<Wiring, Fault> {
    match descriptors.len() {
        0 => Ok(Wiring::Notified(stdin)),
        3 if terminal == Terminal::None && all_plain(&descriptors) => Ok(Wiring::Handed(descriptors)),
        3 if terminal == Terminal::None => Err(not_plain("send six, and relay by yourself")),
        // The keeper looks at these itself; here for an answer that says what is wrong.
        6 if !descriptors.get(3..).is_some_and(all_plain) => Err(not_plain("relay over pipes")),
        6 => Ok(Wiring::Relayed(descriptors)),
        _ => Err(Fault::invalid(number::PARAMETERS, "descriptors", "`descriptors` is 0, 3 (without `tty`) or 6")),
    }
}

fn not_plain(instead: &str) -> Fault {
    let message = "a descriptor is neither a pipe, nor a file opened for one direction, nor a device like /dev/null";
    Fault::refused("descriptor_not_plain", message)
        .with_remedy(format!("{instead}; or send none, and get notifications"))
}

impl Wiring {
    /// What the keeper is given of ours, and our ends of it.
    pub fn connect(self, null: &OwnedFd) -> std::io::Result<(Vec<OwnedFd>, Ends)> {
        let stdin = match self {
            Wiring::Relayed(six) => return Ok((six, Ends::None)),
            // Of these the keeper makes pipes for what has to be counted, once it knows.
            Wiring::Handed(three) => return Ok((Vec::new(), Ends::Counted(three))),
            Wiring::Notified(stdin) => stdin,
        };
        let Pipes { ours, commands } = Pipes::new()?;
        let mut given = commands.iter().map(OwnedFd::try_clone).collect::<Result<Vec<_>, _>>()?;
        if stdin == Stdin::None
            && let Some(first) = given.first_mut()
        {
            *first = null.try_clone()?;
        }
        Ok((given.into_iter().chain(commands).collect(), Ends::Notified(ours, stdin)))
    }
}

/// Our ends of a run's streams.
pub enum Ends {
    /// The client has them.
    None,
    /// These of the client are given to the keeper as they are; output that has to be counted comes back from it.
    Counted(Vec<OwnedFd>),
    /// All of it is ours.
    Notified([OwnedFd; 3], Stdin),
}

impl Ends {
    /// The client's, which the keeper is given.
    pub fn lent(&self) -> &[OwnedFd] {
        match self {
            Ends::Counted(three) => three,
            Ends::None | Ends::Notified(..) => &[],
        }
    }
}
