//! `clawjail setup`: below a prefix, so that the machine of the tests stays as it is. tests/kernels/scenarios/service has the rest.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Output;

use sha2::{Digest, Sha256};

use crate::as_root;
use crate::service::Client;
use crate::support::account;
use crate::support::place::{Place, clawjail};
use crate::support::tier::Tier;

fn setup(place: &Place, words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = place.command(clawjail());
    command.arg("setup").arg("--prefix").arg(image(place)).args(words);
    said(command.output().expect("the binary can be executed"))
}

fn said(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn image(place: &Place) -> PathBuf {
    place.outside.join("image")
}

/// All files, with what would show that one was written again.
fn files(directory: &Path) -> BTreeMap<PathBuf, (u64, i64, String)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).into_iter().flatten().map(|entry| entry.expect("an entry")) {
        let (path, about) = (entry.path(), entry.metadata().expect("it is there"));
        if about.is_dir() {
            found.extend(files(&path));
            continue;
        }
        let text = fs::read_to_string(&path).expect("a text");
        found.insert(path, (about.ino(), about.ctime_nsec(), text));
    }
    found
}

#[test]
fn a_second_time_changes_nothing_and_a_dry_run_nothing_at_all() {
    let place = Place::new(Tier::User);
    let (code, told, _) = setup(&place, &["--dry-run"]);
    assert_eq!((code, files(&image(&place)).len()), (Some(0), 0));
    let (code, wrote, errors) = setup(&place, &[]);
    assert_eq!(code, Some(0), "{errors}");
    let done = told.replace("would write ", "wrote     ").replace("would make ", "made      ");
    assert_eq!(done, wrote, "what is told is what is done");
    let first = files(&image(&place));
    let names: Vec<&str> = first.keys().filter_map(|path| path.file_name()?.to_str()).collect();
    let wanted = ["clawjail.toml", "clawjail.service", "clawjail.socket", "clawjail.conf", "clawjail.conf"];
    assert_eq!(names, wanted);
    for path in first.keys() {
        assert_eq!(fs::metadata(path).expect("it is there").mode() & 0o7777, 0o644, "{}", path.display());
    }
    let unit = &first[&image(&place).join("etc/systemd/system/clawjail.service")].2;
    assert!(unit.contains(&format!("ExecStart={} serve\n", clawjail().display())), "{unit}");
    let (code, told, _) = setup(&place, &[]);
    assert_eq!((code, told.as_str()), (Some(0), "all of it is there already\n"));
    assert_eq!(files(&image(&place)), first);
}

