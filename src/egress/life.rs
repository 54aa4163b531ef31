//! The life of a gate: what it gives up, what it is told, and when it ends.
//!
//! ```text
//!   forked --confined--> waiting --Open [sockets]--> serving --Tell--> serving ... launcher gone --> dead
//! ```

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::getppid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::{LocalSet, yield_now};

use super::acquaintance::Acquaintance;
use super::budget::Meter;
use super::explicit;
use super::gate::Gate;
use super::http::looking::{Looking, Trust};
use super::listen::{self, Sockets};
use super::proxy::Proxy;
use super::record::Records;
use super::resolver::Resolver;
use super::secrets::Secrets;
use crate::confine::identity::errno_of;
use crate::confine::{Failed, capabilities, identity, landlock, seccomp};
use crate::jail::channel::{Arrived, Channel};
use crate::jail::failure;
use crate::jail::gate::Assignment;
use crate::plan::Landlock;
use crate::plan::compile::own_set;
use crate::plan::filter::{self, Otherwise};
use crate::profile::load::Sources;
use crate::sys::{abi, process, readiness};
use crate::wire::gate::{FromGate, ToGate};

/// Descriptors: two for each connection, four more for those that move much.
const DESCRIPTORS: u64 = 16 << 10;

/// Lives and dies as a jail's gate. Runs in a fork of the launcher, which has one thread.
pub fn live(assignment: Assignment) -> ! {
    let Assignment { channel, .. } = &assignment;
    let code = match confine(&assignment) {
        Ok(outward) => serve(assignment, outward).map_or(1, |()| 0),
        Err(failed) => {
            // If the launcher is gone there is nobody to tell, and that is why we end.
            let _ = channel.send(&FromGate::Failed(failure(failed)), &[]);
            1
        }
    };
    process::leave(code)
}

/// The order is the content: each step removes what the steps before it needed.
fn confine(assignment: &Assignment) -> Result<Outward, Failed> {
    let failed = Failed::at("confine_gate");
    process::set_name(c"clawjail-gate").map_err(&failed)?;
    // As the host has them now. Afterwards no file can be opened any more.
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let terms = &assignment.rules.terms;
    let resolver = Resolver::new(&read("/etc/resolv.conf"), &read("/etc/hosts"));
    let trusting = |error: io::Error| Failed { step: "prepare_resolver", errno: errno_of(&error), what: None };
    let resolver = resolver.asking(&terms.resolvers).map_err(trusting)?.knowing(&assignment.rules.hosts);
    let unreadable = |error: io::Error| Failed {
        step: "read_proxy_credentials",
        errno: errno_of(&error),
        what: terms.proxy.as_ref().and_then(|proxy| proxy.credentials.clone()),
    };
    let proxy = terms.proxy.as_ref().map(Proxy::read).transpose().map_err(unreadable)?;
    let looking = read_for_requests(assignment)?;
    let unusable = |what: String| Failed { step: "gate_filter", errno: Errno::EINVAL, what: Some(what) };
    // Built in: what a directory of the host says about jails is not about us.
    let policy = own_set("gate", &Sources::default().library()).map_err(|refused| unusable(refused.message))?;
    let filter = filter::compile(&policy, Otherwise::Deny).map_err(|error| unusable(error.to_string()))?;
    raise_descriptors();
    if let Some(ids) = assignment.becomes {
        // The bounding set stays: it says what an `execve` may add, and here there is none, nor any privilege to gain by one.
        identity::become_ids(ids)?;
    }
    capabilities::drop_all()?;
    process::refuse_inspection().map_err(&failed)?;
    // After the ids, whose change clears it.
    process::set_parent_death_signal(Signal::SIGKILL).map_err(&failed)?;
    if getppid() != assignment.launcher {
        return Err(failed(Errno::ESRCH));
    }
    process::refuse_new_privileges().map_err(&failed)?;
    let abi = abi::landlock();
    if abi > 0 {
        landlock::restrict_ours(&Landlock { abi, rules: Default::default(), deny_tcp: false })?;
    }
    seccomp::install(&filter)?;
    Ok(Outward { resolver, proxy, looking })
}

