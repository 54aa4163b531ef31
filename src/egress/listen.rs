//! The sockets in the jail's network, served from outside.
//!
//! Owns accepting and answering, and the bounds on both: a program that connects or asks as fast as it can is served as fast
//! as there is room, and hurts nobody else.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::answers::{self, Looked};
use super::connection;
use super::datagrams::{self, Talking};
use super::gate::Gate;
use super::names::Over;
use super::strays;
use super::unreachable::Unreachable;
use crate::policy::egress::name::Name;
use crate::policy::egress::{Decision, Denied};
use crate::verdict::run::{self, Attempt, Contact};

/// Connections at once, and of those that ask for names.
pub const MOST: usize = 1536;
const MOST_ASKING: usize = 64;
/// How long somebody who asks over TCP may be silent.
const SILENCE: Duration = Duration::from_secs(10);
/// The largest datagram that is taken from the jail: what networks with large packets have.
pub const LARGEST: usize = 9 << 10;
/// How long to wait when there is no descriptor to spare.
pub const PAUSE: Duration = Duration::from_millis(20);

/// Sockets of one family: TCP, and names over UDP and TCP. One for each port of UDP comes behind them, and then the one by which
/// those who sent datagrams there are told that they go nowhere.
const OF_EACH: usize = 3;

/// Sorts the sockets that came: those of each family, and the kernel's log. `None` when they are not as many as they must be.
pub fn sort(sockets: Vec<OwnedFd>, ports: &[u16]) -> Option<Sockets> {
    let each = OF_EACH + ports.len() + usize::from(!ports.is_empty());
    let families =
        [1, 2].into_iter().find(|families| (0..=1).contains(&sockets.len().saturating_sub(families * each)))?;
    if sockets.len() < families * each {
        return None;
    }
    let mut sockets = sockets.into_iter();
    let families = (0..families).map(|_| sockets.by_ref().take(each).collect()).collect();
    Some(Sockets { families, log: sockets.next() })
}

/// What a gate serves.
pub struct Sockets {
    /// Of IPv4, and of IPv6 where there is any.
    pub families: Vec<Vec<OwnedFd>>,
    /// Where the jail's kernel tells what it denied.
    pub log: Option<OwnedFd>,
}

/// Serves all of them.
pub fn serve(gate: &Rc<Gate>, mut sockets: Sockets, ports: &[u16]) -> io::Result<()> {
    let (most, most_asking) = (Arc::new(Semaphore::new(MOST)), Arc::new(Semaphore::new(MOST_ASKING)));
    let (talking, refusals) = (Talking::default(), Unreachable::by(refusals(&mut sockets, ports)));
    let refusals = Rc::new(refusals);
    if let Some(log) = sockets.log {
        spawn_local(strays::serve(gate.clone(), log));
    }
    for family in sockets.families {
        let mut sockets = family.into_iter();
        let (Some(connections), Some(questions), Some(asking)) = (sockets.next(), sockets.next(), sockets.next())
        else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        for (socket, port) in sockets.zip(ports) {
            let socket = UdpSocket::from_std(socket.into())?;
            spawn_local(datagrams::serve(gate.clone(), socket, *port, (talking.clone(), refusals.clone())));
        }
        let connections = TcpListener::from_std(connections.into())?;
        spawn_local(accept(gate.clone(), connections, most.clone(), |gate, client, room| {
            drop(spawn_local(async move {
                connection::serve(gate, client).await;
                drop(room);
            }));
        }));
        let asking = TcpListener::from_std(asking.into())?;
        spawn_local(accept(gate.clone(), asking, most_asking.clone(), |gate, client, room| {
            drop(spawn_local(async move {
                let _ = asked_over_tcp(&gate, client).await;
                drop(room);
            }));
        }));
        let questions = UdpSocket::from_std(questions.into())?;
        let gate = gate.clone();
        spawn_local(async move { asked(&gate, &questions).await });
    }
    Ok(())
}

/// Takes out the last socket of each family, where there are ports of UDP.
fn refusals(sockets: &mut Sockets, ports: &[u16]) -> Vec<OwnedFd> {
    let families = sockets.families.iter_mut().filter(|_| !ports.is_empty());
    families.filter_map(Vec::pop).collect()
}

/// What a connection holds as long as it is served.
pub type Room = OwnedSemaphorePermit;

