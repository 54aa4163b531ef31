//! Mending what can be mended: one atomic write of the configuration, with a backup before it, and permissions.
//!
//! A change is written only when the new text, read with the real parser and with what it includes, says what it should and nothing
//! else has changed. Comments and order stay as they are. What cannot be done so is left, with the reason.

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, fchown};
use serde::Serialize;
use serde_json::{Map, Value};

use super::config::Config;
use super::{Finding, Fix, Setup, edit, shown};

/// What was done.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// What is mended.
    pub mended: Vec<Line>,
    /// What is not, though it could have been.
    pub left: Vec<Line>,
    /// The configuration as it was before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<PathBuf>,
}

/// One of them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Which check.
    pub check_id: String,
    /// What was done, or why not.
    pub what: String,
}

/// Mends what it can. An error means that the configuration is as it was.
pub fn apply(setup: &Setup, findings: &[Finding], stamp: &str) -> Result<Outcome, String> {
    let mut outcome = Outcome::default();
    settings(setup, findings, stamp, &mut outcome)?;
    for finding in findings {
        let Some(Fix::Mode(path, mode)) = &finding.fix else { continue };
        let check_id = finding.check_id.clone();
        match permit(path, *mode, setup) {
            Ok(()) => outcome.mended.push(Line { check_id, what: format!("{}: mode {mode:03o}", shown(path)) }),
            Err(why) => outcome.left.push(Line { check_id, what: format!("{}: {why}", shown(path)) }),
        }
    }
    Ok(outcome)
}

fn settings(setup: &Setup, findings: &[Finding], stamp: &str, outcome: &mut Outcome) -> Result<(), String> {
    let before = if setup.config.own.is_object() { setup.config.clone() } else { empty(setup)? };
    let mut config = before.clone();
    let mut done = Vec::new();
    let hindered = hindrance(setup);
    for finding in findings {
        let Some(Fix::Set(changes)) = &finding.fix else { continue };
        let changed = match &hindered {
            Some(why) => Err(why.clone()),
            None => {
                changes.iter().try_fold(config.clone(), |config, (path, value)| change(setup, &config, path, value))
            }
        };
        let check_id = finding.check_id.clone();
        match changed {
            Ok(changed) => {
                config = changed;
                let keys: Vec<String> = changes.iter().map(|(path, _)| path.join(".")).collect();
                done.push(Line { check_id, what: keys.join(", ") });
            }
            Err(why) => outcome.left.push(Line { check_id, what: why }),
        }
    }
    if config.text != before.text {
        outcome.backup = write(&setup.place.config, &setup.config.text, &config.text, stamp)?;
        outcome.mended = done;
    }
    Ok(())
}

fn empty(setup: &Setup) -> Result<Config, String> {
    Config::of("{}\n".to_owned(), &setup.place).map_err(|unreadable| unreadable.why)
}

/// Why the configuration cannot be written at all.
fn hindrance(setup: &Setup) -> Option<String> {
    if setup.place.read_only {
        return Some(
            "the configuration is somebody else's to write (OPENCLAW_CONFIG_READONLY or OPENCLAW_NIX_MODE)".to_owned(),
        );
    }
    if setup.unreadable.is_some() {
        return Some("the configuration cannot be read".to_owned());
    }
    let about = fs::symlink_metadata(&setup.place.config).ok()?;
    let single = about.is_file() && about.nlink() == 1;
    (!single).then(|| "the configuration is a link, and has to be changed where it leads".to_owned())
}

