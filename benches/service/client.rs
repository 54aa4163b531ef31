//! A client that stays connected, as small as it can be: what it does itself must not count.

use std::fs::File;
use std::io::{BufRead, BufReader, IoSlice};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde_json::{Value, json};

use super::bare::PROGRAM;

/// How long anything may take before the bench says that it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// One connection.
pub struct Client {
    reader: BufReader<UnixStream>,
    null: File,
    next: u64,
}

impl Client {
    /// Connects.
    pub fn connect(socket: &Path) -> Client {
        let stream = UnixStream::connect(socket).expect("the service listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket has timeouts");
        let null = File::options().read(true).write(true).open("/dev/null").expect("it is on every system");
        Client { reader: BufReader::new(stream), null, next: 1 }
    }

    /// What `run` is asked with, but for where.
    pub fn command() -> Value {
        json!({ "argv": [PROGRAM], "descriptors": 3 })
    }

    /// Runs to the end, with `/dev/null` handed over as all three streams.
    pub fn run(&mut self, params: &Value) -> Duration {
        let id = self.next;
        self.next += 1;
        let line = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"run\",\"params\":{params}}}\n");
        let begin = Instant::now();
        self.send(line.as_bytes(), &[self.null.as_raw_fd(); 3]);
        let mut text = String::new();
        while !text.contains("\"method\":\"run.ended\"") {
            self.read(&mut text);
            assert!(!text.contains("\"error\""), "the service says: {text}");
        }
        let time = begin.elapsed();
        assert!(text.contains("\"exit_code\":0"), "it did not run: {text}");
        time
    }

    /// Asks for anything else, and gives its result.
    pub fn call(&mut self, method: &str, params: &Value) -> Value {
        let id = self.next;
        self.next += 1;
        let line = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":{params}}}\n");
        self.send(line.as_bytes(), &[]);
        let mut text = String::new();
        self.read(&mut text);
        let mut answer: Value = serde_json::from_str(&text).expect("the service speaks JSON");
        assert!(answer.get("result").is_some(), "{method}: {answer}");
        answer["result"].take()
    }

    fn send(&self, line: &[u8], descriptors: &[i32]) {
        let rights = [ControlMessage::ScmRights(descriptors)];
        let control: &[ControlMessage<'_>] = if descriptors.is_empty() { &[] } else { &rights };
        let socket = self.reader.get_ref().as_raw_fd();
        let sent = sendmsg::<()>(socket, &[IoSlice::new(line)], control, MsgFlags::MSG_NOSIGNAL, None);
        assert_eq!(sent, Ok(line.len()), "the service takes a short line at once");
    }

    fn read(&mut self, text: &mut String) {
        text.clear();
        assert!(self.reader.read_line(text).expect("the service answers") > 0, "the service has closed");
    }
}
