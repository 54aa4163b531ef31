//! Where each verdict also goes: the journal, syslog, a SIEM.
//!
//! Copies for other people's tools, without a chain. None of them can hold up or fail a run: what cannot be told at once is
//! counted and left. Owns which there are; each file owns one form.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use super::config::Settings;
use crate::verdict::{Outcome, Verdict};

pub mod journald;
pub mod ocsf;
pub mod syslog;

/// Those that are configured.
#[derive(Debug)]
pub struct Sinks {
    journald: Option<Socket>,
    syslog: Option<Socket>,
    ocsf: Option<Events>,
    host: String,
    untold: u64,
}

/// A socket that takes datagrams and is never waited for.
#[derive(Debug)]
struct Socket {
    path: PathBuf,
    own: Option<UnixDatagram>,
}

/// A file that somebody else may rename at any time.
#[derive(Debug)]
struct Events {
    path: PathBuf,
    mode: u32,
    open: Option<File>,
}

impl Sinks {
    /// As configured. Nothing is opened before there is something to tell.
    pub fn new(settings: &Settings) -> Sinks {
        let socket = |path: &Option<PathBuf>| path.clone().map(|path| Socket { path, own: None });
        let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        let events = |path: &PathBuf| Events { path: path.clone(), mode: settings.access.mode, open: None };
        Sinks {
            journald: socket(&settings.journald),
            syslog: socket(&settings.syslog),
            ocsf: settings.ocsf.as_ref().map(events),
            host: host.filter(|host| !host.is_empty()).unwrap_or_else(|| "localhost".to_owned()),
            untold: 0,
        }
    }

    /// Tells each of them.
    pub fn tell(&mut self, verdict: &Verdict) {
        let told = [
            self.journald.as_mut().map(|socket| socket.send(&journald::datagram(verdict))),
            self.syslog.as_mut().map(|socket| socket.send(syslog::message(verdict, &self.host).as_bytes())),
            self.ocsf.as_mut().map(|events| events.write(&ocsf::lines(verdict, &self.host))),
        ];
        self.untold += told.into_iter().flatten().filter(Result::is_err).count() as u64;
    }

    /// How often one of them could not be told.
    pub fn untold(&self) -> u64 {
        self.untold
    }
}

impl Socket {
    fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        if self.own.is_none() {
            let own = UnixDatagram::unbound()?;
            own.set_nonblocking(true)?;
            self.own = Some(own);
        }
        match &self.own {
            Some(own) => own.send_to(datagram, &self.path).map(drop),
            None => Ok(()),
        }
    }
}

impl Events {
    fn write(&mut self, lines: &str) -> io::Result<()> {
        // Renamed by whoever rotates it: then the next one goes to a new file of the old name.
        let same = |file: &File, path: &Path| {
            let (own, there) = (file.metadata(), path.symlink_metadata());
            matches!((own, there), (Ok(own), Ok(there)) if (own.dev(), own.ino()) == (there.dev(), there.ino()))
        };
        if !self.open.as_ref().is_some_and(|file| same(file, &self.path)) {
            let mut options = File::options();
            options.append(true).create(true).mode(self.mode).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
            self.open = Some(options.open(&self.path)?);
        }
        self.open.as_mut().map_or(Ok(()), |file| file.write_all(lines.as_bytes()))
    }
}

/// How much it matters, in the words of syslog and the journal: a refusal, a denial or a failure is worth a look.
fn priority(verdict: &Verdict) -> u8 {
    const ERROR: u8 = 3;
    const WARNING: u8 = 4;
    const INFORMATIONAL: u8 = 6;
    match verdict.outcome {
        Outcome::Failed => ERROR,
        Outcome::Refused => WARNING,
        _ if !verdict.denials.is_empty() => WARNING,
        _ => INFORMATIONAL,
    }
}

/// The one line that a person reads.
fn summary(verdict: &Verdict) -> String {
    let argv = crate::policy::names::cut(&verdict.argv.join(" "), 200);
    let ended = match (verdict.exit_code, verdict.signal) {
        (Some(code), _) => format!("{} {code}", verdict.outcome.word()),
        (None, Some(signal)) => format!("{} {signal}", verdict.outcome.word()),
        (None, None) => verdict.outcome.word().to_owned(),
    };
    let denials: u64 = verdict.denials.iter().map(|denial| denial.count).sum();
    let denied = if denials > 0 { format!(", {denials} denied") } else { String::new() };
    format!("{ended}{denied}: uid {} under `{}`: {argv}", verdict.caller.uid, verdict.profile)
}
