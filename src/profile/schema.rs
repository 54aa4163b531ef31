//! A profile as typed.
//!
//! Owns the keys and types of the TOML, and their JSON Schema. Every field is an `Option`, because what a file leaves out
//! is a question for `resolve`, which knows its parents. Must not check what a value means beyond its unit.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::promise::{Demand, Promise};
use super::recording::Recording;
use super::typed::{Exact, Limit, Only, table};
use super::units::{Bytes, Count, Cpus, Span};

/// A profile file.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProfileFile {
    /// One sentence: for whom, and what it may do.
    pub summary: Option<String>,
    /// The profile whose words hold where this one is silent.
    pub extends: Option<String>,
    /// The caller's directory.
    #[serde(default, deserialize_with = "table")]
    pub workspace: WorkspaceTable,
    /// What exists, and who may do what with it.
    #[serde(default, deserialize_with = "table")]
    pub filesystem: FilesystemTable,
    /// Hosts that may be reached. Absent or empty: no network at all.
    #[serde(default, deserialize_with = "table")]
    pub egress: EgressTable,
    /// What the command inherits: nothing but what is named.
    #[serde(default, deserialize_with = "table")]
    pub environment: EnvironmentTable,
    /// What the jail may use up.
    #[serde(default, deserialize_with = "table")]
    pub limits: LimitsTable,
    /// Which system calls may be made.
    #[serde(default, deserialize_with = "table")]
    pub syscalls: SyscallsTable,
    /// What is recorded of what a command does.
    #[serde(default, deserialize_with = "table")]
    pub record: RecordTable,
    /// How firmly each promise must be kept; in full where nothing is written.
    #[serde(default)]
    #[schemars(with = "BTreeMap<Promise, Demand>")]
    pub require: BTreeMap<String, Demand>,
}

/// `[workspace]`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceTable {
    /// What the command may do with it.
    pub access: Option<Access>,
    /// Where it stands inside the jail: an absolute path, or `same` for the path that it has on the host.
    pub at: Option<String>,
}

/// What the command may do with the workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// It is not there.
    None,
    /// Readable.
    Ro,
    /// Readable and writable.
    Rw,
    /// Written changes are kept aside until they are applied. Not supported yet.
    Cow,
}

/// `[filesystem]`. `@name` in a list stands for the members of a path set.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilesystemTable {
    /// Readable: absolute paths, `~/...` or sets. Replaces the list of the parent.
    pub read: Option<Vec<String>>,
    /// Readable and writable: absolute paths, `~/...` or sets. Replaces the list of the parent.
    pub write: Option<Vec<String>>,
    /// Readable and executable: absolute paths, `~/...`, sets or `@workspace`. Replaces the list of the parent.
    pub execute: Option<Vec<String>>,
    /// Not there, whatever is granted; paths in the workspace and patterns too. Adds to the list of the parent.
    pub hide: Option<Vec<String>>,
    /// Never writable, also when absent at the start; same forms as `hide`. Adds to the list of the parent.
    pub protect: Option<Vec<String>>,
    /// The private `/tmp`.
    #[serde(default, deserialize_with = "table")]
    pub tmp: TmpTable,
}

/// `tmp = { size, execute }`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TmpTable {
    /// Its size.
    pub size: Option<Exact<Bytes>>,
    /// Whether files in it may be executed.
    pub execute: Option<bool>,
}

/// `[egress]`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EgressTable {
    /// Hosts that may be reached: `api.example.org`, `*.example.org:443`, `10.1.2.0/24:5432`, `udp://time.example:123`, or sets.
    /// On ports 80 and 443 where none is written. Replaces the list of the parent.
    pub allow: Option<Vec<String>>,
    /// Hosts that may not, whatever is allowed, on every port where none is written. Adds to the list of the parent.
    pub deny: Option<Vec<String>>,
    /// Names and their addresses, instead of what the host's name servers say: `{ "registry.example" = "10.1.2.3" }`. An address is
    /// judged like any other. Adds to the table of the parent.
    #[serde(default)]
    pub hosts: BTreeMap<String, Addresses>,
    /// Rules for requests. A host with any is allowed, speaks HTTP alone, and is sent no request that none of them fits. Replaces the
    /// list of the parent.
    pub http: Option<Vec<Only<HttpTable>>>,
    /// What rules for requests put in, by name. Adds to the table of the parent.
    #[serde(default)]
    pub secrets: BTreeMap<String, Only<SecretTable>>,
    /// Where the gate ends TLS to look into it: `rules`, for hosts with rules for requests; `all`, for all hosts by name, so that what
    /// stands for a secret leaves by none. `all` where a rule puts a secret in and nothing is written.
    pub inspect: Option<Inspect>,
    /// How much may leave.
    #[serde(default, deserialize_with = "table")]
    pub budget: BudgetTable,
    /// What becomes of a host that this agent has never reached before.
    pub first_contact: Option<FirstContactWord>,
    /// The HTTP proxy through which the gate connects: `http://proxy.example:3128`. It resolves names, too, unless `resolver`
    /// says who does.
    pub proxy: Option<String>,
    /// A file of `user:password` for it, which nobody but its owner can read.
    pub proxy_credentials: Option<String>,
    /// Who is asked for names, instead of whom the host asks: `192.0.2.53`, `tls://192.0.2.53#dns.example` or
    /// `https://192.0.2.53/dns-query#dns.example`, the first that answers. Replaces the list of the parent.
    pub resolver: Option<Vec<String>>,
}

