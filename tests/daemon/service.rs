//! A service of the test's own, in a directory of its own, and clients of it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::account::{self, Account};
use crate::support::place::{Place, base, clawjail};
use crate::support::tier::Tier;

/// How long anything may take before the test says that it hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running service. It is stopped with this.
pub struct Service {
    /// Its configuration's directory.
    pub directory: PathBuf,
    /// Its socket.
    pub socket: PathBuf,
    /// Its guard.
    pub guard: Child,
    /// Where it belongs: root's, or that of whoever runs the tests.
    pub place: Place,
}

/// The second ordinary account: somebody who is on every system.
pub fn somebody_else() -> Account {
    account_named("nobody")
}

/// An account that is on this system.
pub fn account_named(name: &str) -> Account {
    let text = fs::read_to_string("/etc/passwd").expect("everyone can read /etc/passwd");
    let is_it = |line: &&str| line.split(':').next() == Some(name);
    let line = text.lines().find(is_it).unwrap_or_else(|| panic!("every system has {name}"));
    let fields: Vec<&str> = line.split(':').collect();
    let number = |index: usize| fields[index].parse().expect("an id");
    Account { name: name.into(), uid: number(2), gid: number(3), home: fields[5].into() }
}

impl Service {
    /// Starts one with `config` behind what every test needs. `@OUTSIDE` in it is a directory of its own.
    pub fn start(config: &str) -> Service {
        Service::start_by(config, |_, command| command)
    }

    /// The same by way of a program that executes the words after its own.
    pub fn start_through(program: &[&str], config: &str) -> Service {
        Service::start_by(config, |socket, command| {
            let outside = socket.parent().expect("in a directory of its own").display().to_string();
            let mut words = program.iter().map(|word| word.replace("@OUTSIDE", &outside));
            let mut whole = Command::new(words.next().expect("a program"));
            whole.args(words).arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
            whole
        })
    }

    /// The same, by another command that `change` makes of ours and of the path of the socket.
    pub fn start_by(config: &str, change: impl FnOnce(&Path, Command) -> Command) -> Service {
        let root = nix::unistd::geteuid().is_root();
        let place = Place::new(if root { Tier::Root } else { Tier::User });
        let directory = place.outside.join("config");
        fs::create_dir(&directory).expect("own directory");
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("own directory");
        let socket = place.outside.join("socket");
        let path = directory.join("clawjail.toml");
        let config = config.replace("@OUTSIDE", &place.outside.display().to_string());
        let user = if root { "user = \"daemon\"\n" } else { "" };
        fs::write(&path, format!("{user}socket = \"{}\"\n{config}", socket.display())).expect("own directory");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("own file");
        let guard = Service::spawn(&directory, &place.outside.join("log"), |command| change(&socket, command));
        let mut service = Service { directory, socket, guard, place };
        service.await_socket();
        service
    }

    fn spawn(directory: &Path, log: &Path, change: impl FnOnce(Command) -> Command) -> Child {
        let log = fs::File::create(log).expect("own directory");
        let mut command = Command::new(clawjail());
        command.arg("serve").arg("--config").arg(directory.join("clawjail.toml"));
        command.stdin(Stdio::null());
        let mut command = change(command);
        command.stdout(Stdio::null()).stderr(log);
        command.spawn().expect("the binary can be executed")
    }

    fn await_socket(&mut self) {
        let began = Instant::now();
        while UnixStream::connect(&self.socket).is_err() {
            let ended = self.guard.try_wait().expect("our own child");
            assert!(ended.is_none(), "the service ended: {ended:?}: {}", self.log());
            assert!(began.elapsed() < PATIENCE, "no socket: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.place.outside.join("log")).unwrap_or_default()
    }

    /// The process `name` of this service.
    pub fn process(&self, name: &str) -> Pid {
        let began = Instant::now();
        loop {
            if let Some(pid) = self.children().into_iter().find(|pid| comm(*pid) == name) {
                return pid;
            }
            assert!(began.elapsed() < PATIENCE, "no process {name}: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The guard's own children.
    pub fn children(&self) -> Vec<Pid> {
        children(Pid::from_raw(self.guard.id() as i32))
    }

    /// Kilobytes of memory that the supervisor has.
    pub fn supervisor_kilobytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process("clawjail-super")));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has a size");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// The descriptors that a process of the service has open. Only root may look: they refuse inspection.
    pub fn descriptors(&self, name: &str) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process(name))).expect("root may look").count()
    }

