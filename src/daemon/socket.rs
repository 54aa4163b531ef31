//! The listening socket: made where the configuration says, or given by systemd.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::{getsockopt, sockopt};

use super::config::{Config, Metrics};
use super::notify;

/// The socket on which callers connect.
pub fn listen(config: &Config) -> io::Result<OwnedFd> {
    let listener = match notify::given_listener() {
        Some(given) => accept_given(given)?,
        // Everybody may knock; what they may ask for is decided by who they are.
        None => bind(&config.socket, config.group, 0o666)?,
    };
    never_wait(listener)
}

/// The socket on which numbers are given, to its group, or to nobody else.
pub fn listen_for_metrics(metrics: &Metrics) -> io::Result<OwnedFd> {
    never_wait(bind(&metrics.socket, metrics.group, 0o600)?)
}

fn never_wait(listener: OwnedFd) -> io::Result<OwnedFd> {
    fcntl(&listener, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    fcntl(&listener, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(listener)
}

fn accept_given(given: OwnedFd) -> io::Result<OwnedFd> {
    let listens = getsockopt(&given.as_fd(), sockopt::AcceptConn).unwrap_or(false);
    let stream = getsockopt(&given.as_fd(), sockopt::SockType) == Ok(nix::sys::socket::SockType::Stream);
    if listens && stream {
        return Ok(given);
    }
    Err(io::Error::new(ErrorKind::InvalidInput, "the descriptor that was given is no listening stream socket"))
}

/// For `group`, or with `mode` if there is none.
fn bind(path: &Path, group: Option<u32>, mode: u32) -> io::Result<OwnedFd> {
    make_directory(path)?;
    take_over(path)?;
    let listener = UnixListener::bind(path)?;
    let mode = match group {
        Some(group) => {
            chown(path, None, Some(group))?;
            0o660
        }
        None => mode,
    };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener.into())
}

fn make_directory(socket: &Path) -> io::Result<()> {
    let Some(directory) = socket.parent() else { return Ok(()) };
    match std::fs::create_dir(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Removes a socket on which nobody listens any more; one that answers is another service's.
fn take_over(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(facts) if !facts.file_type().is_socket() => {
            return Err(io::Error::new(ErrorKind::AlreadyExists, "there is something that is no socket"));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(ErrorKind::AddrInUse, "another service listens there")),
        Err(_) => std::fs::remove_file(path),
    }
}