/// The configuration with one change, if that is all that changes.
fn change(setup: &Setup, config: &Config, path: &[String], value: &Value) -> Result<Config, String> {
    let key = path.join(".");
    if is_included(&config.own, path) {
        return Err(format!("`{key}` is set by an included file, and has to be changed there"));
    }
    let text = edit::set(&config.text, path, value).map_err(|why| format!("`{key}` cannot be changed: {why}"))?;
    let changed =
        Config::of(text, &setup.place).map_err(|_| format!("`{key}` cannot be changed without breaking the file"))?;
    let mut expected = config.own.clone();
    put(&mut expected, path, value);
    let key_says = path.iter().try_fold(&changed.value, |value, key| value.get(key));
    if changed.own != expected || key_says != Some(value) {
        return Err(format!("`{key}` cannot be changed without changing more"));
    }
    Ok(changed)
}

fn is_included(own: &Value, path: &[String]) -> bool {
    let mut here = Some(own);
    for key in path {
        if here.is_some_and(|value| value.get("$include").is_some()) {
            return true;
        }
        here = here.and_then(|value| value.get(key));
    }
    here.is_some_and(|value| value.get("$include").is_some())
}

fn put(value: &mut Value, path: &[String], new: &Value) {
    let Some((key, rest)) = path.split_first() else {
        *value = new.clone();
        return;
    };
    if let Value::Object(members) = value {
        put(members.entry(key.clone()).or_insert_with(|| Value::Object(Map::new())), rest, new);
    }
}

/// A backup beside it, then the new text in its place, all of it or nothing.
fn write(path: &Path, before: &str, after: &str, stamp: &str) -> Result<Option<PathBuf>, String> {
    let failed = |what: &str, path: &Path, error: &io::Error| format!("cannot {what} `{}`: {error}", shown(path));
    let about = match fs::symlink_metadata(path) {
        Ok(about) => Some(about),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed("look at", path, &error)),
    };
    let backup = about.as_ref().map(|_| beside(path, &format!(".clawjail-{stamp}.bak")));
    if let Some(backup) = &backup {
        create(backup, before, about.as_ref()).map_err(|error| failed("write", backup, &error))?;
    }
    let draft = beside(path, &format!(".clawjail-{}", std::process::id()));
    let written = create(&draft, after, about.as_ref())
        .and_then(|()| unchanged(path, about.as_ref(), before))
        .and_then(|()| fs::rename(&draft, path))
        .and_then(|()| File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all());
    if let Err(error) = written {
        let _ = fs::remove_file(&draft);
        return Err(failed("write", path, &error));
    }
    Ok(backup)
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(end);
    path.with_file_name(name)
}

/// A new file that its owner alone can read, of the same owner as the old one.
fn create(path: &Path, text: &str, like: Option<&Metadata>) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    let own = file.metadata()?;
    if let Some(like) = like.filter(|like| (like.uid(), like.gid()) != (own.uid(), own.gid())) {
        fchown(&file, Some(Uid::from_raw(like.uid())), Some(Gid::from_raw(like.gid())))?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Whether nobody has written it since it was read.
fn unchanged(path: &Path, about: Option<&Metadata>, before: &str) -> io::Result<()> {
    let now = fs::symlink_metadata(path).ok();
    let same = match (about, &now) {
        (None, None) => true,
        (Some(about), Some(now)) => about.ino() == now.ino() && fs::read(path)? == before.as_bytes(),
        _ => false,
    };
    if same { Ok(()) } else { Err(io::Error::other("somebody else has changed it meanwhile")) }
}

/// Takes permissions away from a file of OpenClaw's owner, never through a link.
fn permit(path: &Path, mode: u32, setup: &Setup) -> Result<(), String> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY;
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(|error| error.to_string())?;
    let about = file.metadata().map_err(|error| error.to_string())?;
    let owner = fs::metadata(&setup.place.state).map_or(setup.own_uid, |state| state.uid());
    if about.uid() != owner && about.uid() != setup.own_uid {
        return Err(format!("it belongs to uid {}", about.uid()));
    }
    if !about.is_dir() && about.nlink() > 1 {
        return Err("it has other names, too".to_owned());
    }
    file.set_permissions(fs::Permissions::from_mode(mode)).map_err(|error| error.to_string())
}