    /// All processes below the guard.
    pub fn processes(&self) -> Vec<Pid> {
        let mut all = self.children();
        let mut next = 0;
        while let Some(pid) = all.get(next).copied() {
            all.extend(children(pid));
            next += 1;
        }
        all
    }

    /// A client with the test's own credentials.
    pub fn client(&self) -> Client {
        Client::new(UnixStream::connect(&self.socket).expect("the service listens"))
    }

    /// A client with somebody's credentials.
    pub fn client_as(&self, account: &Account) -> Client {
        Client::new(connect_as(&self.socket, account.uid, account.gid))
    }

    /// `clawjail run` by way of this service, as `account`, in `workspace`.
    pub fn run_as(
        &self,
        account: &Account,
        workspace: &Path,
        options: &[&str],
        words: &[&str],
    ) -> std::process::Output {
        let mut command = self.command_as(account, workspace);
        command.args(["run", "--socket"]).arg(&self.socket).args(options).arg("--").args(words);
        command.output().expect("the binary can be executed")
    }

    /// `clawjail` as `account`.
    pub fn command_as(&self, account: &Account, directory: &Path) -> Command {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(clawjail());
        command.env_clear().env("PATH", "/usr/bin:/bin").current_dir(directory).stdin(Stdio::null());
        if account.uid != account::own().uid {
            command.uid(account.uid).gid(account.gid);
        }
        command
    }

    /// Changes the configuration's text behind what every test needs.
    pub fn reconfigure(&self, config: &str) {
        let path = self.directory.join("clawjail.toml");
        let text = fs::read_to_string(&path).expect("own file");
        let head: Vec<&str> = text.lines().take_while(|line| !line.starts_with("socket")).collect();
        let text = format!("{}\nsocket = \"{}\"\n{config}", head.join("\n"), self.socket.display());
        fs::write(&path, text).expect("own file");
    }

    /// Kills the guard, and starts another service in its place.
    pub fn kill_and_start_again(&mut self) -> Service {
        self.guard.kill().and_then(|()| self.guard.wait()).expect("our own child");
        let (directory, socket) = (self.directory.clone(), self.socket.clone());
        let root = nix::unistd::geteuid().is_root();
        let place = Place::new(if root { Tier::Root } else { Tier::User });
        let guard = Service::spawn(&directory, &place.outside.join("log"), |command| command);
        let mut service = Service { directory, socket, guard, place };
        service.await_socket();
        service
    }

    /// Stops it as systemd would, and says how it ended.
    pub fn stop(&mut self) -> Option<i32> {
        let _ = kill(Pid::from_raw(self.guard.id() as i32), Signal::SIGTERM);
        self.guard.wait().expect("our own child").code()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if matches!(self.guard.try_wait(), Ok(None)) {
            self.stop();
        }
        if std::thread::panicking() {
            eprintln!("the service said: {}", self.log());
        }
    }
}

/// The name of a process.
pub fn comm(pid: Pid) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

/// The children of a process.
pub fn children(pid: Pid) -> Vec<Pid> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).map(Pid::from_raw).collect()
}

/// A workspace of `account`'s own.
pub fn workspace_of(account: &Account, name: &str) -> PathBuf {
    let path = base().join(name);
    fs::create_dir(&path).expect("own directory");
    std::os::unix::fs::chown(&path, Some(account.uid), Some(account.gid)).expect("root can give, others to themselves");
    path
}

/// Connects as somebody else: the credentials of one thread are changed, which is what the kernel notes.
#[expect(unsafe_code, reason = "libc changes the credentials of all threads, and only the kernel those of one")]
fn connect_as(socket: &Path, uid: u32, gid: u32) -> UnixStream {
    let socket = socket.to_owned();
    let connecting = std::thread::spawn(move || {
        if uid != nix::unistd::geteuid().as_raw() {
            // SAFETY: integers, and an empty list; nothing in this thread depends on who it is.
            let changed = unsafe {
                libc::syscall(libc::SYS_setgroups, 0, 0) == 0
                    && libc::syscall(libc::SYS_setresgid, gid, gid, gid) == 0
                    && libc::syscall(libc::SYS_setresuid, uid, uid, uid) == 0
            };
            assert!(changed, "only root can be somebody else");
        }
        UnixStream::connect(socket).expect("the service listens")
    });
    connecting.join().expect("connected")
}

