//! Paths as plans talk about them: where places stand inside the jail, and plain questions about paths and patterns.
//!
//! Pure, and by bytes where it is asked often.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where the places that plans talk about stand inside the jail.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The workspace, if the profile shows it.
    pub workspace: Option<PathBuf>,
    /// The workspace on the host.
    pub host_workspace: PathBuf,
    /// The caller's home on the host, for `~/`.
    pub caller_home: PathBuf,
    /// The command's own home.
    pub home: PathBuf,
}

impl Paths {
    /// Where the host path `host` stands inside the jail, if it lies in the workspace.
    pub fn inside_workspace(&self, host: &Path) -> Option<PathBuf> {
        if !lies_at_or_below(host, &self.host_workspace) {
            return None;
        }
        let rest = host.strip_prefix(&self.host_workspace).ok()?;
        let at = self.workspace.as_ref()?;
        Some(if rest.as_os_str().is_empty() { at.clone() } else { at.join(rest) })
    }

    /// `~/x` and `@workspace` made absolute; `None` for the workspace of a profile that shows none.
    pub fn expand(&self, written: &str) -> Option<PathBuf> {
        if written == "@workspace" {
            return self.workspace.clone();
        }
        Some(match written.strip_prefix("~/") {
            Some(rest) => self.caller_home.join(rest),
            None => PathBuf::from(written),
        })
    }
}

/// The components of `pattern` before the first that holds a glob.
pub fn literal_prefix(pattern: &Path) -> &Path {
    let bytes = pattern.as_os_str().as_bytes();
    let Some(glob) = bytes.iter().position(|byte| is_glob(&[*byte])) else { return pattern };
    let end = bytes.iter().take(glob).rposition(|byte| *byte == b'/').unwrap_or(0);
    Path::new(OsStr::from_bytes(bytes.get(..end.max(1)).unwrap_or(bytes)))
}

/// Whether `path` is `tree` or lies in it. By bytes: both are absolute and normal, and this is asked many thousand times.
pub fn lies_at_or_below(path: &Path, tree: &Path) -> bool {
    let (path, tree) = (path.as_os_str().as_bytes(), tree.as_os_str().as_bytes());
    tree == b"/" || path.strip_prefix(tree).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// Whether a component is a pattern and not a name.
pub fn is_glob(component: &[u8]) -> bool {
    component.iter().any(|byte| b"*?[{".contains(byte))
}
