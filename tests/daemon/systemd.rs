//! What systemd is told, what it gives, and whether it takes our units.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::unistd::Pid;
use serde_json::json;

use crate::service::{PATIENCE, Service};
use crate::support::place::{Place, clawjail};
use crate::support::tier::Tier;
use crate::{as_root, installed};

/// The next notification, and the process that the kernel says it comes from.
fn told(manager: &UnixDatagram) -> (String, Pid) {
    let mut buffer = [0; 256];
    let mut room = nix::cmsg_space!(nix::sys::socket::UnixCredentials);
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let received = recvmsg::<()>(manager.as_raw_fd(), &mut slices, Some(&mut room), MsgFlags::empty());
    let received = received.expect("a notification");
    let sender = received.cmsgs().expect("they fit").find_map(|message| match message {
        ControlMessageOwned::ScmCredentials(sender) => Some(Pid::from_raw(sender.pid())),
        _ => None,
    });
    let length = received.bytes;
    (String::from_utf8_lossy(&buffer[..length]).into_owned(), sender.expect("the kernel says who"))
}

#[test]
fn the_manager_is_told_by_the_first_process_when_the_service_is_ready_reloads_and_stops() {
    let mut manager = None;
    let mut service = Service::start_by("", |socket, mut command| {
        let path = socket.with_file_name("notify");
        let listening = UnixDatagram::bind(&path).expect("own directory");
        listening.set_read_timeout(Some(PATIENCE)).expect("a socket has timeouts");
        setsockopt(&listening, sockopt::PassCred, &true).expect("a socket tells who sends");
        command.env("NOTIFY_SOCKET", &path);
        manager = Some(listening);
        command
    });
    let manager = manager.expect("it was made");
    let guard = Pid::from_raw(service.guard.id() as i32);
    // Only what the first process says counts for `NotifyAccess=main`, which is what `Type=notify` means.
    let word = |state: &str| (state.to_owned(), guard);
    assert_eq!(told(&manager), word("READY=1"));
    service.client().call("ping", json!({}));
    kill(guard, Signal::SIGHUP).expect("our own child");
    assert_eq!((told(&manager), told(&manager)), (word("RELOADING=1"), word("READY=1")));
    service.reconfigure("nonsense = 1\n");
    kill(guard, Signal::SIGHUP).expect("our own child");
    assert_eq!((told(&manager), told(&manager)), (word("RELOADING=1"), word("READY=1")));
    assert!(service.log().contains("clawjail.toml:") && service.log().contains("`nonsense`"), "{}", service.log());
    kill(service.process("clawjail-super"), Signal::SIGKILL).expect("our own service");
    assert_eq!(told(&manager), word("READY=1"));
    assert_eq!(service.stop(), Some(0));
    assert_eq!(told(&manager), word("STOPPING=1"));
}

#[test]
fn a_listening_socket_that_was_given_is_used_and_left_where_it_is() {
    let mut given = None;
    let mut service = Service::start_by("", |socket, command| {
        let listener = UnixListener::bind(socket).expect("own directory");
        std::fs::set_permissions(socket, std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("own file");
        // As systemd does: descriptor 3, and the variables name the very process.
        let script = "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\" 3<&0 </dev/null";
        let mut activated = Command::new("sh");
        activated.args(["-c", script, "sh"]).arg(command.get_program()).args(command.get_args());
        activated.stdin(OwnedFd::from(listener.try_clone().expect("descriptors are left")));
        given = Some(listener);
        activated
    });
    let inode = |path: &Path| std::fs::metadata(path).expect("it is there").ino();
    let before = inode(&service.socket);
    let asked = json!({ "argv": ["echo", "activated"], "profile": "untrusted", "workspace": service.place.workspace });
    assert_eq!(service.client().run(asked).0, "activated\n");
    assert_eq!(service.stop(), Some(0), "{}", service.log());
    // Whoever comes now waits for the next start.
    assert_eq!(inode(&service.socket), before);
    assert!(UnixStream::connect(&service.socket).is_ok());
}

#[test]
fn a_descriptor_that_is_no_listening_socket_is_refused() {
    let place = Place::new(Tier::User);
    let mut command = place.command("sh");
    command.args(["-c", "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\" 3</dev/null", "sh"]).arg(clawjail()).arg("serve");
    let ended = command.env("XDG_RUNTIME_DIR", &place.outside).output().expect("the binary can be executed");
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(125), "{errors}");
    assert!(errors.contains("the descriptor that was given is no listening stream socket"), "{errors}");
}

#[test]
fn the_capabilities_of_the_unit_are_enough_and_without_one_of_them_nothing_is_run() {
    if !as_root("capabilities of the unit") {
        return;
    }
    let unit = include_str!("../../dist/systemd/clawjail.service");
    let lines = unit.lines().filter_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let names: Vec<String> = lines
        .flat_map(str::split_ascii_whitespace)
        .map(|name| format!("+{}", name.trim_start_matches("CAP_").to_ascii_lowercase()))
        .collect();
    assert!(names.len() > 10 && names.len() < 19, "{names:?}");
    for (left_out, works) in [("", true), ("+net_admin", false)] {
        let kept = names.iter().filter(|name| *name != left_out).cloned().collect::<Vec<_>>().join(",");
        let service = Service::start_by("", |_, command| {
            let mut bounded = Command::new("setpriv");
            bounded.args(["--no-new-privs", &format!("--bounding-set=-all,{kept}"), "--"]);
            bounded.arg(command.get_program()).args(command.get_args());
            bounded
        });
        let mut client = service.client();
        let asked = json!({ "argv": ["id", "-u"], "profile": "untrusted", "workspace": service.place.workspace });
        if works {
            let (_, verdict) = client.run(asked);
            let enforcement = (verdict["tier"].as_str(), verdict["enforcement"]["level"].as_str());
            assert_eq!(
                (verdict["exit_code"].as_i64(), enforcement),
                (Some(0), (Some("root"), Some("full"))),
                "{verdict}"
            );
        } else {
            let code = client.refused("run", asked);
            assert!(code.starts_with("failed."), "{code}");
        }
    }
}

#[test]
fn systemd_takes_the_units_and_finds_them_no_more_exposed_than_they_have_to_be() {
    if !installed("systemd-analyze") {
        return;
    }
    let place = Place::new(Tier::User);
    let analyze = |words: &[&str], units: &Path| {
        let units = ["clawjail.service", "clawjail.socket"].map(|name| units.join(name));
        let units = if words.contains(&"verify") { &units[..] } else { &units[..1] };
        let mut command = Command::new("systemd-analyze");
        let said = command.args(words).args(units).env("XDG_RUNTIME_DIR", &place.outside).output();
        let said = said.expect("it is installed");
        let text = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        (said.status.success(), text)
    };
    for (options, directory) in [(&[][..], "etc/systemd/system"), (&["--user"], ".config/systemd/user")] {
        let mut command = place.command(clawjail());
        command.args(["setup", "--prefix"]).arg(place.outside.join("image")).args(options).env("HOME", "/");
        let done = command.output().expect("the binary can be executed");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let units = place.outside.join("image").join(directory);
        let verify = [options, &["verify", "--man=no"]].concat();
        assert_eq!(analyze(&verify, &units), (true, String::new()), "{options:?}");
    }
    let units = place.outside.join("image/etc/systemd/system");
    // Of 100; a service without any protection has 96. The unit says what it cannot have, and why. One is for reading
    // the kernel's records.
    let (sound, said) = analyze(&["security", "--offline=true", "--threshold=83", "--no-pager"], &units);
    assert!(sound, "{said}");
}
