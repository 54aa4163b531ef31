//! OpenClaw's configuration, as OpenClaw reads it: JSON5, with `$include`. Variables (`${NAME}`) stay as they are written.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::edit;
use super::place::{Place, normal};

/// Nobody's configuration is longer.
const LONGEST: u64 = 8 << 20;
/// OpenClaw includes no longer ones.
const LONGEST_INCLUDE: u64 = 2 << 20;
/// And no deeper.
const DEEPEST_INCLUDE: usize = 10;
/// What includes may come to, together.
const MOST_INCLUDES: usize = 200;

/// A configuration.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Its bytes, as text.
    pub text: String,
    /// What the file itself says.
    pub own: Value,
    /// With what it includes.
    pub value: Value,
    /// The files that it includes.
    pub includes: Vec<PathBuf>,
}

/// Why it cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Which file.
    pub path: PathBuf,
    /// Why.
    pub why: String,
}

impl Config {
    /// Reads it; `None` where there is none.
    pub fn read(place: &Place) -> Result<Option<Config>, Unreadable> {
        match fs::symlink_metadata(&place.config) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            _ => Config::of(read_text(&place.config, LONGEST)?, place).map(Some),
        }
    }

    /// What `text` would be if it stood there.
    pub fn of(text: String, place: &Place) -> Result<Config, Unreadable> {
        let own = parse(&text).map_err(|why| Unreadable { path: place.config.clone(), why })?;
        let mut including = Including { place, includes: Vec::new(), within: vec![place.config.clone()] };
        let value = including.resolve(own.clone(), &place.config)?;
        Ok(Config { text, own, value, includes: including.includes })
    }

    /// What is at a path of keys.
    pub fn get(&self, path: &str) -> Option<&Value> {
        path.split('.').try_fold(&self.value, |value, key| value.get(key))
    }

    /// The text there.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.get(path).and_then(Value::as_str)
    }

    /// Whether it says `true` there.
    pub fn is_true(&self, path: &str) -> bool {
        self.get(path) == Some(&Value::Bool(true))
    }
}

/// Text to value; says where it goes wrong.
pub fn parse(text: &str) -> Result<Value, String> {
    // The parser that makes values knows no bound, so the nesting is looked at first.
    edit::outline(text)?;
    let value: Value = json5::from_str(text).map_err(|error| error.to_string())?;
    if value.is_object() { Ok(value) } else { Err("it is no object".to_owned()) }
}

