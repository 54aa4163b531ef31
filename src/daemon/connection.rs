//! One client, from its connection to its end.
//!
//! ```text
//!   reading --whole line--> asked: answered by a task of its own, at most so many at once
//!      |  '--half a line for too long, too long a line, too many descriptors, no memory left for them--> told, closed
//!      '--end of file--> ending: what was asked goes on until the client hangs up --> closed
//! ```

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{Shutdown, shutdown};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::budget::{Budget, Room};
use super::config::{Peer, Standing};
use super::methods;
use super::outbox::{Closed, Outbox};
use super::privsep::{Ask, Connection};
use super::ready::Readies;
use super::service::Service;
use crate::sys::{readiness, socket};
use crate::wire::fault::{Fault, number};
use crate::wire::frame::{Lines, TooLong};
use crate::wire::id::Id;
use crate::wire::reply;
use crate::wire::rpc;

/// How long a client that is told to go may take to read why.
const FAREWELL: Duration = Duration::from_secs(2);
/// Requests of one connection that are answered at once; the next is read when one of them is done.
const MOST_AT_ONCE: usize = 64;
/// Descriptors that wait for the request they belong to.
const MOST_DESCRIPTORS: usize = 18;
/// Those that may come with one message: no request takes as many.
const MOST_OF_ONE: usize = 16;
/// Bytes read at once.
const CHUNK: usize = 64 << 10;
/// How often a client that sends nothing more is looked at, while something of its runs.
const LOOK: Duration = Duration::from_millis(250);

/// A client.
pub struct Client {
    /// The service.
    pub service: Rc<Service>,
    /// The launcher's number for the connection.
    pub number: Connection,
    /// Who they are.
    pub peer: Peer,
    /// What waits to be sent.
    pub outbox: Rc<Outbox>,
    /// The memory that they may take up, with all their connections.
    pub budget: Budget,
    /// Runs of theirs that have been answered and are not over.
    pub runs: Cell<usize>,
    /// Jails made ahead for them.
    pub ready: RefCell<Readies>,
    gone: Cell<bool>,
    going: Notify,
}

impl Client {
    /// What they may do now; a reload may have changed it.
    pub fn standing(&self) -> Option<Standing> {
        self.service.config().standing(&self.peer, self.service.own)
    }

    /// Answers a request.
    pub async fn answer<T: serde::Serialize>(&self, id: &Id, result: &T) -> Result<(), Closed> {
        self.outbox.put(reply::result(id, result), Vec::new()).await
    }

    /// Answers a request with an error.
    pub async fn fault(&self, id: Option<&Id>, fault: &Fault) -> Result<(), Closed> {
        self.outbox.put(reply::error(id, fault), Vec::new()).await
    }

    /// Waits until the client is gone.
    pub async fn gone(&self) {
        while !self.gone.get() {
            self.going.notified().await;
        }
    }

    /// Whether the client is gone.
    pub fn is_gone(&self) -> bool {
        self.gone.get()
    }

    fn leave(&self) {
        self.gone.set(true);
        self.ready.take();
        self.outbox.close();
        self.going.notify_waiters();
    }
}

/// What came in and is not understood yet.
struct Incoming {
    lines: Lines,
    descriptors: VecDeque<OwnedFd>,
    // Since when half a line waits.
    since: Option<Instant>,
    // For as much of it as does not fit into what each connection has anyway.
    room: Room,
}

/// Why nothing more is read.
enum End {
    /// The client says no more.
    Quiet,
    /// It broke a rule.
    Told(Fault),
    /// It is gone.
    Gone,
}

/// Serves one client until it is gone.
pub async fn serve(service: Rc<Service>, number: Connection, peer: Peer, connection: OwnedFd) {
    let Ok(connection) = readiness::watch_reading(connection).map(Rc::new) else { return };
    let outbox = Rc::new(Outbox::default());
    let budget = service.budgets.of(peer.uid);
    let client = Rc::new(Client {
        service,
        number,
        peer,
        outbox,
        budget,
        runs: Cell::new(0),
        ready: RefCell::default(),
        gone: Cell::new(false),
        going: Notify::new(),
    });
    let writer = tokio::task::spawn_local(write(client.clone(), connection.clone()));
    let tasks = Arc::new(Semaphore::new(MOST_AT_ONCE));
    let end = tokio::select! {
        end = read(&client, &connection, &tasks) => end,
        () = client.gone() => End::Gone,
    };
    match end {
        End::Quiet => await_answers(&client, &connection, &tasks).await,
        End::Told(fault) => drop(timeout(FAREWELL, client.fault(None, &fault)).await),
        End::Gone => {}
    }
    // What is in the outbox is sent yet, for as long as somebody reads it.
    client.outbox.close();
    let _ = timeout(FAREWELL, writer).await;
    client.leave();
    // The launcher holds the connection too, so closing ours would not be noticed.
    let _ = shutdown(connection.as_raw_fd(), Shutdown::Both);
    let _ = client.service.link.ask(&Ask::Closed(number), &[]).await;
}