/// Accepts for as long as there is room; who comes then waits with the kernel.
pub async fn accept(
    gate: Rc<Gate>,
    listener: TcpListener,
    most: Arc<Semaphore>,
    serve: impl Fn(Rc<Gate>, TcpStream, Room),
) {
    // Never closed: it always gives in the end.
    while let Ok(room) = most.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((client, _)) => serve(gate.clone(), client, room),
            // One that went away meanwhile costs nothing; without a descriptor to spare, others have to end first.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// Answers questions over UDP, from the address at which each was asked.
async fn asked(gate: &Gate, socket: &UdpSocket) {
    loop {
        let received = socket.async_io(Interest::READABLE, || receive(socket)).await;
        let Ok((question, from, at)) = received else {
            sleep(PAUSE).await;
            continue;
        };
        if let Some(answer) = answers::answer(&question, |name| look_up(gate, name)) {
            // One that does not fit now is asked for again.
            let _ = send(socket, &answer, &from, at);
        }
    }
}

/// A datagram, who sent it, and to which address.
pub type Question = (Vec<u8>, SockaddrStorage, Option<IpAddr>);

/// The next datagram.
pub fn receive(socket: &UdpSocket) -> io::Result<Question> {
    let mut buffer = vec![0; LARGEST];
    let mut control = nix::cmsg_space!(libc::in6_pktinfo);
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::MSG_DONTWAIT)?;
    let mut at = None;
    for item in message.cmsgs()? {
        match item {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                at = Some(IpAddr::from(u32::from_be(info.ipi_addr.s_addr).to_be_bytes()));
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => at = Some(IpAddr::from(info.ipi6_addr.s6_addr)),
            _ => {}
        }
    }
    let (length, from) = (message.bytes, message.address.ok_or(io::ErrorKind::InvalidData)?);
    // Of one that did not fit nothing is of use.
    let fits = !message.flags.contains(MsgFlags::MSG_TRUNC);
    let datagram = buffer.get(..length).filter(|_| fits).unwrap_or_default().to_vec();
    Ok((datagram, from, at))
}

/// Sends one, from the address `at`.
pub fn send(socket: &impl AsRawFd, answer: &[u8], to: &SockaddrStorage, at: Option<IpAddr>) -> io::Result<()> {
    let slices = [IoSlice::new(answer)];
    let send = |control: &[ControlMessage<'_>]| {
        sendmsg(socket.as_raw_fd(), &slices, control, MsgFlags::MSG_DONTWAIT, Some(to))
            .map(drop)
            .map_err(io::Error::from)
    };
    match at {
        Some(IpAddr::V4(at)) => {
            let own = libc::in_addr { s_addr: at.to_bits().to_be() };
            let any = libc::in_addr { s_addr: 0 };
            let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: own, ipi_addr: any };
            send(&[ControlMessage::Ipv4PacketInfo(&info)])
        }
        Some(IpAddr::V6(at)) => {
            let own = libc::in6_addr { s6_addr: at.octets() };
            send(&[ControlMessage::Ipv6PacketInfo(&libc::in6_pktinfo { ipi6_addr: own, ipi6_ifindex: 0 })])
        }
        None => send(&[]),
    }
}

/// Answers the questions of one connection.
pub async fn asked_over_tcp(gate: &Gate, mut client: TcpStream) -> io::Result<()> {
    loop {
        let length = timeout(SILENCE, client.read_u16()).await??;
        let mut question = vec![0; length.into()];
        timeout(SILENCE, client.read_exact(&mut question)).await??;
        let Some(answer) = answers::answer(&question, |name| look_up(gate, name)) else { return Ok(()) };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        timeout(SILENCE, client.write_all(&[&length.to_be_bytes()[..], &answer].concat())).await??;
    }
}

fn look_up(gate: &Gate, name: &Name) -> Looked {
    match gate.rules.judge_lookup(name) {
        Decision::Allowed(_) => {
            let over = if gate.rules.name_has_udp(name) { Over::Udp } else { Over::Tcp };
            let given = gate.names.borrow_mut().give(name, over);
            given.map_or(Looked::Full, |(v4, v6)| Looked::Up(v4, gate.has_v6.then_some(v6)))
        }
        Decision::Denied(Denied { rule, remedy }) => {
            gate.records.note(Contact {
                name: Some(name.to_string()),
                decision: run::Decision::Denied,
                rule,
                remedy: Some(remedy),
                ..Contact::of(Attempt::LookUp)
            });
            Looked::Denied
        }
    }
}