/// How it gets out, and what it looks into on the way: all that is read while files can be opened.
struct Outward {
    resolver: Resolver,
    proxy: Option<Proxy>,
    looking: Option<Looking>,
}

/// Where requests are looked into: says whom the jail is to trust, and then reads the secrets, which may take its time.
fn read_for_requests(assignment: &Assignment) -> Result<Option<Looking>, Failed> {
    let Assignment { channel, rules, mark, .. } = assignment;
    if !rules.end_tls() {
        return Ok(None);
    }
    let failed = |what: String| Failed { step: "prepare_tls", errno: Errno::EIO, what: Some(what) };
    let (prepared, Trust { pem, jks }) = Looking::prepare().map_err(|error| failed(error.to_string()))?;
    channel.send(&FromGate::Trust { pem, jks }, &[]).map_err(Failed::at("say_trust"))?;
    Ok(Some(prepared.with(Secrets::read(rules, mark.as_deref()))))
}

fn raise_descriptors() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let most = hard.min(DESCRIPTORS);
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

fn serve(assignment: Assignment, outward: Outward) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    LocalSet::new().block_on(&runtime, attend(assignment, outward))
}

/// Does what the launcher says until it is gone.
async fn attend(assignment: Assignment, Outward { resolver, proxy, looking }: Outward) -> io::Result<()> {
    let Assignment { channel, rules, .. } = assignment;
    channel.never_wait()?;
    let launcher = readiness::watch(Rc::new(channel))?;
    let Some((ToGate::Open { known, token }, sockets)) = hear(&launcher).await? else { return Ok(()) };
    let ports = rules.udp_ports().unwrap_or_default();
    let sockets = match token {
        Some(_) => Sockets { families: Vec::new(), log: sockets.into_iter().next() },
        None => listen::sort(sockets, &ports).ok_or(io::ErrorKind::InvalidInput)?,
    };
    let teller = launcher.get_ref().clone();
    let gate = Rc::new(Gate {
        meter: Meter::new(&rules.terms.budget),
        acquaintance: Acquaintance::new(rules.terms.first_contact, known),
        rules,
        names: RefCell::default(),
        resolver,
        proxy,
        records: Records::new(move || teller.send(&FromGate::Stirred, &[]).is_ok()),
        has_v6: sockets.families.len() > 1,
        looking: looking.map(Rc::new),
    });
    match (token, sockets) {
        (Some(token), Sockets { log: Some(listener), .. }) => explicit::serve(&gate, listener, token)?,
        (_, sockets) => listen::serve(&gate, sockets, &ports)?,
    }
    launcher.get_ref().send(&FromGate::Ready, &[])?;
    while let Some((message, _)) = hear(&launcher).await? {
        match message {
            ToGate::Tell { within_us } => {
                see_what_has_come().await;
                let (reached, going) = gate.records.since(Duration::from_micros(within_us));
                launcher.get_ref().send(&FromGate::Reached { reached: Box::new(reached), going }, &[])?;
            }
            ToGate::Know(known) => gate.acquaintance.know(known),
            ToGate::Open { .. } => return Err(io::ErrorKind::InvalidInput.into()),
        }
    }
    Ok(())
}

/// Lets everybody else go on with what the kernel has for them: what came before a question belongs to the answer.
async fn see_what_has_come() {
    // The runtime looks at its sockets when all have yielded. A connection is accepted in the turn after that, and judged in the
    // next one.
    for _ in 0..3 {
        yield_now().await;
    }
}

async fn hear(launcher: &AsyncFd<Rc<Channel>>) -> io::Result<Option<(ToGate, Vec<OwnedFd>)>> {
    loop {
        let mut ready = launcher.ready(Interest::READABLE).await?;
        match ready.get_inner().receive() {
            Ok(Arrived::Message(message, descriptors)) => return Ok(Some((message, descriptors))),
            Ok(Arrived::Gone) => return Ok(None),
            Err(Errno::EAGAIN) => ready.clear_ready(),
            Err(errno) => return Err(errno.into()),
        }
    }
}
