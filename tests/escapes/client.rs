//! A supervisor that speaks to the launcher as ours never would: this test binary under the name `client`.
//!
//! `client KIND WORKSPACE TIER`: forks the real launcher, sends it one odd message by hand, and says what came back.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use clawjail::host::Tier;
use clawjail::jail::channel::{Arrived, Channel};
use clawjail::jail::launcher;
use clawjail::jail::mandate::Mandate;
use clawjail::sys::process::{self, Fork};
use clawjail::wire::privsep::{FromLauncher, RunRequest, Terminal, ToLauncher};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};

/// What a request may have wrong, and how the answer to it begins. What is only odd runs to its end.
pub const KINDS: [(&str, &str); 25] = [
    ("plain", "ended Exited(0)"),
    ("argv-nul", "refused request_invalid"),
    ("program-nul", "refused request_invalid"),
    ("argv-none", "refused request_invalid"),
    ("program-empty", "refused request_invalid"),
    ("set-value-nul", "refused environment_invalid"),
    ("set-name-nul", "refused environment_invalid"),
    ("set-name-empty", "refused environment_invalid"),
    ("set-name-equals", "refused environment_invalid"),
    ("pass-nul", "refused environment_invalid"),
    ("inherited-nul", "refused environment_invalid"),
    ("workspace-nul", "refused workspace_unusable"),
    ("workspace-empty", "refused workspace_"),
    ("workspace-relative", "refused workspace_"),
    ("cwd-nul", "refused workspace_unusable"),
    ("profile-nul", "refused profile_unusable"),
    ("profile-long", "refused profile_unusable"),
    ("timeout-none-left", "ended"),
    ("timeout-largest", "ended Exited(0)"),
    ("terminal-without-size", "ended"),
    ("descriptors-none", "failed stdio"),
    ("descriptors-many", "failed stdio"),
    ("noise", "gone"),
    ("half", "gone"),
    ("nothing-to-run", "gone"),
];

/// Sends one message and says what came of it.
pub fn main(mut words: impl Iterator<Item = OsString>) -> ExitCode {
    let mut next = || words.next().unwrap_or_default();
    let (kind, workspace, tier) = (next(), next(), next());
    let kind = kind.to_string_lossy().into_owned();
    let tier = match tier.to_str() {
        Some("root") => Tier::Root,
        Some("user") => Tier::User,
        _ => Tier::Bare,
    };
    let (ours, launchers) = Channel::pair().expect("a socket");
    // Room for the launcher to say that it has gone: it closes all but its own.
    match process::fork_into(0, None).expect("one more process") {
        Fork::Child => {
            drop(ours);
            launcher::serve(launchers, Some(tier), &Mandate::Own, clawjail::egress::life::live)
        }
        Fork::Parent(pid) => {
            drop(launchers);
            say_odd_thing(&ours, &kind, workspace.into_vec(), tier).expect("the launcher listens");
            println!("{kind}\t{}", hear(&ours));
            drop(ours);
            let _ = process::wait_for(pid);
        }
    }
    ExitCode::SUCCESS
}

fn say_odd_thing(launcher: &Channel, kind: &str, workspace: Vec<u8>, tier: Tier) -> Result<(), Errno> {
    let null = File::options().read(true).write(true).open("/dev/null").expect("every host has it");
    let descriptors = |count: usize| -> Vec<BorrowedFd<'_>> { std::iter::repeat_n(null.as_fd(), count).collect() };
    let raw = |bytes: &[u8]| send(launcher.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL).map(drop);
    match kind {
        "noise" => {
            return raw(&(0..60_000u32)
                .map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8)
                .collect::<Vec<_>>());
        }
        "half" => return raw(&[0, 0, 7, b'u', b'n']),
        "nothing-to-run" => {
            launcher.send(&ToLauncher::Signal(9), &[])?;
            // After the first it may be gone already, which is what is wanted of it.
            return raw(&[]).and_then(|()| match raw(&[9, 9, 9]) {
                Err(Errno::EPIPE) => Ok(()),
                sent => sent,
            });
        }
        _ => {}
    }
    let count = match kind {
        "descriptors-none" => 0,
        "descriptors-many" => 16,
        _ => 6,
    };
    launcher.send(&ToLauncher::Run(Box::new(request(kind, workspace, tier))), &descriptors(count))
}

fn request(kind: &str, workspace: Vec<u8>, tier: Tier) -> RunRequest {
    let text = |text: &str| text.as_bytes().to_vec();
    let nul = || b"a\0b".to_vec();
    let mut request = RunRequest {
        profile: "untrusted".into(),
        tier: Some(tier),
        argv: vec![text("touch"), text("executed")],
        set: Vec::new(),
        pass: Vec::new(),
        inherited: Vec::new(),
        workspace,
        cwd: None,
        terminal: Terminal::None,
        timeout_ms: None,
        narrow: Default::default(),
        mounts: Vec::new(),
        agent: None,
    };
    match kind {
        "argv-nul" => request.argv.push(nul()),
        "program-nul" => request.argv = vec![b"touch\0x".to_vec(), text("executed")],
        "argv-none" => request.argv.clear(),
        "program-empty" => request.argv = vec![text(""), text("executed")],
        "set-value-nul" => request.set.push((text("NAME"), nul())),
        "set-name-nul" => request.set.push((nul(), text("value"))),
        "set-name-empty" => request.set.push((text(""), text("value"))),
        "set-name-equals" => request.set.push((text("A=B"), text("value"))),
        "pass-nul" => request.pass.push(nul()),
        "inherited-nul" => request.inherited.push((text("TERM"), nul())),
        "workspace-nul" => request.workspace.extend_from_slice(b"\0/x"),
        "workspace-empty" => request.workspace.clear(),
        "workspace-relative" => request.workspace = text("workspace"),
        "cwd-nul" => request.cwd = Some(nul()),
        "profile-nul" => request.profile = "untrusted\0".into(),
        "profile-long" => request.profile = "x".repeat(3_000_000),
        "timeout-none-left" => request.timeout_ms = Some(0),
        "timeout-largest" => request.timeout_ms = Some(u64::MAX),
        "terminal-without-size" => request.terminal = Terminal::Own { rows: 0, columns: u16::MAX, stderr: true },
        _ => {}
    }
    request
}

/// The last thing that is said of the request.
fn hear(launcher: &Channel) -> String {
    loop {
        return match launcher.receive::<FromLauncher>() {
            Ok(Arrived::Message(FromLauncher::Started(_), _)) => continue,
            Ok(Arrived::Message(FromLauncher::Ended(_, ended), _)) => {
                format!("ended {:?} {:?}", ended.end, ended.cause)
            }
            Ok(Arrived::Message(FromLauncher::Refused { code, message, .. }, _)) => {
                format!("refused {code} {}", message.chars().take(200).collect::<String>().escape_default())
            }
            Ok(Arrived::Message(FromLauncher::Failed(failure), _)) => {
                format!("failed {} {:?}", failure.step, failure.what)
            }
            Ok(Arrived::Message(FromLauncher::Opened(_) | FromLauncher::Closed(_), _)) => "a jail that stays".into(),
            Ok(Arrived::Message(FromLauncher::Looked(_), _)) => "what it uses, unasked".into(),
            Ok(Arrived::Gone) => "gone".into(),
            Err(errno) => format!("error {errno:?}"),
        };
    }
}
