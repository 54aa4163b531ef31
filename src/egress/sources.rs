//! Where secrets come from: read once, before the gate gives its rights away.
//!
//! Owns the reading and its bounds. What cannot be read is kept as such, with a reason that says nothing about the value and can be
//! told to a command; requests that need it are then denied.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, geteuid};

use crate::policy::egress::http::secret::Source;

/// The longest secret.
const LONGEST: usize = 16 << 10;
/// How often a program that has closed its output is looked after.
const LOOK: Duration = Duration::from_millis(5);

/// A value, or why there is none.
pub type Value = Result<String, String>;

/// Reads one.
pub fn read(source: &Source) -> Value {
    let bytes = match source {
        Source::File(path) => file(Path::new(path), Modes::OwnersAlone),
        Source::Environment(variable) => match std::env::var_os(variable) {
            Some(value) => Ok(std::os::unix::ffi::OsStringExt::into_vec(value)),
            None => Err("its environment variable is not set where clawjail was started".into()),
        },
        Source::Credential(name) => match std::env::var_os("CREDENTIALS_DIRECTORY") {
            // The directory is systemd's, and so are the modes in it.
            Some(directory) => file(&Path::new(&directory).join(name), Modes::Any),
            None => Err("systemd gave clawjail no credentials".into()),
        },
        Source::Command { argv, timeout_ms } => command(argv, Duration::from_millis(*timeout_ms)),
    }?;
    value(bytes)
}

/// Text that can stand in a field, without the line end that files have.
fn value(bytes: Vec<u8>) -> Value {
    let text = String::from_utf8(bytes).map_err(|_| "it is no text".to_owned())?;
    let text = text.trim_end_matches(['\r', '\n']);
    match text {
        "" => Err("it is empty".into()),
        text if text.len() > LONGEST => Err("it is too long".into()),
        text if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) => {
            Err("it has a character that no field can have".into())
        }
        text => Ok(text.to_owned()),
    }
}

/// Whose modes are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Modes {
    OwnersAlone,
    Any,
}

fn file(path: &Path, modes: Modes) -> Result<Vec<u8>, String> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path);
    let file = opened.map_err(|error| format!("its file cannot be opened: {}", error.kind()))?;
    let facts = file.metadata().map_err(|error| format!("its file cannot be looked at: {}", error.kind()))?;
    if !facts.is_file() {
        return Err("its file is no regular file".into());
    }
    if modes == Modes::OwnersAlone {
        if facts.uid() != 0 && facts.uid() != geteuid().as_raw() {
            return Err("its file belongs to another user".into());
        }
        if facts.mode() & 0o077 != 0 {
            return Err("its file can be read by others than its owner (`chmod 600`)".into());
        }
    }
    bounded(file)
}

fn bounded(from: impl Read) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let most = u64::try_from(LONGEST + 3).unwrap_or(u64::MAX);
    from.take(most).read_to_end(&mut bytes).map_err(|error| format!("it cannot be read: {}", error.kind()))?;
    Ok(bytes)
}

/// What a program says within `patience`; whatever is left of it then is ended.
fn command(argv: &[String], patience: Duration) -> Result<Vec<u8>, String> {
    let (program, arguments) = argv.split_first().ok_or("its program has no name")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().map_err(|error| format!("its program cannot be started: {}", error.kind()))?;
    let heard = hear(&mut child, Instant::now() + patience);
    // Its own group, which nobody else can be in: also what it left behind.
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let _ = child.wait();
    heard
}

fn hear(child: &mut Child, until: Instant) -> Result<Vec<u8>, String> {
    let late = || "its program took too long".to_owned();
    let mut output = child.stdout.take().ok_or("its program has no output")?;
    let mut bytes = Vec::new();
    loop {
        let left = until.checked_duration_since(Instant::now()).ok_or_else(late)?;
        let patience = PollTimeout::try_from(left.as_millis().min(60_000)).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(output.as_fd(), PollFlags::POLLIN)], patience) {
            Ok(0) => return Err(late()),
            Err(nix::errno::Errno::EINTR) => continue,
            Err(errno) => return Err(format!("its program cannot be heard: {errno}")),
            Ok(_) => {}
        }
        let mut piece = [0; 4096];
        let length =
            output.read(&mut piece).map_err(|error| format!("its program cannot be heard: {}", error.kind()))?;
        bytes.extend_from_slice(piece.get(..length).unwrap_or_default());
        if bytes.len() > LONGEST + 2 {
            return Err("its program says too much".into());
        }
        if length == 0 {
            break;
        }
    }
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(bytes),
            Ok(Some(_)) => return Err("its program failed".into()),
            Ok(None) if Instant::now() < until => std::thread::sleep(LOOK),
            Ok(None) | Err(_) => return Err(late()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn by(script: &str, timeout_ms: u64) -> Value {
        let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        read(&Source::Command { argv, timeout_ms })
    }

    #[test]
    fn a_file_is_read_only_if_nobody_else_can() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("secret");
        fs::write(&path, "hunter2\n").expect("own file");
        let from = |path: &Path| read(&Source::File(path.to_string_lossy().into_owned()));
        for (mode, good) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o660, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("own file");
            assert_eq!(from(&path).is_ok(), good, "{mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("own file");
        assert_eq!(from(&path).as_deref(), Ok("hunter2"));
        let link = directory.path().join("link");
        symlink(&path, &link).expect("own link");
        assert!(from(&link).is_err());
        assert!(from(directory.path()).is_err());
        assert!(from(&directory.path().join("missing")).is_err());
    }

    #[test]
    fn what_can_be_no_field_is_no_secret() {
        for bytes in [&b""[..], b"\n", b"a\nb", b"a\0b", b"\xff", "\u{e9}".as_bytes(), &[b'a'; LONGEST + 1]] {
            assert!(value(bytes.to_vec()).is_err(), "{bytes:?}");
        }
        assert_eq!(value(b"a b\r\n".to_vec()).as_deref(), Ok("a b"));
    }

    #[test]
    fn a_program_is_heard_and_one_that_fails_or_waits_is_not() {
        assert_eq!(by("echo hunter2", 5000).as_deref(), Ok("hunter2"));
        assert_eq!(by("echo hunter2; exit 1", 5000), Err("its program failed".into()));
        let began = Instant::now();
        assert_eq!(by("echo hunter2; sleep 60", 100), Err("its program took too long".into()));
        assert_eq!(by("echo hunter2; exec >&-; sleep 60", 100), Err("its program took too long".into()));
        assert!(began.elapsed() < Duration::from_secs(5));
        assert_eq!(by("yes", 5000), Err("its program says too much".into()));
        assert!(read(&Source::Command { argv: vec!["/no/such".into()], timeout_ms: 100 }).is_err());
    }
}
