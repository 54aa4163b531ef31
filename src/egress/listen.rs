//! The sockets in the jail's network, served from outside.
//!
//! Owns accepting, and its bounds: a program that connects or asks as fast as it can is served as fast as there is room, and hurts
//! nobody else.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::datagrams::{self, Talking};
use super::gate::Gate;
use super::packets::PAUSE;
use super::unreachable::Unreachable;
use super::{connection, lookups, strays};

/// Connections at once, and of those that ask for names.
pub const MOST: usize = 1536;
const MOST_ASKING: usize = 64;
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
                let _ = lookups::asked_over_tcp(&gate, client).await;
                drop(room);
            }));
        }));
        let questions = UdpSocket::from_std(questions.into())?;
        let gate = gate.clone();
        spawn_local(async move { lookups::asked_over_udp(&gate, &questions).await });
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