/// Where the gate ends TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Inspect {
    /// For hosts with rules for requests.
    Rules,
    /// For all hosts by name.
    All,
}

/// `[[egress.http]]`: requests that may be sent to a host.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpTable {
    /// To which: a name as in `allow`, such as `api.example.org`, `*.example.org:8443`.
    pub host: Option<String>,
    /// By which methods: `["GET", "HEAD"]`; `["*"]` is all of them.
    pub methods: Option<Vec<String>>,
    /// For which paths: `["/repos/**"]`. `*` stands for anything within a segment, `**` for any number of segments.
    pub paths: Option<Vec<String>>,
    /// What each of these fields must say: `{ Accept = "application/*" }`, `*` standing for anything.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Whether the connection may become a websocket; no where nothing is written.
    pub websocket: Option<bool>,
    /// The secret that is put in. The command never sees it.
    pub inject: Option<Only<InjectTable>>,
}

/// `inject = { header, secret, format }`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InjectTable {
    /// Into which field, such as `Authorization`, whatever the command wrote there.
    pub header: Option<String>,
    /// Its name in `secrets`.
    pub secret: Option<String>,
    /// How it is written there: `Bearer {}`; `{}`, the secret alone, where nothing is written.
    pub format: Option<String>,
    /// Instead of `format`: the user whose password it is (`Basic` authentication).
    pub basic: Option<String>,
}

/// `[egress.secrets.NAME]`: one of `file`, `environment`, `credential` and `command`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretTable {
    /// The variable in which the command finds what stands for the secret.
    pub env: Option<String>,
    /// A file of root's or of whoever runs clawjail, that nobody else may read (mode 0600).
    pub file: Option<String>,
    /// A variable of clawjail's own environment.
    pub environment: Option<String>,
    /// A credential that systemd gives to the service (`LoadCredential=`).
    pub credential: Option<String>,
    /// A program by its whole path, and its arguments: the secret is what it prints.
    pub command: Option<Vec<String>>,
    /// How long the program may take; 10s where nothing is written.
    pub timeout: Option<Exact<Span>>,
}

/// `[egress.budget]`: for a jail in its whole life.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetTable {
    /// Bytes sent, to all hosts together.
    pub sent: Option<Limit<Bytes>>,
    /// Bytes sent to any one host.
    pub sent_per_host: Option<Limit<Bytes>>,
    /// Connections.
    pub connections: Option<Limit<Count>>,
    /// Requests in any one minute; a connection whose requests cannot be read counts as one.
    pub requests_per_minute: Option<Limit<Count>>,
}

/// What becomes of a host that was never reached before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FirstContactWord {
    /// It is reached, and known from then on.
    Allow,
    /// The same, and the verdict says so.
    Flag,
    /// It is denied until somebody says that it is known: `clawjail contacts add`.
    Deny,
}

/// One address, or several.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Addresses {
    /// One.
    One(String),
    /// Several, of which any will do.
    Several(Vec<String>),
}

/// `[environment]`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentTable {
    /// Names that are taken over from the caller. Replaces the list of the parent.
    pub pass: Option<Vec<String>>,
    /// Names and values; `{home}` in a value stands for the caller's home. Adds to the table of the parent.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
}

/// `[limits]`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsTable {
    /// Memory of the whole jail.
    pub memory: Option<Limit<Bytes>>,
    /// Processor time per wall time; 1.0 is one processor.
    pub cpus: Option<Limit<Cpus>>,
    /// Processes and threads of the whole jail.
    pub processes: Option<Limit<Count>>,
    /// Open files of each process.
    pub open_files: Option<Exact<Count>>,
    /// Size of one file.
    pub file_size: Option<Limit<Bytes>>,
    /// Wall time of a run.
    pub wall: Option<Limit<Span>>,
    /// Bytes of stdout and stderr together.
    pub output: Option<Limit<Bytes>>,
    /// Size of the private home.
    pub disk: Option<Exact<Bytes>>,
    /// Runs that a caller may start in a minute.
    pub runs_per_minute: Option<Limit<Count>>,
}

/// `[syscalls]`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SyscallsTable {
    /// The set that everything starts from, such as `@default`. Replaces that of the parent, and what it added.
    pub base: Option<String>,
    /// Sets on top of it. Replaces the list of the parent.
    pub add: Option<Vec<String>>,
}

/// `[record]`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordTable {
    /// How much of it.
    pub activity: Option<Recording>,
}

/// The JSON Schema of a profile file.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(ProfileFile).to_value()
}