/// Reads and hands out requests.
async fn read(client: &Rc<Client>, connection: &AsyncFd<OwnedFd>, tasks: &Arc<Semaphore>) -> End {
    let config = client.service.config();
    let slowest = Duration::from_millis(config.limits.slowest_request_ms);
    let lines = Lines::new(config.limits.frame);
    let mut incoming = Incoming { lines, descriptors: VecDeque::new(), since: None, room: Room::default() };
    let mut buffer = vec![0; CHUNK];
    loop {
        let received = match incoming.since {
            None => receive(connection, &mut buffer).await,
            Some(since) => match timeout_at(since + slowest, receive(connection, &mut buffer)).await {
                Ok(received) => received,
                Err(_) => return End::Told(Fault::invalid(number::NO_REQUEST, "slow", "half a request for too long")),
            },
        };
        let (count, descriptors) = match received {
            Ok((0, _)) => return End::Quiet,
            Ok(received) => received,
            Err(Errno::EMSGSIZE) => return End::Told(too_many_descriptors()),
            Err(_) => return End::Gone,
        };
        incoming.descriptors.extend(descriptors);
        incoming.lines.push(buffer.get(..count).unwrap_or_default());
        match hand_out(client, &mut incoming, tasks).await {
            Ok(0) => {}
            // What waits now is another line.
            Ok(_) => incoming.since = None,
            Err(fault) => return End::Told(fault),
        }
        if incoming.descriptors.len() > MOST_DESCRIPTORS {
            return End::Told(too_many_descriptors());
        }
        let waiting = incoming.lines.waiting();
        incoming.since = (waiting > 0).then(|| incoming.since.unwrap_or_else(Instant::now));
        let beyond = waiting.saturating_sub(CHUNK);
        incoming.room.shrink(beyond);
        if let Err(fault) = client.budget.enlarge(&mut incoming.room, beyond).await {
            return End::Told(fault);
        }
    }
}

fn too_many_descriptors() -> Fault {
    Fault::invalid(number::NO_REQUEST, "descriptors", "more descriptors than any request takes")
}

/// Has every whole line answered by a task of its own, and says how many. A fault ends the connection.
async fn hand_out(client: &Rc<Client>, incoming: &mut Incoming, tasks: &Arc<Semaphore>) -> Result<usize, Fault> {
    let mut count = 0;
    loop {
        let (parsed, length) = match incoming.lines.next_line() {
            Ok(Some([])) => continue,
            Ok(Some(line)) => (rpc::parse(line), line.len()),
            Ok(None) => return Ok(count),
            Err(TooLong) => {
                return Err(Fault::invalid(number::NO_REQUEST, "too_long", "the request is longer than allowed"));
            }
        };
        count += 1;
        let (id, request) = match parsed {
            Ok(parsed) => parsed,
            Err(not_understood) => {
                let _ = client.fault(not_understood.id.as_ref(), &not_understood.fault).await;
                continue;
            }
        };
        let wanted = methods::descriptors(&request);
        if wanted > incoming.descriptors.len() {
            let fault =
                Fault::invalid(number::PARAMETERS, "descriptors", "fewer descriptors came than `descriptors` says");
            let _ = client.fault(Some(&id), &fault).await;
            continue;
        }
        let descriptors: Vec<OwnedFd> = incoming.descriptors.drain(..wanted).collect();
        let mut room = incoming.room.split(length);
        client.budget.enlarge(&mut room, length).await?;
        // Closed never: it is ours.
        let Ok(turn) = tasks.clone().acquire_owned().await else { return Ok(count) };
        let client = client.clone();
        tokio::task::spawn_local(async move {
            methods::answer(&client, id, request, descriptors).await;
            drop((turn, room));
        });
        // However many lines came at once, those of other connections have their turn between them.
        tokio::task::yield_now().await;
    }
}

async fn receive(connection: &AsyncFd<OwnedFd>, buffer: &mut [u8]) -> Result<(usize, Vec<OwnedFd>), Errno> {
    loop {
        let mut ready = connection.ready(Interest::READABLE).await.map_err(|_| Errno::EIO)?;
        match socket::receive(connection.as_fd(), buffer) {
            Err(Errno::EAGAIN) => ready.clear_ready(),
            Err(errno) => return Err(errno),
            Ok(received) if received.descriptors.len() > MOST_OF_ONE => return Err(Errno::EMSGSIZE),
            Ok(received) => return Ok((received.length, received.descriptors)),
        }
    }
}

/// The client has said all it wanted to; what it asked for goes on while it listens.
async fn await_answers(client: &Client, connection: &AsyncFd<OwnedFd>, tasks: &Semaphore) {
    let all = u32::try_from(MOST_AT_ONCE).unwrap_or(u32::MAX);
    loop {
        let answered = timeout(LOOK, tasks.acquire_many(all)).await.is_ok();
        if client.gone.get() || (answered && client.runs.get() == 0) {
            return;
        }
        if answered {
            tokio::time::sleep(LOOK).await;
        }
        let mut watched = [PollFd::new(connection.as_fd(), PollFlags::empty())];
        let hung_up = poll(&mut watched, PollTimeout::ZERO).is_ok_and(|count| count > 0);
        if hung_up {
            return;
        }
    }
}

/// Sends what is in the outbox, as fast as the client reads.
async fn write(client: Rc<Client>, connection: Rc<AsyncFd<OwnedFd>>) {
    while let Some(letter) = client.outbox.take().await {
        let mut rest = letter.bytes.as_slice();
        let mut descriptors: Vec<_> = letter.descriptors.iter().map(AsFd::as_fd).collect();
        while !rest.is_empty() {
            match socket::write_some(connection.as_fd(), rest, &descriptors) {
                Ok(count) => {
                    rest = rest.get(count..).unwrap_or_default();
                    // They went with the first byte.
                    descriptors.clear();
                }
                Err(Errno::EAGAIN) if readiness::room(connection.as_fd()).await.is_ok() => {}
                Err(Errno::EINTR) => {}
                Err(_) => return client.leave(),
            }
        }
        client.outbox.sent(&letter);
    }
}