/// A client that speaks JSON.
pub struct Client {
    stream: UnixStream,
    reader: BufReader<UnixStream>,
    next: i64,
    /// What came beside answers.
    pub notifications: Vec<Value>,
}

impl Client {
    /// One with somebody's credentials, if anybody listens there.
    pub fn try_new(socket: &Path, account: &Account) -> Option<Client> {
        UnixStream::connect(socket).ok()?;
        Some(Client::new(connect_as(socket, account.uid, account.gid)))
    }

    fn new(stream: UnixStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket has timeouts");
        let reader = BufReader::new(stream.try_clone().expect("descriptors are left"));
        Client { stream, reader, next: 1, notifications: Vec::new() }
    }

    /// Its connection.
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Sends bytes as they are; whether that worked.
    pub fn send_raw(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends bytes with descriptors.
    pub fn send_with(&mut self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
        use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
        let raw: Vec<i32> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let control = [ControlMessage::ScmRights(&raw)];
        let slices = [std::io::IoSlice::new(bytes)];
        let sent = sendmsg::<()>(self.stream.as_raw_fd(), &slices, &control, MsgFlags::MSG_NOSIGNAL, None);
        assert_eq!(sent, Ok(bytes.len()));
    }

    /// The line of a request, and its number.
    pub fn request(&mut self, method: &str, params: &Value) -> (i64, Vec<u8>) {
        let id = self.next;
        self.next += 1;
        let mut line =
            json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string().into_bytes();
        line.push(b'\n');
        (id, line)
    }

    /// Sends a request and gives its number.
    pub fn ask(&mut self, method: &str, params: Value) -> i64 {
        let (id, line) = self.request(method, &params);
        assert!(self.send_raw(&line), "the service has closed");
        id
    }

    /// The same, if the service has not closed.
    pub fn ask_if_open(&mut self, method: &str, params: Value) -> Option<i64> {
        let (id, line) = self.request(method, &params);
        self.send_raw(&line).then_some(id)
    }

    /// The line with the answer to `id`; null at the end.
    pub fn line_of(&mut self, id: i64) -> Value {
        loop {
            let line = self.line();
            if line.is_null() || line["id"] == id {
                return line;
            }
        }
    }

    /// The next line; null at the end.
    pub fn line(&mut self) -> Value {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => Value::Null,
            Ok(_) => serde_json::from_str(&line).expect(&line),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Value::Null,
            Err(error) => panic!("nothing came: {error}"),
        }
    }

    /// The answer to request `id`; what else comes is kept.
    pub fn answer(&mut self, id: i64) -> Value {
        loop {
            let line = self.line();
            assert!(!line.is_null(), "the service has closed");
            if line["id"] == id || (line["id"].is_null() && line.get("error").is_some()) {
                return line;
            }
            self.notifications.push(line);
        }
    }

    /// Asks, and wants a result.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.ask(method, params);
        let answer = self.answer(id);
        assert!(answer.get("result").is_some(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// Asks, and wants to be turned down with this code.
    pub fn refused(&mut self, method: &str, params: Value) -> String {
        let id = self.ask(method, params);
        let answer = self.answer(id);
        answer["error"]["data"]["code"].as_str().unwrap_or_else(|| panic!("{method}: {answer}")).to_owned()
    }

    /// Waits for the end of a run, and gives its verdict.
    pub fn verdict(&mut self, run: &str) -> Value {
        loop {
            let is_it = |line: &Value| line["method"] == "run.ended" && line["params"]["run"] == run;
            if let Some(line) = self.notifications.iter().find(|line| is_it(line)) {
                return line["params"]["verdict"].clone();
            }
            let line = self.line();
            assert!(!line.is_null(), "the service has closed");
            self.notifications.push(line);
        }
    }

    /// Runs to the end: what it wrote to stdout, and the verdict.
    pub fn run(&mut self, params: Value) -> (String, Value) {
        let running = self.call("run", params);
        let run = running["run"].as_str().expect("a run has an id").to_owned();
        let verdict = self.verdict(&run);
        (self.output(&run, "stdout"), verdict)
    }

    /// What came of a stream so far.
    pub fn output(&self, run: &str, stream: &str) -> String {
        let of_it = self.notifications.iter().map(|line| &line["params"]).filter(|params| params["run"] == run);
        of_it.filter(|params| params["stream"] == stream).filter_map(|params| params["data"].as_str()).collect()
    }
}
