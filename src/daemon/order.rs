//! From what a client typed to what a keeper is asked: defaults filled in, nothing believed.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use super::config::{Config, Standing};
use super::connection::Client;
use super::runs::Label;
use super::streams::Pipes;
use crate::host::Tier;
use crate::jail::stdio::{Use, is_plain};
use crate::wire::fault::{Fault, number};
use crate::wire::privsep::{RunRequest, Terminal};
use crate::wire::request::{Run, Stdin};

/// A run, ready to be asked for.
pub struct Order {
    /// What identifies it.
    pub label: Label,
    /// For the keeper.
    pub request: RunRequest,
    /// Where its streams come from and go to.
    pub wiring: Wiring,
    /// What the client calls the session it is part of.
    pub session: Option<String>,
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
pub fn understand(client: &Client, run: Run, descriptors: Vec<OwnedFd>) -> Result<Order, Fault> {
    let config = client.service.config();
    let standing = client.standing().filter(Standing::runs);
    let standing = standing.ok_or_else(|| not_granted(&client.peer.name))?;
    if run.argv.is_empty() {
        return Err(Fault::refused("request_invalid", "no command was given"));
    }
    let (profile, workspace) = choose(&run, &config, &standing)?;
    let tier = run.tier.as_deref().map(tier).transpose()?;
    let bytes = |texts: std::collections::BTreeMap<String, crate::wire::text::Text>| {
        texts.into_iter().map(|(name, value)| (name.into_bytes(), value.0)).collect()
    };
    let label = Label {
        id: uuid::Uuid::now_v7().to_string(),
        uid: client.peer.uid,
        agent: run.agent.clone(),
        jail: run.jail.clone(),
        profile: profile.clone(),
        argv: run.argv.iter().map(|argument| argument.shown().into_owned()).collect(),
        time: jiff::Timestamp::now().to_string(),
    };
    let argv: Vec<Vec<u8>> = run.argv.into_iter().map(|argument| argument.0).collect();
    let terminal = run.tty.map_or(Terminal::None, |tty| Terminal::Own {
        rows: tty.rows,
        columns: tty.columns,
        stderr: tty.stderr,
    });
    let request = RunRequest {
        profile,
        tier,
        argv: argv.clone(),
        set: bytes(run.env),
        pass: run.pass.into_iter().map(String::into_bytes).collect(),
        inherited: bytes(run.inherit),
        workspace,
        cwd: run.cwd.map(|cwd| cwd.0),
        terminal,
        timeout_ms: run.timeout_ms,
    };
    let wiring = wire(run.stdin, descriptors, terminal)?;
    Ok(Order { label, request, wiring, session: run.session, detach: run.detach, argv })
}

fn not_granted(name: &str) -> Fault {
    Fault::refused("not_granted", format!("user `{name}` may not run anything here"))
        .with_remedy("have the operator add a [[caller]] to the service's configuration")
}

/// Profile and workspace: named, or the agent's, or the caller's default.
fn choose(run: &Run, config: &Config, standing: &Standing) -> Result<(String, Vec<u8>), Fault> {
    let agent = match &run.agent {
        None => None,
        Some(name) => Some(config.agents.get(name).ok_or_else(|| {
            Fault::refused("unknown_agent", format!("there is no agent `{name}` in the service's configuration"))
        })?),
    };
    let profile = match (&run.profile, agent) {
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
    let of_agent = agent.and_then(|agent| agent.workspace.as_ref()).map(|path| path.as_os_str().as_bytes().to_vec());
    let workspace = run.workspace.as_ref().map(|workspace| workspace.0.clone()).or(of_agent);
    let workspace = workspace.ok_or_else(|| Fault::refused("no_workspace", "no workspace was named"))?;
    if !workspace.starts_with(b"/") {
        // Ours is not the caller's working directory.
        return Err(Fault::refused("workspace_unusable", "the workspace is no absolute path"));
    }
    Ok((profile, workspace))
}

fn tier(word: &str) -> Result<Tier, Fault> {
    [Tier::Root, Tier::User, Tier::Bare]
        .into_iter()
        .find(|tier| tier.word() == word)
        .ok_or_else(|| Fault::invalid(number::PARAMETERS, "parameters", "`tier` is `root`, `user` or `bare`"))
}

fn wire(stdin: Stdin, descriptors: Vec<OwnedFd>, terminal: Terminal) -> Result<Wiring, Fault> {
    match descriptors.len() {
        0 => Ok(Wiring::Notified(stdin)),
        3 if terminal == Terminal::None => {
            let uses = [Use::Read, Use::Write, Use::Write];
            if descriptors.iter().zip(uses).all(|(descriptor, wanted)| is_plain(descriptor, wanted)) {
                return Ok(Wiring::Handed(descriptors));
            }
            let message =
                "a descriptor is neither a pipe, nor a file opened for one direction, nor a device like /dev/null";
            Err(Fault::refused("descriptor_not_plain", message)
                .with_remedy("send six, and relay by yourself; or send none, and get notifications"))
        }
        6 => Ok(Wiring::Relayed(descriptors)),
        _ => Err(Fault::invalid(number::PARAMETERS, "descriptors", "`descriptors` is 0, 3 (without `tty`) or 6")),
    }
}

impl Wiring {
    /// The six descriptors that the keeper is given, and our ends of the pipes among them.
    pub fn connect(self, null: &OwnedFd) -> std::io::Result<(Vec<OwnedFd>, Ends)> {
        if let Wiring::Relayed(six) = self {
            return Ok((six, Ends::None));
        }
        let Pipes { ours, commands } = Pipes::new()?;
        let copies = commands.iter().map(OwnedFd::try_clone).collect::<Result<Vec<_>, _>>()?;
        match self {
            Wiring::Handed(three) => {
                let targets = three.iter().map(OwnedFd::try_clone).collect::<Result<Vec<_>, _>>()?;
                Ok((three.into_iter().chain(commands).collect(), Ends::Counted(ours, targets)))
            }
            Wiring::Notified(stdin) => {
                let mut given = copies;
                if stdin == Stdin::None
                    && let Some(first) = given.first_mut()
                {
                    *first = null.try_clone()?;
                }
                Ok((given.into_iter().chain(commands).collect(), Ends::Notified(ours, stdin)))
            }
            Wiring::Relayed(six) => Ok((six, Ends::None)),
        }
    }
}

/// Our ends of a run's streams.
pub enum Ends {
    /// The client has them.
    None,
    /// Output that has to be counted on its way to these of the client.
    Counted([OwnedFd; 3], Vec<OwnedFd>),
    /// All of it is ours.
    Notified([OwnedFd; 3], Stdin),
}
