//! What OpenClaw asks before it installs something: one JSON object on standard input.
//!
//! What has another version, another type or another shape than the one that is known is not understood, and what is not
//! understood is blocked. Keys beyond the known ones are left alone.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::policy::names::shown;

/// The version that is spoken.
pub const VERSION: u64 = 1;

/// OpenClaw sends no more than this.
pub const LONGEST: u64 = 256 << 10;

/// A request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    protocol_version: u64,
    /// What is to be installed.
    pub target_type: Target,
    /// Its name.
    pub target_name: String,
    /// Where it lies.
    pub source_path: PathBuf,
    /// What lies there.
    pub source_path_kind: PathKind,
    /// Where it comes from.
    pub origin: Map<String, Value>,
    /// How it was asked for.
    pub request: Asked,
}

/// What is to be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// Instructions and scripts.
    Skill,
    /// Code that the Gateway itself runs.
    Plugin,
}

/// What lies at the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PathKind {
    /// A folder.
    Directory,
    /// One file.
    File,
}

/// How it was asked for.
#[derive(Debug, Deserialize)]
pub struct Asked {
    /// By which way of installing.
    pub kind: String,
    /// `install` or `update`.
    pub mode: String,
}

impl Request {
    /// Reads one, or says what is odd about it.
    pub fn read(bytes: &[u8]) -> Result<Request, String> {
        if bytes.len() as u64 > LONGEST {
            return Err(format!("it is longer than {LONGEST} bytes"));
        }
        let value: Value = serde_json::from_slice(bytes).map_err(|error| format!("it is no JSON: {error}"))?;
        match value.get("protocolVersion").and_then(Value::as_u64) {
            Some(VERSION) => {}
            Some(other) => return Err(format!("it has protocol version {other}; known is {VERSION}")),
            None => return Err("it has no protocol version".to_owned()),
        }
        let request: Request = serde_json::from_value(value).map_err(|error| error.to_string())?;
        request.check().map(|()| request)
    }

    fn check(&self) -> Result<(), String> {
        debug_assert_eq!(self.protocol_version, VERSION);
        if self.target_name.trim().is_empty() {
            return Err("it does not name what is to be installed".to_owned());
        }
        if !self.source_path.is_absolute() {
            return Err(format!("`{}` is no absolute path", shown(&self.source_path.to_string_lossy())));
        }
        if !matches!(self.request.mode.as_str(), "install" | "update") {
            return Err(format!("unknown mode `{}`", shown(&self.request.mode)));
        }
        Ok(())
    }

    /// Whether `openclaw doctor --deep` only tries whether we answer.
    pub fn is_trial(&self) -> bool {
        self.origin.get("type").and_then(Value::as_str) == Some("doctor")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request() -> Value {
        json!({
            "protocolVersion": 1, "openclawVersion": "2026.9.6", "targetType": "skill", "targetName": "weather",
            "sourcePath": "/tmp/x", "sourcePathKind": "directory",
            "source": { "kind": "clawhub", "authority": "openclaw", "mutable": false, "network": true },
            "origin": { "type": "clawhub", "slug": "weather" },
            "request": { "kind": "skill-install", "mode": "install" }, "skill": { "installId": "clawhub" }
        })
    }

    #[test]
    fn what_openclaw_sends_is_understood() {
        let read = Request::read(request().to_string().as_bytes()).expect("a request");
        assert_eq!((read.target_type, read.target_name.as_str()), (Target::Skill, "weather"));
        assert!(!read.is_trial());
    }

    #[test]
    fn whatever_is_odd_about_a_request_is_an_error() {
        let odd: [(&str, Value); 9] = [
            ("protocolVersion", json!(2)),
            ("protocolVersion", json!("1")),
            ("targetType", json!("theme")),
            ("targetName", json!(" ")),
            ("sourcePath", json!("relative")),
            ("sourcePath", json!(null)),
            ("sourcePathKind", json!("socket")),
            ("origin", json!("clawhub")),
            ("request", json!({ "kind": "skill-install", "mode": "other" })),
        ];
        for (key, value) in odd {
            let mut changed = request();
            changed[key] = value.clone();
            assert!(Request::read(changed.to_string().as_bytes()).is_err(), "{key} = {value}");
        }
        for key in ["protocolVersion", "targetType", "targetName", "sourcePath", "sourcePathKind", "origin", "request"]
        {
            let mut less = request();
            less.as_object_mut().expect("an object").remove(key);
            assert!(Request::read(less.to_string().as_bytes()).is_err(), "without {key}");
        }
        for bytes in [b"".as_slice(), b"[]", b"null", b"{", b"\xff"] {
            assert!(Request::read(bytes).is_err());
        }
        assert!(Request::read(&vec![b' '; 300 << 10]).is_err());
    }
}
