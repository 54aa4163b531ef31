//! One run of the binary, and what came of it.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::patience;
use super::place::{Place, clawjail};

/// After this long a run hangs, whatever its own limit was.
const PATIENCE: Duration = Duration::from_secs(90);

/// A run to be started.
pub struct Jail<'a> {
    place: &'a Place,
    options: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    timeout: String,
    input: Vec<u8>,
    directory: PathBuf,
    verdict: PathBuf,
}

/// What came of it.
#[derive(Debug)]
pub struct Ran {
    /// Exit code of the binary; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended the binary itself.
    pub signal: Option<i32>,
    /// What arrived on stdout.
    pub stdout: Vec<u8>,
    /// What arrived on stderr.
    pub stderr: Vec<u8>,
    /// The verdict; null when none was written.
    pub verdict: Value,
    /// Whether it had to be killed from outside.
    pub hung: bool,
}

impl<'a> Jail<'a> {
    /// In the tier of `place`, on its workspace.
    pub fn new(place: &'a Place) -> Jail<'a> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let verdict = place.outside.join(format!("verdict.{}.json", NEXT.fetch_add(1, Ordering::Relaxed)));
        Jail {
            place,
            options: Vec::new(),
            environment: Vec::new(),
            timeout: seconds(20),
            input: Vec::new(),
            directory: place.workspace.clone(),
            verdict,
        }
    }

    /// With this profile.
    pub fn profile(self, name: &str) -> Self {
        self.option("--profile").option(name)
    }

    /// With one more word before the command.
    pub fn option(mut self, word: impl AsRef<OsStr>) -> Self {
        self.options.push(word.as_ref().to_owned());
        self
    }

    /// With this in the caller's environment.
    pub fn environment(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// With this wall limit, which is meant to end it.
    pub fn timeout(mut self, span: &str) -> Self {
        self.timeout = span.to_owned();
        self
    }

    /// With so many seconds instead of 20, which are meant to suffice.
    pub fn patient(mut self, usual: u64) -> Self {
        self.timeout = seconds(usual);
        self
    }

    /// With this on stdin.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Started in this directory.
    pub fn started_in(mut self, directory: impl AsRef<Path>) -> Self {
        self.directory = directory.as_ref().to_owned();
        self
    }

    /// The command line, for tests that start it in a way of their own.
    pub fn command<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, words: I) -> Command {
        let mut command = self.place.command(clawjail());
        command.current_dir(&self.directory).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.args(["run", "--tier", self.place.tier.word(), "--timeout", &self.timeout, "--verdict"]);
        command.arg(&self.verdict).args(&self.options).arg("--").args(words);
        command
    }

    /// Starts it without waiting; its output is thrown away.
    pub fn start<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, words: I) -> Child {
        let mut command = self.command(words);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("the binary can be executed")
    }

    /// Runs it to its end.
    pub fn run<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, words: I) -> Ran {
        let mut command = self.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary can be executed");
        let mut stdin = child.stdin.take().expect("asked for");
        let input = self.input.clone();
        // A command that does not read its input is no failure of the test.
        thread::spawn(move || drop(stdin.write_all(&input)));
        self.finish(child)
    }

    /// Waits for the end of one that was started with pipes.
    pub fn finish(&self, mut child: Child) -> Ran {
        let stdout = child.stdout.take().map(collect);
        let stderr = child.stderr.take().map(collect);
        let begun = Instant::now();
        let mut hung = false;
        let status = loop {
            if let Some(status) = child.try_wait().expect("our own child") {
                break status;
            }
            if begun.elapsed() > patience(PATIENCE) && !hung {
                hung = true;
                child.kill().expect("our own child");
            }
            thread::sleep(Duration::from_millis(2));
        };
        let receive = |stream: Option<mpsc::Receiver<Vec<u8>>>| {
            stream.and_then(|stream| stream.recv_timeout(Duration::from_secs(5)).ok()).unwrap_or_default()
        };
        Ran {
            code: status.code(),
            signal: status.signal(),
            stdout: receive(stdout),
            stderr: receive(stderr),
            verdict: self.verdict(),
            hung,
        }
    }

    /// The verdict as it was written; null when there is none.
    pub fn verdict(&self) -> Value {
        let text = std::fs::read(&self.verdict).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or(Value::Null)
    }

    /// A shell script as the command.
    pub fn bash(&self, script: &str) -> Ran {
        self.run(["bash", "-c", script])
    }
}

fn seconds(usual: u64) -> String {
    format!("{}s", patience(Duration::from_secs(usual)).as_secs())
}

fn collect(mut stream: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    receiver
}

impl Ran {
    /// stdout as text, without white space at its end.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }

    /// stderr as text, without white space at its end.
    pub fn error_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim_end().to_owned()
    }

    /// Only our own lines on stderr.
    pub fn own_lines(&self) -> Vec<String> {
        self.error_text().lines().filter(|line| line.starts_with("clawjail: ")).map(str::to_owned).collect()
    }

    /// The verdict's outcome.
    pub fn outcome(&self) -> &str {
        self.verdict["outcome"].as_str().unwrap_or("no verdict")
    }

    /// All of it, for a message.
    pub fn whole(&self) -> String {
        format!(
            "code {:?}, outcome {}, stdout {:?}, stderr {:?}",
            self.code,
            self.outcome(),
            self.text(),
            self.error_text()
        )
    }
}