/// A regular file, not through a link, and not longer than `longest`.
pub fn read_text(path: &Path, longest: u64) -> Result<String, Unreadable> {
    let unreadable = |why: String| Unreadable { path: path.to_owned(), why };
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY;
    let opened = File::options().read(true).custom_flags(flags).open(path);
    let file = opened.map_err(|error| unreadable(error.to_string()))?;
    let about = file.metadata().map_err(|error| unreadable(error.to_string()))?;
    if !about.is_file() {
        return Err(unreadable("it is no file".to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(longest + 1).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > longest {
        return Err(unreadable(format!("it is longer than {longest} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8".to_owned()))
}

struct Including<'a> {
    place: &'a Place,
    includes: Vec<PathBuf>,
    within: Vec<PathBuf>,
}

impl Including<'_> {
    fn resolve(&mut self, value: Value, file: &Path) -> Result<Value, Unreadable> {
        match value {
            Value::Array(items) => {
                items.into_iter().map(|item| self.resolve(item, file)).collect::<Result<_, _>>().map(Value::Array)
            }
            Value::Object(members) => self.object(members, file),
            other => Ok(other),
        }
    }

    fn object(&mut self, mut members: Map<String, Value>, file: &Path) -> Result<Value, Unreadable> {
        let included = members.remove("$include");
        let mut own = Map::new();
        for (key, value) in members {
            own.insert(key, self.resolve(value, file)?);
        }
        let Some(included) = included else { return Ok(Value::Object(own)) };
        let names = match included {
            Value::String(name) => vec![Value::String(name)],
            Value::Array(names) => names,
            _ => return Err(unreadable(file, "`$include` names no file")),
        };
        let mut merged = Value::Null;
        for name in &names {
            let name = name.as_str().ok_or_else(|| unreadable(file, "`$include` names no file"))?;
            merged = merge(merged, self.include(name, file)?);
        }
        Ok(if own.is_empty() { merged } else { merge(merged, Value::Object(own)) })
    }

    fn include(&mut self, name: &str, from: &Path) -> Result<Value, Unreadable> {
        let directory = from.parent().unwrap_or(Path::new("/"));
        let path = normal(&directory.join(name));
        let within = |path: &Path| {
            let own = self.place.config.parent().into_iter().map(Path::to_owned);
            own.chain(self.place.include_roots.iter().cloned())
                .any(|root| path.starts_with(&root) || root.canonicalize().is_ok_and(|root| path.starts_with(root)))
        };
        let real = path.canonicalize().map_err(|error| unreadable(&path, &error.to_string()))?;
        if !within(&path) || !within(&real) {
            return Err(unreadable(&path, "it lies outside of the directories that may be included from"));
        }
        if self.within.contains(&path) {
            return Err(unreadable(&path, "it includes itself"));
        }
        if self.within.len() > DEEPEST_INCLUDE || self.includes.len() >= MOST_INCLUDES {
            return Err(unreadable(&path, "there are too many includes"));
        }
        let text = read_text(&path, LONGEST_INCLUDE)?;
        edit::outline(&text).map_err(|why| unreadable(&path, &why))?;
        let value: Value = json5::from_str(&text).map_err(|error| unreadable(&path, &error.to_string()))?;
        self.includes.push(path.clone());
        self.within.push(path.clone());
        let value = self.resolve(value, &path);
        self.within.pop();
        value
    }
}

fn unreadable(path: &Path, why: &str) -> Unreadable {
    Unreadable { path: path.to_owned(), why: why.to_owned() }
}

/// As OpenClaw merges: objects by key, lists one after the other, anything else by the later one.
fn merge(earlier: Value, later: Value) -> Value {
    match (earlier, later) {
        (Value::Object(mut earlier), Value::Object(later)) => {
            for (key, value) in later {
                let merged = match earlier.remove(&key) {
                    Some(before) => merge(before, value),
                    None => value,
                };
                earlier.insert(key, merged);
            }
            Value::Object(earlier)
        }
        (Value::Array(mut earlier), Value::Array(later)) => {
            earlier.extend(later);
            Value::Array(earlier)
        }
        (_, later) => later,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn place(directory: &Path) -> Place {
        Place {
            home: directory.into(),
            state: directory.into(),
            config: directory.join("openclaw.json"),
            include_roots: Vec::new(),
            workspace: directory.join("workspace"),
            read_only: false,
        }
    }

    #[test]
    fn json5_and_includes_are_read_as_openclaw_reads_them() {
        let top = tempfile::tempdir().expect("a directory");
        fs::write(top.path().join("a.json5"), "{ x: 1, list: [1], }").expect("a file");
        fs::write(top.path().join("b.json5"), "{ x: 2, list: [2], more: { $include: './c.json5', own: 1 } }")
            .expect("a file");
        fs::write(top.path().join("c.json5"), "// note\n{ 'own': 0, deep: +0x10 }").expect("a file");
        let text = "{ gateway: { bind: 'lan' /* c */ }, all: { $include: ['./a.json5', './b.json5'] } }";
        let config = Config::of(text.to_owned(), &place(top.path())).expect("a configuration");
        let all = json!({ "x": 2, "list": [1, 2], "more": { "own": 1, "deep": 16 } });
        assert_eq!(config.value, json!({ "gateway": { "bind": "lan" }, "all": all }));
        assert_eq!((config.text("gateway.bind"), config.includes.len()), (Some("lan"), 3));
    }

    #[test]
    fn what_openclaw_would_not_include_is_an_error() {
        let top = tempfile::tempdir().expect("a directory");
        fs::write(top.path().join("self.json5"), "{ $include: './self.json5' }").expect("a file");
        fs::write(top.path().join("bad.json5"), "{ x: ").expect("a file");
        for name in ["/etc/hostname", "../x.json5", "absent.json5", "self.json5", "bad.json5"] {
            let text = format!("{{ $include: '{name}' }}");
            assert!(Config::of(text, &place(top.path())).is_err(), "{name}");
        }
    }

    #[test]
    fn text_that_is_no_object_or_nested_without_end_is_an_error() {
        for text in ["", "[]", "1", "{", "{ a: }", &"{a:".repeat(100_000), &"[".repeat(100_000)] {
            assert!(parse(text).is_err());
        }
        assert_eq!(parse("{}"), Ok(json!({})));
    }
}
