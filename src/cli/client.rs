//! A client of a service: one connection, requests and what comes back.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::daemon::config::DEFAULT_SOCKET;
use crate::daemon::configuring::default_socket;
use crate::jail::accounts;
use crate::sys::socket;
use crate::wire::fault::Fault;
use crate::wire::frame::{Lines, MOST_BYTES};

/// What a service may send in one line: a request's bytes come back in a verdict at most once.
const MOST_ANSWER: usize = 2 * MOST_BYTES;

/// A connection.
pub struct Client {
    socket: OwnedFd,
    lines: Lines,
    descriptors: VecDeque<OwnedFd>,
    next: i64,
    /// Where the service is.
    pub path: PathBuf,
}

/// What came.
#[derive(Debug)]
pub enum Message {
    /// The answer to the request of this number.
    Result(i64, Value),
    /// The request was turned down; without a number, none could be made out.
    Fault(Option<i64>, Box<Fault>),
    /// Something happened.
    Notification(String, Value),
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Problem {
    /// The service cannot be reached, or went away.
    Gone(PathBuf, io::Error),
    /// It said no.
    Fault(Box<Fault>),
}

#[derive(Serialize)]
struct Call<'a, T> {
    jsonrpc: &'static str,
    id: i64,
    method: &'a str,
    params: &'a T,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    id: Option<i64>,
    #[serde(default)]
    result: Option<Value>,
    #[serde(default)]
    error: Option<Box<Fault>>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    params: Value,
}

/// Where services are looked for: the system's, then the user's own.
pub fn usual_places() -> Vec<PathBuf> {
    let own = default_socket(accounts::own_ids());
    let system = PathBuf::from(DEFAULT_SOCKET);
    if own == system { vec![system] } else { vec![system, own] }
}

/// Whether anything is at a place where services are looked for.
pub fn is_there() -> bool {
    usual_places().iter().any(|place| place.symlink_metadata().is_ok())
}

impl Client {
    /// Connects to the service at `path`.
    pub fn connect(path: &Path) -> Result<Client, Problem> {
        let stream = UnixStream::connect(path).map_err(|error| Problem::Gone(path.to_owned(), error))?;
        let lines = Lines::new(MOST_ANSWER);
        Ok(Client { socket: stream.into(), lines, descriptors: VecDeque::new(), next: 1, path: path.to_owned() })
    }

    /// Connects to the service at `path`, or at the first usual place where one is.
    pub fn find(path: Option<&Path>) -> Result<Client, Problem> {
        if let Some(path) = path {
            return Client::connect(path);
        }
        let mut last = None;
        for place in usual_places() {
            match Client::connect(&place) {
                Ok(client) => return Ok(client),
                // What is said in the end is about the system's.
                Err(problem) => last = last.or(Some(problem)),
            }
        }
        Err(last.unwrap_or_else(|| Problem::Gone(DEFAULT_SOCKET.into(), io::ErrorKind::NotFound.into())))
    }

    fn gone(&self, error: io::Error) -> Problem {
        Problem::Gone(self.path.clone(), error)
    }

    /// The same connection once more, to end it by.
    pub fn try_clone(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone()
    }

    /// Sends a request and gives its number.
    pub fn send<T: Serialize>(&mut self, method: &str, params: &T, with: &[BorrowedFd<'_>]) -> Result<i64, Problem> {
        let id = self.next;
        self.next += 1;
        let call = Call { jsonrpc: "2.0", id, method, params };
        let mut line = serde_json::to_vec(&call).map_err(|error| self.gone(error.into()))?;
        line.push(b'\n');
        let (mut rest, mut with) = (line.as_slice(), with);
        while !rest.is_empty() {
            match socket::write_some(self.socket.as_fd(), rest, with) {
                Ok(count) => {
                    rest = rest.get(count..).unwrap_or_default();
                    with = &[];
                }
                Err(Errno::EINTR) => {}
                // In an event loop; what we send there is small, and the service reads.
                Err(Errno::EAGAIN) => std::thread::sleep(std::time::Duration::from_millis(1)),
                Err(errno) => return Err(self.gone(errno.into())),
            }
        }
        Ok(id)
    }

    /// Makes [`Client::fill`] say `EAGAIN` instead of waiting, for use in an event loop.
    pub fn never_wait(&self) -> Result<(), Problem> {
        fcntl(&self.socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map(drop).map_err(|errno| self.gone(errno.into()))
    }

    /// Takes in what came; false at the end.
    pub fn fill(&mut self) -> Result<bool, Errno> {
        let mut buffer = vec![0; 64 << 10];
        let received = socket::receive(self.socket.as_fd(), &mut buffer)?;
        self.lines.push(buffer.get(..received.length).unwrap_or_default());
        self.descriptors.extend(received.descriptors);
        Ok(received.length > 0)
    }

    /// The next message of those that came whole.
    pub fn next_message(&mut self) -> Result<Option<Message>, Problem> {
        let bad = |what: &str| Problem::Gone(self.path.clone(), io::Error::new(io::ErrorKind::InvalidData, what));
        let line = self.lines.next_line().map_err(|_| bad("its answer is too long"))?;
        let Some(line) = line else { return Ok(None) };
        let answer: Answer = serde_json::from_slice(line).map_err(|_| bad("its answer is not understood"))?;
        match (answer.method, answer.error, answer.result, answer.id) {
            (Some(method), ..) => Ok(Some(Message::Notification(method, answer.params))),
            (None, Some(fault), _, id) => Ok(Some(Message::Fault(id, fault))),
            (None, None, Some(result), Some(id)) => Ok(Some(Message::Result(id, result))),
            _ => Err(bad("its answer is not understood")),
        }
    }

    /// The descriptor that came with the last message.
    pub fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front()
    }

    /// Waits for the next message.
    pub fn wait(&mut self) -> Result<Message, Problem> {
        loop {
            if let Some(message) = self.next_message()? {
                return Ok(message);
            }
            match self.fill() {
                Ok(true) | Err(Errno::EINTR) => {}
                Ok(false) => return Err(self.gone(io::ErrorKind::ConnectionReset.into())),
                Err(errno) => return Err(self.gone(errno.into())),
            }
        }
    }

    /// Asks and waits for the answer.
    pub fn call<T: Serialize>(&mut self, method: &str, params: &T) -> Result<Value, Problem> {
        let asked = self.send(method, params, &[])?;
        loop {
            match self.wait()? {
                Message::Result(id, result) if id == asked => return Ok(result),
                Message::Fault(id, fault) if id.is_none_or(|id| id == asked) => return Err(Problem::Fault(fault)),
                _ => {}
            }
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Client {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
