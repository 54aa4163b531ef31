//! What a client can ask for of files in an open jail. Paths are as a command in the jail would write them: absolute, or
//! relative to the workspace.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::Text;

/// `fs.stat`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FsStat {
    /// In which jail.
    pub jail: String,
    /// Which file.
    pub path: Text,
    /// Whether what a link leads to is meant.
    #[serde(default = "yes")]
    pub follow: bool,
    /// So many bytes of a regular file's content with it, as far as it can be read; 4 MiB at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub look: Option<u64>,
}

fn yes() -> bool {
    true
}

/// `fs.read`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FsRead {
    /// In which jail.
    pub jail: String,
    /// Which file.
    pub path: Text,
    /// From which byte on.
    #[serde(default)]
    pub offset: u64,
    /// How many bytes; 4 MiB at most, and if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
}

/// `fs.write`: all of it anew, at once or not at all. `fs.create`: the same for one that must not be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FsWrite {
    /// In which jail.
    pub jail: String,
    /// Which file.
    pub path: Text,
    /// What it is to hold.
    pub content: Text,
    /// Permission bits, such as 420 for 0644; those that it has, or those of a new file, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// Have the answer be that of `fs.stat` afterwards, with so many bytes of the content; 4 MiB at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub look: Option<u64>,
}

/// `fs.mkdir`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FsMkdir {
    /// In which jail.
    pub jail: String,
    /// Which directory.
    pub path: Text,
    /// Whether those above it are made too, and it may be there already.
    #[serde(default)]
    pub parents: bool,
    /// Permission bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
}

/// `fs.remove`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FsRemove {
    /// In which jail.
    pub jail: String,
    /// Which file or directory. A link is removed, not what it leads to.
    pub path: Text,
    /// Whether a directory goes with all that is in it.
    #[serde(default)]
    pub recursive: bool,
}

/// `fs.rename`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FsRename {
    /// In which jail.
    pub jail: String,
    /// From here.
    pub from: Text,
    /// To there.
    pub to: Text,
    /// Whether what is there already gives way.
    #[serde(default = "yes")]
    pub replace: bool,
}

/// `fs.list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FsList {
    /// In which jail.
    pub jail: String,
    /// Which directory.
    pub path: Text,
    /// Only names behind this one: the last of the answer before, where there was more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Text>,
}