#[test]
fn what_somebody_changed_is_kept_and_shown_and_what_nobody_changed_is_renewed_and_removed() {
    let place = Place::new(Tier::User);
    setup(&place, &[]);
    let units = image(&place).join("etc/systemd/system");
    let (service, socket) = (units.join("clawjail.service"), units.join("clawjail.socket"));
    let changed =
        fs::read_to_string(&service).expect("it was written").replace("TimeoutStopSec=20s", "TimeoutStopSec=99s");
    fs::write(&service, &changed).expect("own file");
    // What an earlier version wrote, and nobody has touched.
    let text = fs::read_to_string(&socket).expect("it was written");
    let (mark, rest) = text.split_once('\n').expect("a first line");
    let (mark, older) = (mark.rsplit_once(' ').expect("a digest").0, rest.replace("0666", "0660"));
    let digest: String = Sha256::digest(&older).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    fs::write(&socket, format!("{mark} {digest}\n{older}")).expect("own file");
    let (code, told, errors) = setup(&place, &[]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(told.contains("\n  - TimeoutStopSec=99s\n  + TimeoutStopSec=20s\n"), "{told}");
    assert!(told.contains("updated ") && told.lines().count() == 4, "{told}");
    assert_eq!(fs::read_to_string(&service).expect("it is there"), changed);
    assert_eq!(fs::read_to_string(&socket).expect("it is there"), text);
    let (code, told, _) = setup(&place, &["--remove", "--dry-run"]);
    assert_eq!((code, told.matches("would remove").count(), files(&image(&place)).len()), (Some(0), 4, 5));
    let (code, told, _) = setup(&place, &["--remove"]);
    assert_eq!((code, told.matches("removed").count(), told.matches("kept").count()), (Some(0), 4, 1), "{told}");
    let left = files(&image(&place));
    assert_eq!(left.keys().collect::<Vec<_>>(), [&service]);
    assert!(!image(&place).join("etc/clawjail").exists());
    assert!(image(&place).join("var/lib/clawjail").is_dir(), "what was recorded stays");
}

#[test]
fn who_is_found_gets_a_line_in_a_configuration_that_can_be_used_and_is_written_once() {
    let place = Place::new(Tier::User);
    let mut command = place.command(clawjail());
    command.arg("setup").arg("--prefix").arg(image(&place)).env("SUDO_UID", account::ordinary().uid.to_string());
    let (code, _, errors) = said(command.output().expect("the binary can be executed"));
    assert_eq!(code, Some(0), "{errors}");
    let path = image(&place).join("etc/clawjail/clawjail.toml");
    let text = fs::read_to_string(&path).expect("it was written");
    let line =
        format!("[[caller]]\nuser = \"{}\"\nrole = \"operator\"\nprofiles = [\"*\"]\n", account::ordinary().name);
    assert!(text.contains(&line), "{text}");
    // Another one asks: the configuration is somebody's already.
    assert_eq!(setup(&place, &[]).1, "all of it is there already\n");
    assert_eq!(fs::read_to_string(&path).expect("it is there"), text);
}

#[test]
fn the_service_of_one_user_starts_by_what_was_set_up() {
    let place = Place::new(Tier::User);
    let home = place.outside.join("home");
    fs::create_dir(&home).expect("own directory");
    place.give(&home);
    let asked = |words: &[&str]| {
        let mut command = place.command(clawjail());
        command.args(words).env("HOME", &home).env("XDG_RUNTIME_DIR", &home).env("XDG_STATE_HOME", home.join("state"));
        command
    };
    let (code, told, errors) = said(asked(&["setup", "--user"]).output().expect("the binary can be executed"));
    assert_eq!(code, Some(0), "{errors}");
    assert!(told.contains("no systemd runs here: start it with"), "{told}");
    let names: Vec<PathBuf> =
        files(&home).into_keys().map(|path| path.strip_prefix(&home).expect("in it").to_owned()).collect();
    let wanted = [
        ".config/clawjail/clawjail.toml",
        ".config/systemd/user/clawjail.service",
        ".config/systemd/user/clawjail.socket",
    ];
    assert_eq!(names, wanted.map(PathBuf::from));
    let mut serving = asked(&["serve"]).spawn().expect("the binary can be executed");
    let socket = home.join("clawjail/socket");
    let began = std::time::Instant::now();
    let answered = loop {
        if let Some(mut client) = Client::try_new(&socket, place.account()) {
            break client.call("ping", serde_json::json!({}));
        }
        assert!(began.elapsed() < crate::service::PATIENCE, "no socket");
        std::thread::sleep(std::time::Duration::from_millis(10));
    };
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(serving.id() as i32), nix::sys::signal::Signal::SIGTERM)
        .expect("our own child");
    assert_eq!(serving.wait().expect("our own child").code(), Some(0));
    assert_eq!((answered["role"].as_str(), answered["profiles"][0].as_str()), (Some("admin"), Some("*")));
}

#[test]
fn a_service_for_the_machine_is_root_s_and_so_is_what_it_starts() {
    let place = Place::new(Tier::User);
    let (code, _, errors) = said(place.command(clawjail()).arg("setup").output().expect("the binary can be executed"));
    assert_eq!(code, Some(126));
    assert_eq!(errors.lines().next(), Some("clawjail: refused: a service for this machine is root's to set up"));
    if !as_root("what root must not start") {
        return;
    }
    // The tests' own copy lies in /tmp, and where everybody can write everybody could put another one in its place.
    let own = Place::new(Tier::Root);
    let copy = own.outside.join("clawjail");
    fs::copy(clawjail(), &copy).expect("own directory");
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o777)).expect("own file");
    let (code, told, errors) =
        said(own.command(&copy).args(["setup", "--dry-run"]).output().expect("it can be executed"));
    assert_eq!((code, told.as_str()), (Some(126), ""));
    assert!(errors.starts_with("clawjail: refused: root must not start `"), "{errors}");
}
