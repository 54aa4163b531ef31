//! A supervisor in the hands of somebody hostile: the real one of a real service is stopped, and the test speaks to the real
//! launcher over its channel, which it takes from it. pidfd_getfd(2).

use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Instant;

use clawjail::daemon::privsep::{Answer, Ask, Connection};
use clawjail::jail::channel::{Arrived, Channel};
use clawjail::wire::privsep::{FromLauncher, RunRequest, Terminal, ToLauncher};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{SockType, getsockopt, setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::Pid;

use crate::service::{Client, PATIENCE, Service, comm};
use crate::support::account::Account;

/// A service whose supervisor does nothing any more, and its channel to the launcher.
pub struct Takeover {
    /// The service.
    pub service: Service,
    /// To the launcher.
    pub channel: Channel,
    /// The launcher.
    pub launcher: Pid,
    supervisor: Pid,
}

impl Takeover {
    /// Starts a service with `config`, and takes its supervisor over.
    pub fn of(config: &str) -> Takeover {
        let service = Service::start(config);
        // An answer says that it has become what it is to be.
        drop(service.client().call("ping", serde_json::json!({})));
        let (launcher, supervisor) = (service.process("clawjail-launch"), service.process("clawjail-super"));
        kill(supervisor, Signal::SIGSTOP).expect("a process of our own service");
        let channel = Channel::new(steal_channel(supervisor));
        channel.wait_again().expect("our own channel");
        wait_only_so_long(&channel);
        Takeover { service, channel, launcher, supervisor }
    }

    /// Connects as `account`: what they hold, and the launcher's number for it.
    pub fn connect(&self, account: &Account) -> (Client, Connection) {
        let client = self.service.client_as(account);
        loop {
            match self.channel.receive().expect("the launcher tells who connects") {
                // Others left before they were looked at: those who only tried whether somebody listens.
                Arrived::Message(Answer::Connected(number, peer), _) if peer.uid == account.uid => {
                    return (client, number);
                }
                Arrived::Message(..) => {}
                Arrived::Gone => panic!("the launcher is gone"),
            }
        }
    }

    /// Asks for a keeper, as a supervisor does for each run.
    pub fn keeper(&self, number: Connection) -> Channel {
        let (ours, keepers) = Channel::pair().expect("descriptors are left");
        self.channel.send(&Ask::Keep(number), &[keepers.as_fd()]).expect("the launcher listens");
        wait_only_so_long(&ours);
        ours
    }

    /// Runs `request` for the caller behind `number`, to the end: what came of it, and what it wrote.
    pub fn run(&self, number: Connection, request: &RunRequest) -> (String, String) {
        run_over(&self.keeper(number), request)
    }

    /// The descriptors that the launcher has open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.launcher)).expect("root may look").count()
    }

    /// Waits until the launcher has ended and the service has a new pair, and says how it is.
    pub fn await_restart(&self) -> Client {
        let began = Instant::now();
        while comm(self.launcher) == "clawjail-launch" {
            assert!(began.elapsed() < PATIENCE, "the launcher goes on");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        self.service.client()
    }
}

impl Drop for Takeover {
    fn drop(&mut self) {
        // One that is stopped would not hear that the service stops.
        if comm(self.supervisor) == "clawjail-super" {
            let _ = kill(self.supervisor, Signal::SIGKILL);
        }
    }
}

/// A reader that hangs is a failure of the test, not of the machine.
pub fn wait_only_so_long(channel: &Channel) {
    setsockopt(channel, sockopt::ReceiveTimeout, &TimeVal::seconds(PATIENCE.as_secs() as i64)).expect("our own socket");
}

#[expect(unsafe_code, reason = "two system calls that no crate of ours wraps")]
fn steal_channel(supervisor: Pid) -> OwnedFd {
    // SAFETY: integers only.
    let handle = unsafe { libc::syscall(libc::SYS_pidfd_open, supervisor.as_raw(), 0) };
    assert!(handle >= 0, "the supervisor is there");
    // SAFETY: the kernel has just made it for us.
    let handle = unsafe { OwnedFd::from_raw_fd(handle as i32) };
    for entry in fs::read_dir(format!("/proc/{supervisor}/fd")).expect("root may look") {
        let number: i32 = entry.expect("it is stopped").file_name().to_string_lossy().parse().expect("a number");
        // SAFETY: integers only.
        let taken = unsafe { libc::syscall(libc::SYS_pidfd_getfd, handle.as_raw_fd(), number, 0) };
        assert!(taken >= 0, "root may take descriptor {number}: {}", std::io::Error::last_os_error());
        // SAFETY: the kernel has just made it for us.
        let taken = unsafe { OwnedFd::from_raw_fd(taken as i32) };
        if getsockopt(&taken, sockopt::SockType) == Ok(SockType::SeqPacket) {
            return taken;
        }
    }
    panic!("the supervisor has no channel");
}

/// A request as an honest supervisor would make it.
pub fn request(profile: &str, workspace: &Path, argv: &[&str]) -> RunRequest {
    RunRequest {
        profile: profile.into(),
        tier: None,
        argv: argv.iter().map(|word| word.as_bytes().to_vec()).collect(),
        set: Vec::new(),
        pass: Vec::new(),
        inherited: Vec::new(),
        workspace: workspace.as_os_str().as_bytes().to_vec(),
        cwd: None,
        terminal: Terminal::None,
        timeout_ms: None,
        narrow: Default::default(),
        mounts: Vec::new(),
        agent: None,
    }
}

/// The six descriptors that go with a run, and where its output can be read.
pub struct Streams {
    null: fs::File,
    stdin: OwnedFd,
    output: (std::io::PipeReader, std::io::PipeWriter),
}

impl Streams {
    pub fn new() -> Streams {
        let null = fs::File::options().read(true).write(true).open("/dev/null").expect("it is on every system");
        let (stdin, writer) = std::io::pipe().expect("descriptors are left");
        drop(writer);
        Streams { null, stdin: stdin.into(), output: std::io::pipe().expect("descriptors are left") }
    }

    pub fn six(&self) -> [BorrowedFd<'_>; 6] {
        let output = self.output.1.as_fd();
        [self.null.as_fd(), output, output, self.stdin.as_fd(), output, output]
    }

    pub fn text(self) -> String {
        let (mut reader, writer) = self.output;
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("a command writes text");
        text
    }
}

/// Has a keeper run `request`.
pub fn run_over(keeper: &Channel, request: &RunRequest) -> (String, String) {
    let streams = Streams::new();
    // One that is refused at once is not listening any more, and has said why.
    let _ = keeper.send(&ToLauncher::Run(Box::new(request.clone())), &streams.six());
    (outcome(keeper), streams.text())
}

/// How it ended, in one word.
pub fn outcome(keeper: &Channel) -> String {
    loop {
        match keeper.receive() {
            Ok(Arrived::Message(FromLauncher::Refused { code, .. }, _)) => return format!("refused.{code}"),
            Ok(Arrived::Message(FromLauncher::Failed(failure), _)) => return format!("failed.{}", failure.step),
            Ok(Arrived::Message(FromLauncher::Started(_) | FromLauncher::Looked(_), _)) => {}
            Ok(Arrived::Message(FromLauncher::Ended(_, ended), _)) => return format!("{:?}", ended.end),
            Ok(Arrived::Message(FromLauncher::Opened(_), _)) => return "opened".into(),
            Ok(Arrived::Message(FromLauncher::Closed(why), _)) => return format!("closed, {why:?}"),
            Ok(Arrived::Gone) => return "gone".into(),
            Err(errno) => return format!("{errno:?}"),
        }
    }
}
